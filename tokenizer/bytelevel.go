package tokenizer

// GPT-2's alphabet writes each byte as one printable character, so that a vocabulary is text: printable characters
// of Latin-1 stand for themselves, the other bytes, in their order, are the characters from U+0100 on.

// byteLetters has the character of each byte, letterBytes the byte of each character.
var byteLetters, letterBytes = alphabet()

func alphabet() (letters [256]rune, bytes map[rune]byte) {
	bytes = make(map[rune]byte, 256)
	next := rune(0x100)
	for b := range rune(256) {
		r := b
		if !(b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae) {
			r = next
			next++
		}
		letters[b], bytes[r] = r, byte(b)
	}
	return letters, bytes
}

// decodeLetters returns the bytes that a text in the alphabet stands for; ok is false for a text that is not in it.
func decodeLetters(text string) (bytes []byte, ok bool) {
	bytes = make([]byte, 0, len(text))
	for _, r := range text {
		b, known := letterBytes[r]
		if !known {
			return nil, false
		}
		bytes = append(bytes, b)
	}
	return bytes, true
}
