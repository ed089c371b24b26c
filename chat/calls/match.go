package calls

import "strings"

// outcome says how a text compares with one of the texts of a Format.
type outcome int

const (
	differs outcome = iota
	begins          // what there is of the text is a beginning
	equal
)

// match compares the beginning of text with a text of a format, in which white space stands for any white space, also
// none, and idHole for an identifier. size is the length of what was compared, where the outcome is equal.
func match(text, want string) (size int, o outcome) {
	i := 0
	for k := 0; k < len(want); k++ {
		c := want[k]
		if space(c) {
			for k+1 < len(want) && space(want[k+1]) {
				k++
			}
			n := spaces(text[i:])
			if i += n; n > maxSpaces {
				return 0, differs
			}
			continue
		}
		if c == idHole {
			n := 0
			for n < idLength && i < len(text) && alphanumeric(text[i]) {
				i, n = i+1, n+1
			}
			if n < idLength && i < len(text) {
				return 0, differs
			}
			if n < idLength {
				return 0, begins
			}
			continue
		}
		if i == len(text) {
			return 0, begins
		}
		if c == numberHole {
			n := 0
			for n < maxNumber && i < len(text) && text[i] >= '0' && text[i] <= '9' {
				i, n = i+1, n+1
			}
			if n == 0 {
				return 0, differs
			}
			continue
		}
		if text[i] != c {
			return 0, differs
		}
		i++
	}
	return i, equal
}

// maxSpaces is how much white space a format has in one place. More of it is text.
const maxSpaces = 256

const whiteSpace = " \t\r\n"

func spaces(s string) int { return len(s) - len(strings.TrimLeft(s, whiteSpace)) }

func space(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// IsName reports whether a tool may have the name: letters, digits, _, - and dots, up to 128 of them.
func IsName(s string) bool {
	return s != "" && len(s) <= maxName && nameLength(s) == len(s)
}

const maxName = 128

// nameLength is how many bytes at the beginning of s a name may have.
func nameLength(s string) int {
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && c != '_' && c != '-' && c != '.' {
			return i
		}
	}
	return len(s)
}

// partial is the length of the longest end of s that marker begins with, short of the whole marker.
func partial(s, marker string) int {
	for n := min(len(marker)-1, len(s)); n > 0; n-- {
		if s[len(s)-n:] == marker[:n] {
			return n
		}
	}
	return 0
}
