package automaton

import (
	"cmp"
	"slices"
	"unicode"
)

// Range is the characters from Lo to Hi, both included.
type Range struct{ Lo, Hi int32 }

// characters are all that a JSON string can hold: surrogates are halves of characters, never characters.
var characters = []Range{{0, 0xd7ff}, {0xe000, unicode.MaxRune}}

// Normalize sorts ranges and joins those that overlap or touch.
func Normalize(ranges []Range) []Range {
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.Lo, b.Lo) })
	var out []Range
	for _, r := range ranges {
		if n := len(out); n > 0 && r.Lo <= out[n-1].Hi+1 {
			out[n-1].Hi = max(out[n-1].Hi, r.Hi)
			continue
		}
		out = append(out, r)
	}
	return out
}

// complement returns the characters that are not in ranges.
func complement(ranges []Range) []Range {
	var out []Range
	for _, all := range characters {
		next := all.Lo
		for _, r := range Normalize(slices.Clone(ranges)) {
			if r.Hi < next || r.Lo > all.Hi {
				continue
			}
			if r.Lo > next {
				out = append(out, Range{next, r.Lo - 1})
			}
			next = r.Hi + 1
		}
		if next <= all.Hi {
			out = append(out, Range{next, all.Hi})
		}
	}
	return out
}

// The classes that escapes stand for, as ECMA-262 has them.
var (
	digits     = []Range{{'0', '9'}}
	wordLetter = []Range{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}
	blanks     = []Range{{'\t', '\r'}, {' ', ' '}, {0xa0, 0xa0}, {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}}
	lineEnds   = []Range{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}
)

// property returns the characters of a Unicode property such as L, Lu, Letter or Script=Greek.
func property(name string) ([]Range, bool) {
	if long, ok := map[string]string{
		"Letter": "L", "Lowercase_Letter": "Ll", "Uppercase_Letter": "Lu", "Titlecase_Letter": "Lt", "Modifier_Letter": "Lm",
		"Other_Letter": "Lo", "Mark": "M", "Number": "N", "Decimal_Number": "Nd", "Letter_Number": "Nl", "Other_Number": "No",
		"Punctuation": "P", "Symbol": "S", "Separator": "Z", "Space_Separator": "Zs", "Other": "C", "Control": "Cc",
	}[name]; ok {
		name = long
	}
	table := unicode.Categories[name]
	for _, tables := range []map[string]*unicode.RangeTable{unicode.Scripts, unicode.Properties} {
		if table == nil {
			table = tables[name]
		}
	}
	if table == nil {
		return nil, false
	}
	var out []Range
	for _, r := range table.R16 {
		for c := uint32(r.Lo); c <= uint32(r.Hi); c += uint32(r.Stride) {
			out = append(out, Range{int32(c), int32(c)})
		}
	}
	for _, r := range table.R32 {
		if r.Stride == 1 {
			out = append(out, Range{int32(r.Lo), int32(r.Hi)})
			continue
		}
		for c := r.Lo; c <= r.Hi; c += r.Stride {
			out = append(out, Range{int32(c), int32(c)})
		}
	}
	return Normalize(out), true
}
