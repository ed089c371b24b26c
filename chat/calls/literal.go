package calls

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// literalReader reads a value that is written as a literal of a programming language, and makes JSON of it: lists, objects,
// numbers, words, and texts in the quotes of the format, in double quotes or in single ones. A text within double or
// single quotes has escapes, in the quotes of the format it has none, unless they are one of the two.
type literalReader struct {
	quotes Pair
	depth  []byte // the brackets that are open
	key    bool   // a key comes next
	quote  string // what ends the text; "": there is none
	text   []byte // of the text so far
	word   []byte // of the word so far
	raw    []byte // of the value so far, as it was written
	out    []byte // the JSON so far
	comma  bool   // one stands before the next value
}

// text reports whether a value is a text as a whole, and what its opening and closing quotes are. more says that there
// is not enough of it to tell.
func (p *Parameters) text(held string) (open, end string, more bool) {
	for _, q := range []Pair{p.Quotes, {`"`, `"`}, {`'`, `'`}} {
		switch {
		case strings.HasPrefix(held, q.Open):
			return q.Open, q.Close, false
		case strings.HasPrefix(q.Open, held):
			more = true
		}
	}
	return "", "", more
}

// escaped reports whether texts between the quotes have escapes.
func escaped(end string) bool { return end == `"` || end == `'` }

// unquote reads a piece of a text. n is how much of held it has used up, and closed whether the text has ended. Where
// whole is not set, it leaves what may be a piece of an escape or of the end.
func unquote(to []byte, held, end string, whole bool) (out []byte, n int, closed bool) {
	if !escaped(end) {
		if at := strings.Index(held, end); at >= 0 {
			return append(to, held[:at]...), at + len(end), true
		}
		n = len(held)
		if !whole {
			n -= partial(held, end)
		}
		return append(to, held[:n]...), n, false
	}
	for n < len(held) {
		switch c := held[n]; c {
		case end[0]:
			return to, n + 1, true
		case '\\':
			size := 0
			if to, size = unescape(to, held[n:], whole); size == 0 {
				return to, n, false
			}
			n += size
		default:
			to = append(to, c)
			n++
		}
	}
	return to, n, false
}

// simpleEscapes are those of one letter.
var simpleEscapes = map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', 'b': '\b', 'f': '\f', '"': '"', '\'': '\'', '\\': '\\', '/': '/'}

// unescape reads an escape, which s begins with. size is 0 where more of it may follow.
func unescape(to []byte, s string, whole bool) (out []byte, size int) {
	if len(s) < 2 {
		if whole {
			return append(to, '\\'), 1
		}
		return to, 0
	}
	if c, ok := simpleEscapes[s[1]]; ok {
		return append(to, c), 2
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[1]]
	if digits == 0 {
		return append(to, s[:2]...), 2 // no escape of any language: it stays
	}
	r, ok := hexadecimal(s, 2, digits)
	switch {
	case !ok && len(s) < 2+digits && !whole:
		return to, 0
	case !ok:
		return append(to, s[:2]...), 2
	case !utf16.IsSurrogate(r):
		return utf8.AppendRune(to, r), 2 + digits
	}
	const pair = len(`\ud83d\ude00`)
	low, ok := hexadecimal(s, 8, 4)
	second := s[6:min(len(s), 8)]
	switch {
	case len(s) < pair && !whole && second == `\u`[:len(second)]:
		return to, 0
	case ok && second == `\u` && utf16.DecodeRune(r, low) != utf8.RuneError:
		return utf8.AppendRune(to, utf16.DecodeRune(r, low)), pair
	}
	return utf8.AppendRune(to, utf8.RuneError), 2 + digits
}

// hexadecimal reads a number of so many digits.
func hexadecimal(s string, from, digits int) (rune, bool) {
	if len(s) < from+digits {
		return 0, false
	}
	v, err := strconv.ParseUint(s[from:from+digits], 16, 32)
	return rune(v), err == nil && v <= utf8.MaxRune
}

// scan reads on in a value that is no text as a whole. n is how much of held it has used up, end whether what follows the
// value comes next.
func (l *literalReader) scan(held string, whole bool) (n int, end bool) {
	defer func() { l.raw = append(l.raw, held[:n]...) }()
	for n < len(held) {
		if l.quote != "" {
			size, closed := 0, false
			if l.text, size, closed = unquote(l.text, held[n:], l.quote, whole); size == 0 && !closed {
				return n, false
			}
			if n += size; closed {
				l.put(string(jsonvalue.AppendString(nil, string(l.text))))
				l.quote, l.text = "", nil
			}
			continue
		}
		p := Parameters{Quotes: l.quotes}
		open, quote, more := p.text(held[n:])
		switch c := held[n]; {
		case open != "":
			l.endWord()
			l.quote, n = quote, n+len(open)
			continue
		case more && !whole:
			return n, false
		case len(l.depth) == 0 && strings.IndexByte(",)}]", c) >= 0:
			l.endWord()
			return n, true
		default:
			l.step(c)
		}
		n++
	}
	if whole {
		l.endWord()
	}
	return n, false
}

// step reads a byte outside of texts.
func (l *literalReader) step(c byte) {
	switch c {
	case ' ', '\t', '\r', '\n':
		l.endWord()
	case '{', '[', '(':
		l.endWord()
		if c == '(' { // a tuple
			c = '['
		}
		l.put(string(c))
		l.depth, l.key = append(l.depth, c), c == '{'
	case '}', ']', ')':
		l.key = false
		l.endWord()
		if l.depth = l.depth[:len(l.depth)-1]; c == ')' {
			c = ']'
		}
		l.out, l.comma = append(l.out, c), false // Python may have a comma before the bracket
	case ',':
		l.endWord()
		l.comma, l.key = true, l.depth[len(l.depth)-1] == '{'
	case ':':
		if l.key && len(l.word) > 0 {
			l.put(string(jsonvalue.AppendString(nil, string(l.word))))
			l.word = l.word[:0]
		}
		l.endWord()
		l.out, l.key = append(l.out, ": "...), false
	default:
		l.word = append(l.word, c)
	}
}

// put appends a piece of JSON that a value or a key begins with.
func (l *literalReader) put(s string) {
	if l.comma {
		l.out, l.comma = append(l.out, ", "...), false
	}
	l.out = append(l.out, s...)
}

// endWord appends the word that has ended.
func (l *literalReader) endWord() {
	if len(l.word) == 0 || l.key {
		return // a key ends with its colon
	}
	l.put(jsonOf(string(l.word)))
	l.word = l.word[:0]
}

// json is the whole value as JSON: a text where it is none.
func (l *literalReader) json() string {
	if json.Valid(l.out) {
		return string(l.out)
	}
	return string(jsonvalue.AppendString(nil, strings.TrimSpace(string(l.raw))))
}

// jsonOf is a value as JSON: JSON as it is, what is a literal of Python otherwise, and a text where it is neither.
func jsonOf(value string) string {
	switch value {
	case "True", "False":
		return strings.ToLower(value)
	case "None":
		return "null"
	}
	if json.Valid([]byte(value)) {
		return value
	}
	if value != "" && strings.IndexByte("{[(", value[0]) >= 0 {
		l := literalReader{quotes: Pair{"'", "'"}}
		if n, _ := l.scan(value, true); n == len(value) && len(l.depth) == 0 && json.Valid(l.out) {
			return string(l.out)
		}
	}
	return string(jsonvalue.AppendString(nil, value))
}
