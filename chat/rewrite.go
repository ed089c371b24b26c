package chat

import (
	"fmt"
	"slices"
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

// rewriteOperand writes an expression without a condition: operands of comparisons and of "and", "or" and "not".
func rewriteOperand(tokens []jinjaToken) string {
	var b strings.Builder
	start := 0
	flush := func(end int) {
		if start < end {
			b.WriteString(rewriteArithmetics(tokens[start:end]) + " ")
		}
	}
	for i := 0; i < len(tokens); i++ {
		if !bindsLess(tokens, i) || tokens[i].is(tokenName, "is") {
			continue
		}
		flush(i)
		start = i + 1
		end := start
		for end < len(tokens) && !bindsLess(tokens, end) {
			end++
		}
		right := tokens[start:end]
		if in := tokens[i].is(tokenName, "in"); !in && (tokens[i].kind == tokenName || len(right) == 0 || isLiteral(right)) {
			b.WriteString(tokens[i].text + " ")
			continue
		}
		// gonja would take less than Jinja2 does for the operand of "in", and would compare long texts at no cost.
		b.WriteString(tokens[i].text + " ((" + rewriteArithmetics(right) + ")|__compared) ")
		start, i = end, end-1
	}
	flush(len(tokens))
	return strings.TrimSpace(b.String())
}

// isLiteral reports whether an operand is one text or number of the template's own.
func isLiteral(tokens []jinjaToken) bool {
	return len(tokens) == 1 && (tokens[0].kind == tokenString || tokens[0].kind == tokenNumber)
}

// rewriteArithmetics writes one operand of a comparison.
func rewriteArithmetics(tokens []jinjaToken) string {
	if makesText(tokens) {
		return rewriteArithmetic(tokens, 0)
	}
	return rewritePlain(tokens)
}

// rewritePlain writes tokens as they stand, but for what is in brackets.
func rewritePlain(tokens []jinjaToken) string {
	var b strings.Builder
	for i := range tokens {
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
		return "[(" + rewrite(t.inner) + ")][0]" // gonja loses what a method after ")" is called on
	case t.text == "(":
		s := rewrite(t.inner)
		if len(t.inner) > 0 && t.inner[len(t.inner)-1].is(tokenOperator, ",") {
			s += "," // a tuple of one
		}
		if hasComma(t.inner) {
			return "((" + s + ")|__literal)"
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
		return literal("{"+rewrite(t.inner)+"}", before)
	case t.text == "[" && !after && len(t.inner) > 0:
		return literal("["+rewrite(t.inner)+"]", before)
	}
	return "[" + rewrite(t.inner) + "]"
}

// literal is a list or dict that is looked at when it is made. before says that a call or an index follows on it.
func literal(s string, before bool) string {
	if before {
		return "[(" + s + ")|__literal][0]" // gonja loses what a method after ")" is called on
	}
	return "((" + s + ")|__literal)"
}

func hasComma(tokens []jinjaToken) bool {
	return slices.ContainsFunc(tokens, func(t jinjaToken) bool { return t.is(tokenOperator, ",") })
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

// rewriteSet writes "set x = value" and "set ns.x = value", whose target must be a namespace.
func rewriteSet(tokens []jinjaToken) (string, error) {
	equals := slices.IndexFunc(tokens, func(t jinjaToken) bool { return t.is(tokenOperator, "=") })
	target := tokens[1:]
	if equals > 0 {
		target = tokens[1:equals]
	}
	switch {
	case len(target) == 1 && target[0].kind == tokenName:
		return "set " + rewrite(tokens[1:]), nil
	case len(target) == 3 && target[0].kind == tokenName && target[1].is(tokenOperator, ".") && target[2].kind == tokenName && equals > 0:
		return fmt.Sprintf("set %s.%s = __store(%s, %s)", target[0].text, target[2].text, target[0].text, rewrite(tokens[equals+1:])), nil
	}
	return "", fmt.Errorf("\"set\" takes a name, or an attribute of a namespace")
}
