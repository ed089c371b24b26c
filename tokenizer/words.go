package tokenizer

import "strings"

// The expressions that cut a text into words. Each is one matcher whose alternatives are tried in the expression's
// order. Where an expression may give characters back (backtracking), the matcher knows how many, so that none looks
// at a character more than a few times.

// gpt2Words matches
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func (c classifier) gpt2Words(s string) int {
	if n := contraction(s, false); n > 0 {
		return n
	}
	start := 0
	if s[0] == ' ' {
		start = 1
	}
	switch k, n := c.at(s, start); {
	case n == 0 || k&space != 0:
		return c.spaces(s)
	case k&letter != 0:
		return c.run(s, start, letter)
	case k&number != 0:
		return c.run(s, start, number)
	}
	return c.runNot(s, start, space|letter|number)
}

// spaces matches \s+(?!\S)|\s+ : white space, but for the last one before a word.
func (c classifier) spaces(s string) int {
	last, end := 0, 0
	for end < len(s) {
		k, n := c.at(s, end)
		if k&space == 0 {
			if last > 0 {
				return last
			}
			return end
		}
		last, end = end, end+n
	}
	return end
}

// lines matches \s*[\r\n]+|\s+(?!\S)|\s+ : white space up to its last line break, or like spaces.
func (c classifier) lines(s string) int {
	broken, last, end := 0, 0, 0
	for end < len(s) {
		k, n := c.at(s, end)
		if k&space == 0 {
			break
		}
		last, end = end, end+n
		if k&lineBreak != 0 {
			broken = end
		}
	}
	switch {
	case broken > 0:
		return broken
	case end < len(s) && last > 0:
		return last
	}
	return end
}

// contraction matches 's|'t|'re|'ve|'m|'ll|'d at the beginning of s, or (?i:...) of it if fold. Folded, ſ is an s.
func contraction(s string, fold bool) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	at := func(i int) byte {
		if i >= len(s) {
			return 0
		}
		if b := s[i]; fold && b >= 'A' && b <= 'Z' {
			return b + 'a' - 'A'
		}
		return s[i]
	}
	switch at(1) {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if at(2) == 'e' {
			return 3
		}
	case 'l':
		if at(2) == 'l' {
			return 3
		}
	}
	if fold && strings.HasPrefix(s[1:], "ſ") {
		return 3
	}
	return 0
}

// wordRule says how the expressions of GPT-4's kind differ:
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
type wordRule struct {
	digits int    // the most of \p{N}{1,3}
	tail   string // of [\r\n]* after symbols: its characters
	cased  bool   // words are cut where the case changes, and contractions belong to the word before them
	suffix bool   // of cased: contractions after words
	noHan  bool   // of cased: Han characters are words of their own
}

// words matches a rule's expression.
func (c classifier) words(rule wordRule) matcher {
	word := c.letters
	if rule.cased {
		word = func(s string) int { return c.casedWord(s, rule) }
	}
	return func(s string) int {
		if n := word(s); n > 0 {
			return n
		}
		if n := c.runMost(s, 0, number, rule.digits); n > 0 {
			return n
		}
		if n := c.symbols(s, space|letter|number, rule.tail); n > 0 {
			return n
		}
		return c.lines(s)
	}
}

// letters matches (?i:'s|...)|[^\r\n\p{L}\p{N}]?\p{L}+
func (c classifier) letters(s string) int {
	if n := contraction(s, true); n > 0 {
		return n
	}
	start := c.lead(s, lineBreak|letter|number)
	if end := c.run(s, start, letter); end > start {
		return end
	}
	return 0
}

// lead matches one character that is in none of the classes, if there is one: [^\r\n\p{L}\p{N}]?
func (c classifier) lead(s string, out class) int {
	if k, n := c.at(s, 0); k&out == 0 {
		return n
	}
	return 0
}

// symbols matches  ?[^out]+[tail]*
func (c classifier) symbols(s string, out class, tail string) int {
	start := 0
	if s[0] == ' ' {
		start = 1
	}
	end := c.runNot(s, start, out)
	if end == start {
		return 0
	}
	for end < len(s) && indexByte(tail, s[end]) {
		end++
	}
	return end
}

func indexByte(list string, b byte) bool {
	for i := range len(list) {
		if list[i] == b {
			return true
		}
	}
	return false
}

const (
	upperPart = upperCase | titleCase | modifier | otherLetter | mark
	lowerPart = lowerCase | modifier | otherLetter | mark
)

// casedWord matches, with U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], L = [\p{Ll}\p{Lm}\p{Lo}\p{M}] and x = (?i:'s|...)?,
//
//	[^\r\n\p{L}\p{N}]?U*L+x|[^\r\n\p{L}\p{N}]?U+L*x
//
// where Han characters are in neither U nor L, but a run of them is a word, if the rule has it so.
func (c classifier) casedWord(s string, rule wordRule) int {
	if rule.noHan {
		if n := c.run(s, 0, han); n > 0 {
			return n
		}
	}
	lead := c.lead(s, lineBreak|letter|number)
	end := c.lowered(s, lead, rule.noHan)
	if end == 0 && lead > 0 {
		end = c.lowered(s, 0, rule.noHan)
	}
	if end == 0 {
		end = c.raised(s, lead, rule.noHan)
	}
	if end == 0 && lead > 0 {
		end = c.raised(s, 0, rule.noHan)
	}
	if end > 0 && rule.suffix {
		end += contraction(s[end:], true)
	}
	return end
}

// part is run without Han characters if noHan.
func (c classifier) part(s string, i int, in class, noHan bool) (end, lastLower int) {
	lastLower = -1
	for i < len(s) {
		k, n := c.at(s, i)
		if k&in == 0 || noHan && k&han != 0 {
			break
		}
		i += n
		if k&lowerPart != 0 {
			lastLower = i
		}
	}
	return i, lastLower
}

// lowered matches U*L+ from s[i:] on and returns its end, 0 where there is none. U* takes all it can; if no L follows,
// it gives back as much as L+ needs: from its last character that is an L as well.
func (c classifier) lowered(s string, i int, noHan bool) int {
	upperEnd, lastLower := c.part(s, i, upperPart, noHan)
	if end, _ := c.part(s, upperEnd, lowerPart, noHan); end > upperEnd {
		return end
	}
	return max(lastLower, 0)
}

// raised matches U+L* from s[i:] on.
func (c classifier) raised(s string, i int, noHan bool) int {
	upperEnd, _ := c.part(s, i, upperPart, noHan)
	if upperEnd == i {
		return 0
	}
	end, _ := c.part(s, upperEnd, lowerPart, noHan)
	return end
}

// deepseekWords matches
//
//	[!-/:-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
//
// where [!-/:-~] stands for ASCII's punctuation and symbols.
func (c classifier) deepseekWords(s string) int {
	k, n := c.at(s, 0)
	if s[0] < 0x80 && k&(punctuation|symbol) != 0 {
		if end := c.run(s, 1, asciiLetter); end > 1 {
			return end
		}
	}
	if k&(lineBreak|letter|punctuation|symbol) == 0 {
		if end := c.run(s, n, letter|mark); end > n {
			return end
		}
	}
	if end := c.run(s, 0, letter|mark); end > 0 {
		return end
	}
	start := 0
	if s[0] == ' ' {
		start = 1
	}
	if end := c.run(s, start, punctuation|symbol); end > start {
		for end < len(s) && (s[end] == '\r' || s[end] == '\n') {
			end++
		}
		return end
	}
	return c.lines(s)
}

// bloomWords matches  ?[^(\s|[.,!?…。，、।۔،])]+
func (c classifier) bloomWords(s string) int {
	start := 0
	if s[0] == ' ' {
		start = 1
	}
	end := start
	for i, r := range s[start:] {
		if c.of(r)&space != 0 || bloomStop(r) {
			break
		}
		end = start + i + 1
		if r >= 0x80 {
			_, n := c.at(s, start+i)
			end = start + i + n
		}
	}
	if end == start {
		return 0
	}
	return end
}

func bloomStop(r rune) bool {
	switch r {
	case '(', '|', ')', '.', ',', '!', '?', '…', '。', '，', '、', '।', '۔', '،':
		return true
	}
	return false
}
