package grammar

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// words is a vocabulary in which the token of <text> is the length of the text.
type words int32

func (w words) TokenOf(text string) (int32, bool) {
	return int32(len(text)), !strings.Contains(text, " ")
}
func (w words) HasToken(id int32) bool   { return id < int32(w) }
func (w words) EndsAnswer(id int32) bool { return id == 99 }

func TestCanonicalForm(t *testing.T) {
	for text, want := range map[string]string{
		`root ::= "yes" | "no"`:                                                               `root ::= "yes" | "no"`,
		"\n# before\nroot::=\"a\"#after\r# more\r\n":                                          `root ::= "a"`,
		"root ::= #\r(\"a\"\n|\n\n\"b\" # inside\n)\n":                                        `root ::= ("a" | "b")`,
		"root ::=\n\n \"a\" |\n \"b\"\rx ::= root-2\nroot-2 ::=":                              `root ::= "a" | "b"` + "\nx ::= root-2\nroot-2 ::= \"\"",
		`root ::= "" "a" "" | ""`:                                                             `root ::= "a" | ""`,
		`root ::= [a-cx-zb-d] [-a] [a-] [+--] [\]\[]`:                                         `root ::= [a-dx-z] [\x2Da] [\x2Da] [+-\x2D] [\x5B\x5D]`,
		`root ::= [^"\\\x00-\x1f]`:                                                            `root ::= [ -!#-\x5B\x5D-\U0010FFFF]`,
		`root ::= [^\x00] .`:                                                                  `root ::= [\x01-\U0010FFFF] .`,
		`root ::= "\t\r\n\\\"\[\]^-é☕\U0001F600"`:                                             `root ::= "\x09\x0D\x0A\x5C\x22\x5B\x5D\x5E\x2D\xE9\u2615\U0001F600"`,
		`root ::= "a"* "b"+ "c"? "d"{2} "e"{2,} "f"{ 2 , 5 } "g"{0,} "h"{1,} "i"{0,1} "j"{0}`: `root ::= "a"* "b"+ "c"? "d"{2} "e"{2,} "f"{2,5} "g"* "h"+ "i"? "j"{0}`,
		`root ::= ("a" | ("b" "c")*)+?{3}`:                                                    `root ::= ("a" | ("b" "c")*)+?{3}`,
		`root ::= <[7]> !<[007]> <abc> !<|x|> !<[99]>`:                                        `root ::= <[7]> !<[7]> <[5]> !<[5]> !<[99]>`,
		`root ::= ()`: `root ::= ("")`,
		`root ::= a.b[c]"d"(e)` + "\na ::= ()\nb ::= ()\ne ::= ()": "root ::= a . b [c] \"d\" (e)\na ::= (\"\")\nb ::= (\"\")\ne ::= (\"\")",
	} {
		g, err := Parse(text, words(100))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := g.String(); got != want+"\n" {
			t.Errorf("%s becomes\n%swant\n%s", text, got, want)
		}
		again, err := Parse(g.String(), words(100))
		if err != nil || again.String() != g.String() {
			t.Errorf("%s: its canonical form is read as %v, %v", text, again, err)
		}
	}
}

func TestFaultsNameTheirPlace(t *testing.T) {
	for text, want := range map[string]string{
		``:                               "line 1, column 1: there is no rule named root",
		`answer ::= "a"`:                 "line 1, column 1: there is no rule named root",
		"root ::= \"a\" |\n  other":      `line 2, column 3: the rule "other" is not defined`,
		`root ::= "a`:                    "line 1, column 12: unexpected end: the string on line 1, column 10 is not closed",
		`root ::= "a\`:                   "line 1, column 13: unexpected end",
		`root ::= [a`:                    "line 1, column 12: unexpected end: the class on line 1, column 10 is not closed",
		`root ::= [a-`:                   "line 1, column 13: unexpected end",
		`root ::= [`:                     "unexpected end",
		`root ::= []`:                    "line 1, column 10: the class is empty",
		`root ::= [^\x00-\U0010FFFF]`:    "line 1, column 10: the class is empty",
		`root ::= [\x00]`:                "the class is empty",
		`root ::= [z-a]`:                 "line 1, column 11: the range from U+007A to U+0061 runs backwards",
		`root ::= "\x00"`:                "no answer can have the character U+0000",
		`root ::= "é\uD83D\uDE00"`:       "line 1, column 12: no answer can have the character U+D83D",
		`root ::= "\U00110000"`:          "there is no character U+110000",
		`root ::= "\q"`:                  `line 1, column 11: unknown escape "\\q"`,
		`root ::= "\x4"`:                 `expecting 2 hexadecimal digits after \x, found "\""`,
		`root ::= "\u12`:                 "expecting 4 hexadecimal digits after \\u, found the end of the grammar",
		`root := "a"`:                    `line 1, column 6: expecting ::= after the name "root", found ":"`,
		`root ::= "a" "b")`:              "line 1, column 17: expecting a newline after the rule \"root\", found \")\"",
		"root ::= (\"a\"\n":              "line 2, column 1: expecting ) for the ( on line 1, column 10, found the end",
		"root ::= a\n  | b":              "line 2, column 3: a rule cannot begin with |",
		"root ::= a_b\na ::= ":           `line 1, column 11: expecting a newline after the rule "root", found "_"`,
		"root ::= \"a\"\nroot ::= \"b\"": `line 2, column 1: the rule "root" is defined for the second time; the first is on line 1`,
		"\xffroot":                       "line 1, column 1: there is a byte that is not UTF-8",
		"# é\nroot ::= \"\x00\"":         "line 2, column 11: there is a zero byte",
		`root ::= *`:                     "line 1, column 10: there is nothing before it that could be repeated",
		`root ::= "a" | ?`:               "nothing before it",
		`root ::= "a" ""*`:               "line 1, column 16: there is nothing before it",
		`root ::= "a"{0}*`:               "nothing before it",
		`root ::= "a"{2,1}`:              "line 1, column 13: {2,1} runs backwards",
		`root ::= "a"{5,2}`:              "runs backwards",
		`root ::= "a"{,2}`:               `expecting a number, found ","`,
		`root ::= "a"{2`:                 "expecting } for the { on line 1, column 13, found the end of the grammar",
		"root ::= \"a\"{\n2}":            "expecting a number, found the end of the line",
		`root ::= "a"{2001}`:             "line 1, column 14: it is repeated more than 2000 times",
		`root ::= "a"{99999999999999999999999999}`:                         "more than 2000 times",
		`root ::= <[100]>`:                                                 `line 1, column 10: "<[100]>" is not one token of the model`,
		`root ::= "a" <[99]>`:                                              `line 1, column 14: "<[99]>" ends the answer`,
		`root ::= <[99999999999999]>`:                                      "not one token",
		`root ::= <[-1]>`:                                                  "not one token",
		`root ::= <[]>`:                                                    "not one token",
		`root ::= <a b>`:                                                   "not one token",
		`root ::= <a`:                                                      "not closed with >",
		`root ::= !"a"`:                                                    `expecting a token in angle brackets after !, found "\""`,
		`root ::= <` + strings.Repeat("a", 300) + `>`:                      "the token has 302 bytes, at most 256 are read",
		"root ::= " + strings.Repeat("(", 100_000):                         "longer than 64 KiB",
		"root ::= #\r" + strings.Repeat("(", 60_000):                       "line 2, column 201: parentheses are nested deeper than 200",
		"root ::= \"a\" root2\n\nroot2 ::= (\"b\" | root2) \"c\"":          `in the rule "root2" something begins with itself (left recursion)`,
		"root ::= x x x\nx ::= y*\ny ::= z*\nz ::= \"a\"*":                 "left recursion",
		"root ::= a root | \"x\"\na ::= b\nb ::= \"\"":                     "left recursion",
		`root ::= ("a" | "b"*)*`:                                           "line 1, column 22: in the rule \"root\" something begins with itself",
		`root ::= ` + strings.Repeat(`"a"{2000} `, 300):                    "more than 500000 elements",
		`root ::= ` + strings.Repeat(`a{0,2000} `, 6000) + "\na ::= \"a\"": "more than 500000 elements",
		`root ::= ("a"?){2000}`:                                            "a place can be read in more than 128 ways",
		"root ::= y y y y y y y y y y y y\ny ::= z z z z z z z z z z z z\nz ::= \"a\" | \"\"": `in the rule "root" a place can be read in more than 128 ways`,
		"root ::= r0\n" + chain(3000): "rules deep",
	} {
		g, err := Parse(text, words(100))
		if err == nil {
			_, err = g.Compile()
		}
		var fault *Error
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: error %v\nwant %s", text, err, want)
		}
	}
	if _, err := Parse(`root ::= <a>`, nil); err == nil {
		t.Error("a token is found in no vocabulary")
	}
}

// chain is rules that begin with each other, r0 with r1 and so on.
func chain(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "r%d ::= r%d\n", i, i+1)
	}
	return b.String() + fmt.Sprintf("r%d ::= \"a\"", n)
}

func TestCompile(t *testing.T) {
	for text, want := range map[string]string{
		"a ::= \"x\"\nroot ::= a \"yz\" | [b-d]": "0: ref 1, char 121, char 122, or, class 0, end; 1: char 120, end; classes 98-100",
		`root ::= "a"{2,4}`:                      "0: char 97, char 97, ref 2, end; 1: char 97, or, end; 2: char 97, ref 1, or, end; classes",
		`root ::= "ab"*`:                         "0: ref 2, end; 1: char 97, char 98, end; 2: ref 1, ref 2, or, end; classes",
		`root ::= ("a" | "b")+ "c"{0}`:           "0: ref 1, ref 2, end; 1: char 97, or, char 98, end; 2: ref 1, ref 2, or, end; classes",
		`root ::= . [^a] [^a] <[3]> !<[4]>`:      "0: class 0, class 1, class 1, token 3, nottoken 4, end; classes 0-1114111 0-96 98-1114111",
		`root ::= "a"{2}{2}`:                     "0: ref 1, ref 1, end; 1: char 97, char 97, end; classes",
	} {
		g, err := Parse(text, words(100))
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile()
		if err != nil {
			t.Fatal(err)
		}
		if got := listing(p); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", text, got, want)
		}
	}
}

// listing writes a program as text.
func listing(p *Program) string {
	var b strings.Builder
	for id, from := range p.Rules {
		fmt.Fprintf(&b, "%d: ", id)
		for _, e := range p.Elements[from:] {
			name := []string{"end", "or", "ref", "char", "class", "token", "nottoken"}[e.Kind]
			if e.Kind == End {
				b.WriteString("end; ")
				break
			}
			if e.Kind != Or {
				name += fmt.Sprintf(" %d", e.Value)
			}
			b.WriteString(name + ", ")
		}
	}
	b.WriteString("classes")
	for _, r := range p.Ranges {
		fmt.Fprintf(&b, " %d-%d", r.Lo, r.Hi)
	}
	return b.String()
}

// The largest of each kind takes a moment, not seconds.
func TestHostileGrammarsAreRefusedSoon(t *testing.T) {
	many := strings.Builder{}
	for i := range 4000 {
		fmt.Fprintf(&many, "x%d ::= x%d | \"\"\n", i, i+1)
	}
	for _, text := range []string{
		`root ::= "a"{2000}{2000}{2000}`,
		`root ::= ` + strings.Repeat("a{0,2000} ", 6000) + "\na ::= \"a\"",
		`root ::= ` + strings.Repeat(`("a"|`, 190) + `"a"` + strings.Repeat(")", 190),
		`root ::= [` + strings.Repeat(`a-z`, 20000) + "]",
		`root ::= ` + strings.Repeat(`[^a]`, 15000),
		`root ::= ` + strings.Repeat(`[\x01-\U0010FFFF]{200}`, 2500),
		`root ::= ` + strings.Repeat("(", 200) + `"a"` + strings.Repeat("){2}", 200),
		"root ::= x0\n" + many.String()[:60_000] + "\nx0",
		"root ::= " + strings.Repeat("e{2000} ", 100) + "x0 x1 x2\ne ::= \n" + many.String()[:40_000],
		strings.Repeat("<a>", 20000), strings.Repeat("root ::= <a> ", 5000), strings.Repeat("#", 64<<10), strings.Repeat("\"", 64<<10),
	} {
		start := time.Now()
		g, err := Parse(text, words(100))
		if err == nil {
			_, err = g.Compile()
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%.40q takes %v (error %v)", text, took, err)
		}
	}
}

// Whatever is accepted has a canonical form that means the same, and compiles or is refused with an Error.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		`root ::= "yes" | [a-z0-9]+ (", " item){0,5} # a comment` + "\n" + `item ::= . | <|im_end|> !<[42]> [^\n\]-]`,
		"root ::= #\r((((\"a\"", `root ::= "a"{2,1}`, `root ::= "\u00e9\U0001F600\x41\\"*+?`, "root ::=\n (a |\n b)\na::=b\nb::=",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, err := Parse(text, words(100))
		if err != nil {
			if fault := (*Error)(nil); !errors.As(err, &fault) || fault.Message == "" {
				t.Fatalf("error %v", err)
			}
			return
		}
		canonical := g.String()
		p, err := g.Compile()
		if len(canonical) > MaxBytes {
			return // escapes can be longer than the character
		}
		again, err2 := Parse(canonical, words(100))
		if err2 != nil || again.String() != canonical {
			t.Fatalf("%s\nis read as %v, %v", canonical, again, err2)
		}
		p2, err2 := again.Compile()
		if (err == nil) != (err2 == nil) || err == nil && !reflect.DeepEqual(p, p2) {
			t.Fatalf("%s\ncompiles to another program: %v, %v", canonical, err, err2)
		}
	})
}
