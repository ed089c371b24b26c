package chat

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind int

const (
	tokenName tokenKind = iota
	tokenNumber
	tokenString // text is the string's value
	tokenOperator
	tokenGroup // text is the opening bracket, inner what it holds
)

// jinjaToken is one word of an expression; brackets and what they enclose are one token.
type jinjaToken struct {
	kind  tokenKind
	text  string
	inner []jinjaToken
}

func (t jinjaToken) is(kind tokenKind, text string) bool { return t.kind == kind && t.text == text }

// tag reads the tokens of a tag and its end ("%}" or "}}"), with the signs that stood before the end.
func (n *normalizer) tag(end string) (tokens []jinjaToken, minus, plus bool, err error) {
	n.brackets, n.operators = 0, 0
	tokens, err = n.tokens(end)
	if err != nil {
		return nil, false, false, err
	}
	switch n.src[n.pos] {
	case '-':
		minus = true
		n.pos++
	case '+':
		plus = true
		n.pos++
	}
	n.pos += len(end)
	return tokens, minus, plus, nil
}

// tokens reads up to end, which is a tag's end (left unread) or a closing bracket (read).
func (n *normalizer) tokens(end string) ([]jinjaToken, error) {
	var list []jinjaToken
	for {
		n.pos = len(n.src) - len(strings.TrimLeftFunc(n.src[n.pos:], pythonSpace))
		rest := n.src[n.pos:]
		if rest == "" {
			return nil, fmt.Errorf("%q is missing", end)
		}
		if len(end) == 2 && (strings.HasPrefix(rest, end) || strings.ContainsRune("-+", rune(rest[0])) && strings.HasPrefix(rest[1:], end)) {
			return list, nil
		}
		if len(end) == 1 && rest[0] == end[0] {
			n.pos++
			return list, nil
		}
		t, err := n.token(rest)
		if err != nil {
			return nil, err
		}
		if k := len(list); k > 0 && t.kind == tokenString && list[k-1].kind == tokenString {
			list[k-1].text += t.text // adjacent strings are one
			continue
		}
		if n.operators += weight(t); n.operators > maxTag {
			return nil, fmt.Errorf("a tag has more than %d operators", maxTag)
		}
		list = append(list, t)
	}
}

// weight is what a token adds to how deep the parsed expression may be.
func weight(t jinjaToken) int {
	switch {
	case t.kind == tokenGroup, t.kind == tokenOperator && t.text != "," && t.text != ":" && t.text != "=":
		return 1
	case t.kind == tokenName:
		switch t.text {
		case "and", "or", "not", "in", "is", "if", "else":
			return 1
		}
	}
	return 0
}

// token reads one token from rest, which starts at pos and is not empty.
func (n *normalizer) token(rest string) (jinjaToken, error) {
	c := rest[0]
	if i := strings.IndexByte("([{", c); i >= 0 {
		n.pos++
		if n.brackets++; n.brackets > maxBrackets {
			return jinjaToken{}, fmt.Errorf("brackets are more than %d deep", maxBrackets)
		}
		inner, err := n.tokens(")]}"[i : i+1])
		n.brackets--
		return jinjaToken{kind: tokenGroup, text: rest[:1], inner: inner}, err
	}
	if c == '"' || c == '\'' {
		value, size, err := stringLiteral(rest)
		n.pos += size
		return jinjaToken{kind: tokenString, text: value}, err
	}
	size, kind := wordLength(rest), tokenName
	if size > 0 && c >= '0' && c <= '9' {
		kind = tokenNumber
		if tail := rest[size:]; len(tail) > 1 && tail[0] == '.' && tail[1] >= '0' && tail[1] <= '9' {
			size += 1 + wordLength(tail[1:])
		}
	}
	if size == 0 {
		kind, size = tokenOperator, 1
		for _, op := range []string{"**", "//", "==", "!=", "<=", ">="} {
			if strings.HasPrefix(rest, op) {
				size = 2
			}
		}
		if size == 1 && !strings.ContainsRune("+-*/%~<>=.,:|", rune(c)) {
			r, _ := utf8.DecodeRuneInString(rest)
			return jinjaToken{}, fmt.Errorf("unexpected %q", r)
		}
	}
	n.pos += size
	return jinjaToken{kind: kind, text: rest[:size]}, nil
}

// wordLength counts the bytes of the letters, digits and underscores that s starts with.
func wordLength(s string) int {
	for i, r := range s {
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return i
		}
	}
	return len(s)
}

// stringLiteral reads the quoted string that s starts with, by Python's rules for escapes.
func stringLiteral(s string) (value string, size int, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] == s[0] {
			return b.String(), i + 1, nil
		}
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		digits := 0
		switch s[i] {
		case '\n':
		case 'n', 't', 'r', 'a', 'b', 'f', 'v':
			b.WriteByte(map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', 'a': '\a', 'b': '\b', 'f': '\f', 'v': '\v'}[s[i]])
		case '\\', '\'', '"':
			b.WriteByte(s[i])
		case 'x':
			digits = 2
		case 'u':
			digits = 4
		case 'U':
			digits = 8
		default: // unknown escapes keep their backslash
			b.WriteString(s[i-1 : i+1])
		}
		if digits > 0 {
			if i+1+digits > len(s) {
				break
			}
			code, err := strconv.ParseUint(s[i+1:i+1+digits], 16, 32)
			if err != nil {
				return "", 0, fmt.Errorf("a string has the escape \\%s, which is not hexadecimal", s[i:i+1+digits])
			}
			b.WriteRune(rune(code))
			i += digits
		}
	}
	return "", 0, fmt.Errorf("a string is not closed")
}
