package grammar

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Composer makes one grammar of several parts: values of JSON schemas among rules that the caller writes in GBNF. The zero
// value is ready.
type Composer struct {
	rules   strings.Builder
	schemas int
	texts   int
}

// Define adds a rule. Its name begins with none of those that the Composer gives: v1, t1 and so on, or a rule of JSON.
func (c *Composer) Define(name, body string) { fmt.Fprintf(&c.rules, "%s ::= %s\n", name, body) }

// Schema adds the rules of the values that are valid under a JSON schema, and returns the name of the one for a whole
// value. Errors are those of FromSchema.
func (c *Composer) Schema(param string, schema json.RawMessage) (rule string, err error) {
	at := &path{step: param}
	root, err := readTree(schema, at)
	if err != nil {
		return "", err
	}
	c.schemas++
	g := &grammarWriter{root: root, at: at, refs: make(map[string]string), prefix: "v" + strconv.Itoa(c.schemas)}
	if rule, err = g.value(root, at, 0); err != nil {
		return "", err
	}
	if g.full || c.rules.Len()+g.rules.Len() > MaxBytes {
		return "", g.tooLong()
	}
	c.rules.WriteString(g.rules.String())
	return rule, nil
}

// Object is the rule for any JSON object.
func (c *Composer) Object() string { return "object" }

// Value is the rule for any JSON value.
func (c *Composer) Value() string { return "value" }

// TextWithout adds the rules of all texts in which a marker does not occur, and returns the name of the one for a whole
// text. An empty marker occurs nowhere.
func (c *Composer) TextWithout(marker string) string {
	c.texts++
	name := func(matched int) string { return fmt.Sprintf("t%d-%d", c.texts, matched) }
	if marker == "" {
		c.Define(name(0), ".*")
		return name(0)
	}
	runes := []rune(marker)
	distinct := slices.Clone(runes)
	slices.Sort(distinct)
	distinct = slices.Compact(distinct)
	var class strings.Builder
	for _, r := range distinct {
		class.WriteString(classOf(r))
	}
	// After each text there is a state: how much of the marker the text ends with.
	for matched := range runes {
		choices := []string{"[^" + class.String() + "] " + name(0)}
		for _, r := range distinct {
			if next := longestEnd(append(slices.Clone(runes[:matched]), r), runes); next < len(runes) {
				choices = append(choices, "["+classOf(r)+"] "+name(next))
			}
		}
		c.Define(name(matched), "( "+strings.Join(choices, " | ")+" )?")
	}
	return name(0)
}

// TextNotBeginning adds the rules of all texts that do not begin with a marker, white space before it left out, and returns
// the name of the one for a whole text.
func (c *Composer) TextNotBeginning(marker string) string {
	c.texts++
	name := func(matched int) string { return fmt.Sprintf("t%d-%d", c.texts, matched) }
	runes := []rune(strings.TrimLeft(marker, " \t\r\n"))
	for matched, r := range runes {
		class, same := "[^"+classOf(r)+"] .*", ""
		if matched == 0 {
			class, same = "[^"+classOf(r)+` \t\r\n] .*`, ` | [ \t\r\n] `+name(0)
		}
		if matched+1 < len(runes) {
			same += " | [" + classOf(r) + "] " + name(matched+1)
		}
		c.Define(name(matched), "( "+class+same+" )?")
	}
	return name(0)
}

// longestEnd is how many characters of marker text ends with.
func longestEnd(text, marker []rune) int {
	for n := min(len(text), len(marker)); n > 0; n-- {
		if slices.Equal(text[len(text)-n:], marker[:n]) {
			return n
		}
	}
	return 0
}

// classOf writes a character as it stands between square brackets.
func classOf(r rune) string {
	if r < utf8.RuneSelf && !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
		return fmt.Sprintf(`\x%02X`, r)
	}
	return string(r)
}

// Literal writes a text as GBNF has it.
func Literal(text string) string { return quoted(text) }

// Grammar returns the whole grammar, whose answers are those of an expression, or an error that says why it cannot be
// followed in bounded time.
func (c *Composer) Grammar(root string) (string, error) {
	text := "root ::= " + root + "\n" + c.rules.String() + jsonRules
	parsed, err := Parse(text, nil)
	if err == nil {
		_, err = parsed.Compile()
	}
	return text, err
}
