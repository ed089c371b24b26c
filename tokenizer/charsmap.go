package tokenizer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// charsmapKey has the replacements that SentencePiece makes in a text: the length of a table in bytes, the table, and
// strings that end in a zero byte. The table is a double array in the layout of darts-clone. GGUF has it as an array of
// bytes, signed or not.
const charsmapKey = "tokenizer.ggml.precompiled_charsmap"

// The limits of a charsmap. SentencePiece's nmt_nfkc has 240 KiB.
const (
	maxCharsmap    = 4 << 20
	maxCharsmapKey = 128 // bytes of a text that are replaced
	maxReplacement = 256 // bytes that they are replaced by
)

// charsmap replaces parts of a text. Its table is a trie: a unit at place p, reached by a byte, has that byte as its
// label, and leads with the byte b to the place p ^ offset ^ b. Where the bytes so far are a key, the unit at p ^ offset
// says where in strings its replacement begins.
type charsmap struct {
	units   []uint32
	strings []byte
}

// readCharsmap reads the file's charsmap, nil where it has none. All of it is checked: no text is a surprise later.
func readCharsmap(m *quant.Metadata) (*charsmap, error) {
	var data []byte
	switch v, _ := m.Get(charsmapKey); v := v.(type) {
	case nil:
		return nil, nil
	case []uint8:
		data = v
	case []int8:
		data = make([]byte, len(v))
		for i, b := range v {
			data[i] = byte(b)
		}
	default:
		return nil, fmt.Errorf("%w: %s is of type %T, it must be an array of bytes", ErrFormat, charsmapKey, v)
	}
	if len(data) == 0 {
		return nil, nil
	}
	c, err := parseCharsmap(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFormat, charsmapKey, err)
	}
	return c, nil
}

func parseCharsmap(data []byte) (*charsmap, error) {
	if len(data) > maxCharsmap {
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", len(data), maxCharsmap)
	}
	if len(data) < 8 {
		return nil, fmt.Errorf("its %d bytes are no table", len(data))
	}
	size := int64(binary.LittleEndian.Uint32(data))
	if data = data[4:]; size == 0 || size%4 != 0 || size >= int64(len(data)) {
		return nil, fmt.Errorf("it states a table of %d bytes, and has %d for the table and the replacements", size, len(data))
	}
	c := &charsmap{units: make([]uint32, size/4), strings: bytes.Clone(data[size:])}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	if c.strings[len(c.strings)-1] != 0 {
		return nil, fmt.Errorf("the last replacement has no end")
	}
	return c, c.check()
}

// base is the place that the children of the unit at a place are counted from.
func (c *charsmap) base(place uint32) uint32 {
	u := c.units[place]
	return place ^ (u>>10)<<((u&(1<<9))>>6)
}

// child returns the place that a byte leads to from a base, false where there is none.
func (c *charsmap) child(base uint32, b byte) (place uint32, ok bool) {
	place = base ^ uint32(b)
	return place, b != 0 && int64(place) < int64(len(c.units)) && c.units[place]&(1<<31|0xff) == uint32(b)
}

// replacement returns what stands for the key that ends at a place, and whether one does.
func (c *charsmap) replacement(place uint32) (text []byte, ok bool, err error) {
	if c.units[place]&(1<<8) == 0 {
		return nil, false, nil
	}
	base := c.base(place)
	if int64(base) >= int64(len(c.units)) {
		return nil, false, fmt.Errorf("unit %d leads out of the table", place)
	}
	at := int64(c.units[base] & (1<<31 - 1))
	if at >= int64(len(c.strings)) {
		return nil, false, fmt.Errorf("unit %d leads out of the replacements", base)
	}
	text, _, _ = bytes.Cut(c.strings[at:min(at+maxReplacement+1, int64(len(c.strings)))], []byte{0})
	if len(text) > maxReplacement {
		return nil, false, fmt.Errorf("a replacement has more than %d bytes", maxReplacement)
	}
	if !utf8.Valid(text) {
		return nil, false, fmt.Errorf("the replacement %q is not UTF-8", text)
	}
	return text, true, nil
}

// check walks over everything that a text can reach. Ways may meet, since keys with the same ends share them, but none
// leads in a circle, and the longest is a key's.
func (c *charsmap) check() error {
	height := make([]uint8, len(c.units)) // of each place that was walked over, one more than the longest way from it
	var walk func(base uint32, depth int) (uint8, error)
	walk = func(base uint32, depth int) (highest uint8, err error) {
		if depth > maxCharsmapKey {
			return 0, fmt.Errorf("a key has more than %d bytes", maxCharsmapKey)
		}
		for b := 1; b < 256; b++ {
			place, ok := c.child(base, byte(b))
			if !ok {
				continue
			}
			if height[place] == 0 {
				if _, _, err := c.replacement(place); err != nil {
					return 0, err
				}
				h, err := walk(c.base(place), depth+1)
				if err != nil {
					return 0, err
				}
				height[place] = h + 1
			}
			highest = max(highest, height[place])
		}
		if depth+int(highest) > maxCharsmapKey {
			return 0, fmt.Errorf("a key has more than %d bytes", maxCharsmapKey)
		}
		return highest, nil
	}
	_, err := walk(c.base(0), 0)
	return err
}

// match returns the replacement of the longest key that s begins with, or of the shortest, and the key's length, 0 where
// there is none.
func (c *charsmap) match(s string, shortest bool) (text []byte, n int) {
	base := c.base(0)
	for i := range len(s) {
		place, ok := c.child(base, s[i])
		if !ok {
			break
		}
		if r, ok, err := c.replacement(place); ok && err == nil {
			text, n = r, i+1
			if shortest {
				break
			}
		}
		base = c.base(place)
	}
	return text, n
}

// longest replaces as SentencePiece does: at each place the longest key.
func (c *charsmap) longest(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for len(s) > 0 {
		text, n := c.match(s, false)
		if n > 0 {
			b.Write(text)
		} else {
			var r rune // a key may end inside a character, whose rest is no UTF-8
			r, n = utf8.DecodeRuneInString(s)
			b.WriteRune(r)
		}
		s = s[n:]
	}
	return b.String()
}

// graphemes replaces as tokenizers does: a grapheme of less than six bytes that begins with a key becomes, whole, what
// the shortest such key becomes; else each of its characters that begins with a key does. Graphemes are Unicode 15.0's.
func (c *charsmap) graphemes(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	replace := func(part string) bool {
		text, n := c.match(part, true)
		b.Write(text)
		return n > 0
	}
	for state := -1; len(s) > 0; {
		var grapheme string
		if len(s) > 1 && s[0] < utf8.RuneSelf && s[1] < utf8.RuneSelf && s[0] != '\r' {
			grapheme, s, state = s[:1], s[1:], -1
		} else {
			grapheme, s, _, state = uniseg.FirstGraphemeClusterInString(s, state)
		}
		if len(grapheme) < 6 && replace(grapheme) {
			continue
		}
		for i, r := range grapheme {
			if part := grapheme[i : i+utf8.RuneLen(r)]; !replace(part) {
				b.WriteString(part)
			}
		}
	}
	return b.String()
}
