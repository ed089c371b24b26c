package chat

import (
	"fmt"
	"strings"
)

// rewrite writes a comma-separated list of expressions (also "name = value" and "key: value" pairs).
func rewrite(tokens []jinjaToken) string {
	var b strings.Builder
	start := 0
	for i, t := range tokens {
		if t.kind != tokenOperator || t.text != "," && t.text != ":" && t.text != "=" {
			continue
		}
		b.WriteString(rewriteOne(tokens[start:i]))
		start = i + 1
		if t.text == "," && start == len(tokens) {
			break // gonja does not take a comma at the end
		}
		b.WriteString(t.text + " ")
	}
	return b.String() + rewriteOne(tokens[start:])
}

// rewriteOne writes one expression. "A if C else B" becomes ((C) and [A] or [B])[0], which evaluates the
// same side and may stand anywhere.
func rewriteOne(tokens []jinjaToken) string {
	cond := find(tokens, "if")
	if cond < 0 {
		return rewriteOperand(tokens)
	}
	c, otherwise := tokens[cond+1:], "__undefined"
	if i := find(c, "else"); i >= 0 {
		c, otherwise = c[:i], rewriteOne(c[i+1:])
	}
	return fmt.Sprintf("((%s) and [%s] or [%s])[0]", rewriteOperand(c), rewriteOperand(tokens[:cond]), otherwise)
}

// find returns the index of a keyword outside of brackets, or -1.
func find(tokens []jinjaToken, keyword string) int {
	for i, t := range tokens {
		if t.is(tokenName, keyword) && !attribute(tokens, i) {
			return i
		}
	}
	return -1
}

// attribute reports whether tokens[i] is a name after a dot or a pipe, where a keyword means nothing.
func attribute(tokens []jinjaToken, i int) bool {
	return i > 0 && (tokens[i-1].is(tokenOperator, ".") || tokens[i-1].is(tokenOperator, "|"))
}

// rewriteOperand writes an expression without a condition. The operand of "in" is put in parentheses up to
// the next operator that binds less.
func rewriteOperand(tokens []jinjaToken) string {
	var b strings.Builder
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		if t.is(tokenName, "in") && !attribute(tokens, i) {
			end := i + 1
			for end < len(tokens) && !bindsLess(tokens, end) {
				end++
			}
			b.WriteString("in (" + rewriteOperand(tokens[i+1:end]) + ") ")
			i = end - 1
			continue
		}
		b.WriteString(rewriteToken(tokens, i))
		if !glued(tokens, i) {
			b.WriteByte(' ')
		}
	}
	return strings.TrimSpace(b.String())
}

// bindsLess reports whether tokens[i] ends the right operand of a comparison.
func bindsLess(tokens []jinjaToken, i int) bool {
	switch t := tokens[i]; t.kind {
	case tokenName:
		return !attribute(tokens, i) && (t.text == "and" || t.text == "or" || t.text == "not" || t.text == "is" || t.text == "in")
	case tokenOperator:
		switch t.text {
		case "==", "!=", "<", ">", "<=", ">=":
			return true
		}
	}
	return false
}

// glued reports whether tokens[i] and what follows are written without a space between them.
func glued(tokens []jinjaToken, i int) bool {
	if i+1 == len(tokens) {
		return true
	}
	next := tokens[i+1]
	return tokens[i].is(tokenOperator, ".") || next.is(tokenOperator, ".") || next.kind == tokenGroup && postfix(tokens, i+1)
}

// postfix reports whether the group tokens[i] is a call or an index of what stands before it.
func postfix(tokens []jinjaToken, i int) bool {
	if i == 0 || tokens[i].text == "{" {
		return false
	}
	switch t := tokens[i-1]; t.kind {
	case tokenOperator:
		return false
	case tokenName:
		switch t.text {
		case "and", "or", "not", "in", "is", "if", "else":
			return attribute(tokens, i-1)
		}
	}
	return true
}

func rewriteToken(tokens []jinjaToken, i int) string {
	t := tokens[i]
	switch t.kind {
	case tokenString:
		return quoteJinja(t.text)
	case tokenName:
		if t.text == "None" && !attribute(tokens, i) {
			return "none"
		}
	case tokenGroup:
		return rewriteGroup(t, postfix(tokens, i), i+1 < len(tokens) && (tokens[i+1].is(tokenOperator, ".") || postfix(tokens, i+1) && tokens[i+1].kind == tokenGroup))
	}
	return t.text
}

// rewriteGroup writes a bracket. after says that it is a call or index, before that one follows on it.
func rewriteGroup(t jinjaToken, after, before bool) string {
	switch {
	case t.text == "(" && after:
		return "(" + rewrite(t.inner) + ")"
	case t.text == "(" && before:
		return "[(" + rewrite(t.inner) + ")][0]" // gonja forgets what a method after ")" is called on
	case t.text == "(":
		s := rewrite(t.inner)
		if len(t.inner) > 0 && t.inner[len(t.inner)-1].is(tokenOperator, ",") {
			s += "," // a tuple of one
		}
		return "(" + s + ")"
	case t.text == "[" && after && len(t.inner) == 2 && t.inner[0].is(tokenOperator, "-") && t.inner[1].kind == tokenNumber:
		// gonja does not find the first item by a negative index.
		n := t.inner[1].text
		if n == "1" {
			return "[-1:][0]"
		}
		return fmt.Sprintf("[-%s:-%s+1][0]", n, n)
	case t.text == "{" && len(t.inner) == 0:
		return "__empty" // gonja takes its own empty dict for true
	case t.text == "{":
		return "{" + rewrite(t.inner) + "}"
	}
	return "[" + rewrite(t.inner) + "]"
}

// rewriteFor writes "for x in items if condition recursive"; its "if" is a filter, not an expression.
func rewriteFor(tokens []jinjaToken) (string, error) {
	in := find(tokens, "in")
	if in < 0 {
		return "", fmt.Errorf("a for loop has no \"in\"")
	}
	head, items := rewrite(tokens[1:in]), tokens[in+1:]
	tail := ""
	if k := len(items); k > 0 && items[k-1].is(tokenName, "recursive") {
		items, tail = items[:k-1], " recursive"
	}
	if i := find(items, "if"); i >= 0 {
		tail = " if " + rewriteOne(items[i+1:]) + tail
		items = items[:i]
	}
	return "for " + head + " in (" + rewriteOne(items) + ")|__each" + tail, nil
}
