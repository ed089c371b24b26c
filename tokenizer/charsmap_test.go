package tokenizer_test

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/tokenizer"
)

// replacements are those of the charsmap that the tests make: some keys begin with others, some are removed.
func replacements() map[string]string {
	r := map[string]string{
		"\t": " ", "\n": " ", "\r": " ", "\r\n": " ", "\u00a0": " ", "\u2003": " ", "\u3000": " ", "\u2028": " ", "\u0085": "\n",
		"\u200b": "", "\u00ad": "", "\u0338": "", "ﬁ": "fi", "ﬀ": "ff", "①": "1", "½": "1⁄2", "²": "2", "…": "...", "ſ": "s", "ǅ": "Dž", "K": "K",
		"e\u0301": "é", "a\u0308": "ä", "u": "u", "u\u0308": "ü", "o\u0308": "ö", "o\u0308\u0301": "ȫ", "カ\u3099": "ガ", "ーー": "ー", "👩": "W",
		"\u07fd": "x", "日": "sun", "々": "  ", "ᄀ": "g", "\u1f7d": "ώ", "が": "か゛", "、": ", ", "<": "<", "A": "a", "\U0010fffd": "end",
	}
	for c := '!'; c <= '~'; c++ {
		r[string(c-'!'+'！')] = string(c)
	}
	return r
}

// buildCharsmap makes a double array as darts-clone lays it out: blocks of 256 units, offsets by exclusive or.
func buildCharsmap(replace map[string]string) []byte {
	keys := slices.Sorted(maps.Keys(replace))
	units, used, bases := make([]uint32, 256), map[int]bool{0: true}, map[int]bool{0: true}
	var strings []byte
	var place func(keys []string, depth, at int)
	place = func(keys []string, depth, at int) {
		groups := map[int][]string{}
		for _, k := range keys {
			b := 0
			if len(k) > depth {
				b = int(k[depth])
			}
			groups[b] = append(groups[b], k)
		}
		labels := slices.Sorted(maps.Keys(groups))
		base := 1
		for bases[base] || slices.ContainsFunc(labels, func(b int) bool { return used[base^b] }) {
			base++
		}
		bases[base] = true
		for base|255 >= len(units) {
			units = append(units, make([]uint32, 256)...)
		}
		units[at] |= uint32(at^base) << 10
		for _, b := range labels {
			used[base^b] = true
		}
		for _, b := range labels {
			if b == 0 {
				units[at] |= 1 << 8
				units[base] = 1<<31 | uint32(len(strings))
				strings = append(append(strings, replace[groups[0][0]]...), 0)
				continue
			}
			units[base^b] = uint32(b)
			place(groups[b], depth+1, base^b)
		}
	}
	place(keys, 0, 0)
	data := binary.LittleEndian.AppendUint32(nil, uint32(4*len(units)))
	for _, u := range units {
		data = binary.LittleEndian.AppendUint32(data, u)
	}
	return append(data, strings...)
}

// charsmapFile is a unigram model of a few letters with a charsmap, as SentencePiece applies it.
func charsmapFile(data any) *quant.Metadata {
	m := &quant.Metadata{}
	m.Set("tokenizer.ggml.model", "t5")
	m.Set("tokenizer.ggml.tokens", []string{"<pad>", "</s>", "<unk>", "▁", "a", "b", "c", "fi"})
	m.Set("tokenizer.ggml.token_type", []int32{3, 3, 2, 1, 1, 1, 1, 1})
	m.Set("tokenizer.ggml.scores", []float32{0, 0, 0, -1, -2, -3, -4, -5})
	m.Set("tokenizer.ggml.precompiled_charsmap", data)
	return m
}

// TestCharsmap: the longest key wins, and bytes may be signed.
func TestCharsmap(t *testing.T) {
	data := buildCharsmap(map[string]string{"x": "a", "xx": "b", "xxy": "c", "ﬁ": "fi", "-": ""})
	signed := make([]int8, len(data))
	for i, b := range data {
		signed[i] = int8(b)
	}
	for _, m := range []*quant.Metadata{charsmapFile(data), charsmapFile(signed)} {
		k := open(t, m)
		for text, want := range map[string]string{"x": "a", "xx": "b", "xxx": "b|a", "xxxy": "b|a|<unk>", "xxyx": "c|a", "ﬁ": "fi", "-": "", "x-x": "a|a", "\xffx": "<unk>|a"} {
			if got := strings.Join(pieces(t, k, text, false), "|"); got != want {
				t.Errorf("%q: %q, want %q", text, got, want)
			}
		}
	}
}

// charsmapFaults are charsmaps that cannot be used, by what the error says.
func charsmapFaults() map[string][]byte {
	le := binary.LittleEndian
	good := buildCharsmap(map[string]string{"x": "a", "yz": "b"})
	change := func(f func(units []byte)) []byte {
		data := slices.Clone(good)
		f(data[4:])
		return data
	}
	tail := len(good) - 4
	return map[string][]byte{
		"are no table":                      {1, 2, 3},
		"a table of 0 bytes":                append([]byte{0, 0, 0, 0}, good[4:]...),
		"a table of 4294967292 bytes":       append(le.AppendUint32(nil, 1<<32-4), good[4:]...),
		"a table of 1023 bytes":             append(le.AppendUint32(nil, 1023), good[4:]...),
		"the last replacement has no end":   append(slices.Clone(good), 'x'),
		`the replacement "\xff" is not UTF`: append(slices.Clone(good[:tail]), 0xff, 0, 0xff, 0),
		"leads out of the replacements": change(func(units []byte) {
			for i := 0; i+4 <= 1024; i += 4 {
				if units[i+3]&0x80 != 0 {
					le.PutUint32(units[i:], 1<<31|1000)
				}
			}
		}),
		"leads out of the table": change(func(units []byte) {
			for i := 4; i+4 <= 1024; i += 4 {
				if u := le.Uint32(units[i:]); u&(1<<8) != 0 {
					le.PutUint32(units[i:], u|1<<30)
				}
			}
		}),
		"a key has more than 128 bytes": change(func(units []byte) { // a circle: x leads to itself
			base := le.Uint32(units) >> 10
			le.PutUint32(units[4*(base^'x'):], 'x'|(base^'x'^base)<<10)
		}),
		"a replacement has more than": buildCharsmap(map[string]string{"x": strings.Repeat("a", 257)}),
		"a key has more than 128":     buildCharsmap(map[string]string{strings.Repeat("x", 129): "a"}),
		"at most 4194304 are read":    make([]byte, 4<<20+1),
	}
}

func TestCharsmapRefused(t *testing.T) {
	for want, data := range charsmapFaults() {
		_, err := tokenizer.New(charsmapFile(data))
		if !errors.Is(err, tokenizer.ErrFormat) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "tokenizer.ggml.precompiled_charsmap") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := tokenizer.New(charsmapFile("text")); !errors.Is(err, tokenizer.ErrFormat) {
		t.Errorf("a charsmap that is a string: %v", err)
	}
}

// FuzzCharsmap: whatever a charsmap is, it is refused or used, as SentencePiece and as tokenizers use it.
func FuzzCharsmap(f *testing.F) {
	text := "x xx \u3000ﬁe\u0301\xff"
	f.Add(buildCharsmap(replacements()), text)
	f.Add(buildCharsmap(map[string]string{"x": "a", "xx": "b"}), text)
	for _, data := range charsmapFaults() {
		if len(data) < 1<<16 {
			f.Add(data, text)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		for _, imported := range []bool{false, true} {
			m := charsmapFile(data)
			if imported && len(data) > 0 {
				m.Set("lorikeet.tokenizer.normalizer", "charsmap")
				m.Set("lorikeet.tokenizer.space_prefix", "never")
				m.Set("lorikeet.tokenizer.words", "marks")
			}
			k, err := tokenizer.New(m)
			if err != nil {
				if !errors.Is(err, tokenizer.ErrFormat) {
					t.Fatal(err)
				}
				continue
			}
			if _, err := k.Tokenize(context.Background(), text, true, true); err != nil {
				t.Fatal(err)
			}
		}
	})
}
