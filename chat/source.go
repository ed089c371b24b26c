package chat

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Chat templates use more of Jinja than gonja parses, and gonja differs from Jinja2 in places where neither reports an
// error: white space around blocks, nested conditional expressions, negative indices, the operand of "in".
// normalizeJinja therefore rewrites a template in the subset of the language that gonja and Jinja2 treat alike. It applies
// trim_blocks and lstrip_blocks (the settings of transformers) itself, so its result is rendered with both off.

// normalizeJinja returns source in that form. Comments and the generation tags, which only mark what a
// trainer computes its loss on, are gone.
func normalizeJinja(source string) (string, error) {
	if len(source) > maxSource {
		return "", fmt.Errorf("the template has %d bytes, at most %d are read", len(source), maxSource)
	}
	source = strings.ReplaceAll(strings.ReplaceAll(source, "\r\n", "\n"), "\r", "\n")
	source = strings.TrimSuffix(source, "\n")
	n := normalizer{src: source, lineStart: true}
	for n.pos < len(n.src) {
		if err := n.step(); err != nil {
			return "", fmt.Errorf("line %d: %w", 1+strings.Count(n.src[:n.pos], "\n"), err)
		}
	}
	return n.out.String(), nil
}

// Bounds of a template's source: gonja parses and evaluates recursively.
const (
	maxSource   = 512 << 10
	maxBrackets = 50   // inside one another
	maxBlocks   = 60   // inside one another
	maxTag      = 1000 // operators and brackets in one tag
)

type normalizer struct {
	src       string
	pos       int
	lineStart bool // what was read last ended a line
	blocks    int  // that are open
	brackets  int  // that are open in this tag
	operators int  // in this tag, brackets among them
	out       strings.Builder
}

// step reads the text up to the next tag, and that tag.
func (n *normalizer) step() error {
	rest := n.src[n.pos:]
	open := nextTag(rest)
	if open < 0 {
		n.text(rest)
		n.pos = len(n.src)
		return nil
	}
	text, kind := rest[:open], rest[open+1]
	n.pos += open + 2
	sign := byte(0)
	if n.pos < len(n.src) && (n.src[n.pos] == '-' || n.src[n.pos] == '+') {
		sign = n.src[n.pos]
		n.pos++
	}
	n.text(n.stripBefore(text, kind, sign))
	switch kind {
	case '#':
		return n.comment()
	case '{':
		tokens, minus, _, err := n.tag("}}")
		if err != nil {
			return err
		}
		if len(tokens) == 0 {
			return fmt.Errorf("an expression is empty")
		}
		n.out.WriteString("{{ (" + rewrite(tokens) + ")|__print }}")
		n.stripAfter(minus, false)
		return nil
	}
	tokens, minus, plus, err := n.tag("%}")
	if err != nil {
		return err
	}
	if len(tokens) == 0 || tokens[0].kind != tokenName {
		return fmt.Errorf("a block has no name")
	}
	n.stripAfter(minus, !plus)
	if err := n.nest(tokens); err != nil {
		return err
	}
	switch name := tokens[0].text; name {
	case "raw":
		return n.raw()
	case "generation", "endgeneration":
	case "for", "set":
		s, err := map[string]func([]jinjaToken) (string, error){"for": rewriteFor, "set": rewriteSet}[name](tokens)
		if err != nil {
			return err
		}
		n.out.WriteString("{% " + s + " %}")
	default:
		n.out.WriteString(strings.TrimRight("{% "+name+" "+rewrite(tokens[1:]), " ") + " %}")
	}
	return nil
}

// comment skips a comment, whose opening has been read.
func (n *normalizer) comment() error {
	end := strings.Index(n.src[n.pos:], "#}")
	if end < 0 {
		return fmt.Errorf("a comment is not closed")
	}
	n.pos += end
	minus, plus := end > 0 && n.src[n.pos-1] == '-', end > 0 && n.src[n.pos-1] == '+'
	n.pos += 2
	n.stripAfter(minus, !plus)
	return nil
}

// nest counts the blocks that are open.
func (n *normalizer) nest(tokens []jinjaToken) error {
	name := tokens[0].text
	switch {
	case strings.HasPrefix(name, "end"):
		n.blocks--
	case name == "for" || name == "if" || name == "macro" || name == "call" || name == "with" || name == "filter",
		name == "set" && !slices.ContainsFunc(tokens, func(t jinjaToken) bool { return t.is(tokenOperator, "=") }):
		n.blocks++
	}
	if n.blocks > maxBlocks {
		return fmt.Errorf("blocks are more than %d deep", maxBlocks)
	}
	return nil
}

// nextTag returns the index of the first "{{", "{%" or "{#".
func nextTag(s string) int {
	for i := 0; ; i++ {
		j := strings.IndexByte(s[i:], '{')
		if j < 0 || i+j+1 >= len(s) {
			return -1
		}
		i += j
		if c := s[i+1]; c == '{' || c == '%' || c == '#' {
			return i
		}
	}
}

// stripBefore takes white space off the end of the text before a tag.
func (n *normalizer) stripBefore(text string, kind, sign byte) string {
	if sign == '-' {
		return strings.TrimRightFunc(text, pythonSpace)
	}
	if sign == '+' || kind == '{' {
		return text
	}
	line := strings.LastIndexByte(text, '\n') + 1
	if (line > 0 || n.lineStart) && strings.TrimFunc(text[line:], pythonSpace) == "" {
		return text[:line]
	}
	return text
}

// stripAfter skips white space after a tag: all of it after a minus, else one line end where trim is set.
func (n *normalizer) stripAfter(minus, trim bool) {
	start := n.pos
	if minus {
		n.pos = len(n.src) - len(strings.TrimLeftFunc(n.src[n.pos:], pythonSpace))
	} else if trim && strings.HasPrefix(n.src[n.pos:], "\n") {
		n.pos++
	}
	n.lineStart = n.pos > start && n.src[n.pos-1] == '\n'
}

// text writes literal text as a string expression: it is printed like everything else.
func (n *normalizer) text(s string) {
	if s != "" {
		n.out.WriteString("{{ " + quoteJinja(s) + "|__print }}")
	}
}

// raw copies what stands before {% endraw %}.
func (n *normalizer) raw() error {
	for at := n.pos; ; {
		open := strings.Index(n.src[at:], "{%")
		if open < 0 {
			return fmt.Errorf("a raw block is not closed")
		}
		text, tag := n.src[n.pos:at+open], n.src[at+open+2:]
		at += open + 2
		sign := byte(0)
		if tag != "" && (tag[0] == '-' || tag[0] == '+') {
			sign, tag = tag[0], tag[1:]
		}
		tag = strings.TrimLeftFunc(tag, pythonSpace)
		if !strings.HasPrefix(tag, "endraw") {
			continue
		}
		n.text(n.stripBefore(text, '%', sign))
		n.pos = len(n.src) - len(tag) + len("endraw")
		_, minus, plus, err := n.tag("%}")
		n.stripAfter(minus, !plus)
		return err
	}
}

// pythonSpace reports what Python's str methods and Jinja2 take for white space.
func pythonSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// quoteJinja writes a string literal that gonja reads back as s.
func quoteJinja(s string) string {
	return `"` + strings.NewReplacer(`\`, `\x5c`, `"`, `\x22`, "\n", `\n`, "\r", `\r`).Replace(s) + `"`
}
