package chat

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// textWriter makes a text and spends it from the budget piece by piece.
type textWriter struct {
	budget *budget
	strings.Builder
}

func (w *textWriter) put(s string) {
	w.budget.grow(len(s))
	w.WriteString(s)
}

// repr writes v as Python prints it inside of a list.
func (w *textWriter) repr(v *exec.Value, depth int) {
	if depth > 2*maxNested {
		panic(overBudget("it prints a value that is nested too deeply"))
	}
	w.budget.step(1)
	switch {
	case v.IsNil():
		w.put("Undefined")
	case isNone(v):
		w.put("None")
	case v.IsString():
		w.put(pythonQuote(v.String()))
	case v.IsDict():
		w.put("{")
		for i, p := range items(v) {
			if i > 0 {
				w.put(", ")
			}
			w.repr(p.Key, depth+1)
			w.put(": ")
			w.repr(p.Value, depth+1)
		}
		w.put("}")
	case v.IsList():
		w.put("[")
		for i, e := range elements(v) {
			if i > 0 {
				w.put(", ")
			}
			w.repr(e, depth+1)
		}
		w.put("]")
	default:
		w.put(v.String())
	}
}

func pythonQuote(s string) string {
	quote := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = `"`
	}
	return quote + strings.NewReplacer(`\`, `\\`, quote, `\`+quote, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + quote
}

// pythonJSON is how Python's json.dumps writes values, which is what transformers' tojson does.
type pythonJSON struct {
	indent      int // spaces per level; -1: on one line
	item, key   string
	ensureASCII bool
	sortKeys    bool
}

func (p pythonJSON) dump(w *textWriter, v *exec.Value, level int) error {
	if level > 2*maxNested {
		return errors.New("a value that is nested too deeply cannot be written as JSON")
	}
	w.budget.step(1)
	switch {
	case v.IsNil():
		return errors.New("an undefined value cannot be written as JSON")
	case isNone(v):
		w.put("null")
	case v.IsBool():
		w.put(strconv.FormatBool(v.Bool()))
	case v.IsString():
		w.put(p.quote(v.String()))
	case v.IsNumber() || isBig(v):
		w.put(v.String())
	case v.IsDict():
		return p.dumpDict(w, v, level)
	case v.IsList():
		all := elements(v)
		return p.dumpAll(w, "[", "]", level, len(all), func(i int) error { return p.dump(w, all[i], level+1) })
	default:
		return fmt.Errorf("a %s cannot be written as JSON", reflect.Indirect(v.Val).Kind())
	}
	return nil
}

func (p pythonJSON) dumpDict(w *textWriter, v *exec.Value, level int) error {
	pairs := slices.Clone(items(v))
	if p.sortKeys {
		sort.SliceStable(pairs, func(i, j int) bool { return pairs[i].Key.String() < pairs[j].Key.String() })
	}
	return p.dumpAll(w, "{", "}", level, len(pairs), func(i int) error {
		w.put(p.quote(pairs[i].Key.String()) + p.key)
		return p.dump(w, pairs[i].Value, level+1)
	})
}

// dumpAll writes n items between brackets, each on a line of its own where there is an indent.
func (p pythonJSON) dumpAll(w *textWriter, open, end string, level, n int, item func(i int) error) error {
	w.put(open)
	between := p.item
	line := ""
	if p.indent >= 0 && n > 0 {
		line = "\n" + strings.Repeat(" ", p.indent*(level+1))
		between = strings.TrimRight(p.item, " ") + line
	}
	w.put(line)
	for i := range n {
		if i > 0 {
			w.put(between)
		}
		if err := item(i); err != nil {
			return err
		}
	}
	if line != "" {
		w.put("\n" + strings.Repeat(" ", p.indent*level))
	}
	w.put(end)
	return nil
}

func (p pythonJSON) quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r < 0x20 || p.ensureASCII && r >= 0x7f && r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		case p.ensureASCII && r > 0xffff:
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}
