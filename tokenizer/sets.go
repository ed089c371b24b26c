package tokenizer

import (
	"slices"
	"strings"
)

// characters returns a test for the characters of an expression's class, written as there: "A-Za-zµ". The test is asked
// for every character of a text, so that those of the first plane are bits of a table.
func characters(list string) func(rune) bool {
	var firstPlane [(1 << 16) / 64]uint64
	var others [][2]rune
	all := []rune(list)
	for i := 0; i < len(all); i++ {
		last := all[i]
		first := last
		if i+2 < len(all) && all[i+1] == '-' {
			last = all[i+2]
			i += 2
		}
		for r := first; r <= min(last, 1<<16-1); r++ {
			firstPlane[r/64] |= 1 << (r % 64)
		}
		if last >= 1<<16 {
			others = append(others, [2]rune{first, last})
		}
	}
	return func(r rune) bool {
		if r < 1<<16 {
			return firstPlane[r/64]>>(r%64)&1 != 0
		}
		return slices.ContainsFunc(others, func(x [2]rune) bool { return x[0] <= r && r <= x[1] })
	}
}

// The classes of characters that DeepSeek's and AFMoE's expressions list.
var (
	deepseekLetters = characters("A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿ" +
		"ᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ" +
		"\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲" +
		"𐳀-𐳲𑢠-𑣟𞤀-𞥃")
	deepseekMarks = characters("!-/:-~！-／：-～‘-‟\u3000-。")
	deepseekCJK   = characters("一-龥ࠀ-一가-퟿")
	deepseek3CJK  = characters("一-龥぀-ゟ゠-ヿ")
	afmoeCJK      = characters("一-鿿㐀-䶿\uf900-\ufaff぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ")
)

// sentinel matches Chameleon's <sentinel:[0-9]+>
func sentinel(s string) int {
	rest, ok := strings.CutPrefix(s, "<sentinel:")
	if !ok {
		return 0
	}
	end := strings.TrimLeft(rest, "0123456789")
	if len(end) == len(rest) || !strings.HasPrefix(end, ">") {
		return 0
	}
	return len(s) - len(end) + 1
}

// imageToken matches Chameleon's (IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z
func imageToken(s string) int {
	rest, ok := strings.CutPrefix(s, "IMGIMG")
	if !ok {
		return 0
	}
	n := 0
	for n < 4 && n < len(rest) && rest[n] >= 'A' && rest[n] <= 'I' {
		n++
	}
	if n == 0 || n == len(rest) || rest[n] != 'Z' {
		return 0
	}
	return len("IMGIMG") + n + 1
}

// indent matches Chameleon's ([\t\n]|    |  )
func indent(s string) int {
	switch {
	case s[0] == '\t' || s[0] == '\n':
		return 1
	case strings.HasPrefix(s, "    "):
		return 4
	case strings.HasPrefix(s, "  "):
		return 2
	}
	return 0
}
