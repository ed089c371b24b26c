package tokenizer_test

import (
	"math/rand/v2"
	"strings"
	"unicode"
	"unicode/utf8"
)

// alphabets are the kinds of characters and words that texts are made of, a line each.
var alphabets = [][]rune{
	[]rune("abcdefghijklmnopqrstuvwxyz"),
	[]rune("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
	[]rune("aBcDeF"),
	[]rune("0123456789"),
	[]rune("٠١٢٣०१२३²³¼½Ⅷⅳ①〇๒𝟘𝟙"),
	[]rune(" "), []rune("\n"), []rune("\r\n"), []rune(" \t\n\r"),
	[]rune(" \u00a0\u2003\u3000\u2028\u2029\u0085\v\f\u1680\u202f"),
	[]rune("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
	[]rune("'\"`"), []rune("/\r\n"), []rune("…。，、।۔،！？：；‘’“”«»—–·•"),
	[]rune("€£¥©®™°±×÷√∑∞≈≠→←↔∈∀"),
	[]rune("äöüßàéèêçñøåæœłžščř"), []rune("ÄÖÜÀÉÈÇÑØÅÆŒŁŽ"),
	[]rune("αβγδεζηθλμνξπρστφχψω"), []rune("ΑΒΓΔΕΖΗΘΛΜΝ"), []rune("абвгдежзийклмнопрстуфхцчшщъыьэюя"), []rune("АБВГДЕЖЗ"),
	[]rune("ǅǈǋᾈᾉᾼ"), []rune("ʰʲˢˣʹªº々ーｰꟸ"),
	[]rune("אבגדהוזחט"), []rune("ابتثجحخدذرزسش"), []rune("ًٌٍَُِّْٰ"),
	[]rune("कखगघङचछजझञ"), []rune("ािीुूृेैोौ्ंः"), []rune("กขคงจฉชซฌญ"), []rune("่้๊๋ัิีึืุู"),
	[]rune("一丁七万丈三上下不与龥〇㐀𠀀"), []rune("あいうえおかがきぎ"), []rune("アイウエオカガキギ"), []rune("가각간갇갈힣"), []rune("ᄀᄁ나ᅢᅣᆨᆩᆫ"),
	[]rune("\u0300\u0301\u0302\u0303\u0308\u030a\u0327\u0328\u0338\u0323\u0345"), []rune("aeiouAEIOUnc=<>"),
	[]rune("😀😃👍🏽👩💻🇩🇪🏳️‍🌈❤️☀"), []rune("\u200d\ufe0f\u200b\u200c\u2060\ufeff"), []rune("\x00\x01\x1b\x7f\u0080\u009f"),
	[]rune("\u07fd\u0898\u1abf\u1ace\u1df6\U00011935\U00011930\U00011938\u0315\u0334\u0301"), []rune("ſKÅﬁﬀǆİıẞ"), []rune("\ue000\uf8ff\U000f0000\U0010fffd"), []rune("\U00016e97\u2e52\u166d\u10f55"),
}

var phrases = []string{
	"'s", "'S", "'t", "'RE", "'ve", "'m", "'LL", "'d", "'ſ", "don't", "I'LL", "it'S", "we've", " the", " and", "The", "http://",
	"<|x|>", "<|x|>y", "<|x|", "<|", "|>", "[INST]", "[/INST]", "<think>", "<thin", "<th", "    ", "ab cd", "ab  cd", "é", "e\u0301",
	"<sentinel:12>", "<sentinel:>", "IMGIMGABZ", "IMGIMGABCDEZ", "1234567", "3.14159", "  ", "\n\n", "\r\n\r\n", " \n \n", "\t\t", "//", "/*", "*/\n",
	"ǅeci", "iPhone", "camelCaseWord", "HTTPServer", "日本語テキスト", "你好，世界", "한국어", "नमस्ते", "مرحبا",
}

// randomTexts makes texts of runs of one kind, mixed runs, phrases, and characters of the whole of Unicode.
func randomTexts(n int, seed uint64) []string {
	rnd := rand.New(rand.NewPCG(seed, 7))
	texts := make([]string, n)
	for i := range texts {
		var b strings.Builder
		kinds := make([][]rune, 1+rnd.IntN(4))
		for j := range kinds {
			kinds[j] = alphabets[rnd.IntN(len(alphabets))]
		}
		for range rnd.IntN(12) {
			switch rnd.IntN(8) {
			case 0:
				b.WriteString(phrases[rnd.IntN(len(phrases))])
			case 1:
				b.WriteRune(anyRune(rnd))
			case 2:
				b.WriteByte(' ')
			default:
				kind := kinds[rnd.IntN(len(kinds))]
				for range 1 + rnd.IntN(6) {
					b.WriteRune(kind[rnd.IntN(len(kind))])
				}
			}
		}
		texts[i] = b.String()
	}
	return texts
}

// anyRune is any assigned character, or one of no use.
func anyRune(rnd *rand.Rand) rune {
	for {
		limits := []rune{0x250, 0x3000, 0x10000, 0x20000, unicode.MaxRune}
		if r := rnd.Int32N(limits[rnd.IntN(len(limits))]); utf8.ValidRune(r) {
			return r
		}
	}
}
