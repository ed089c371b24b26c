package graders

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// template is a text with places. Its zero value is the empty text.
type template struct {
	texts []string // before, between and behind the places: one more than there are places
	paths []path
}

// path is the way from "item" or "sample" to a value.
type path struct {
	source string // as it was written
	root   string
	steps  []step
}

// step goes to a field of an object or, where name is "", to an element of a list.
type step struct {
	name  string
	index int
}

// sampleFields are what a template can name of a sample.
var sampleFields = map[string]bool{"output_text": true, "output_json": true, "output_tools": true, "choices": true}

// parseTemplate reads a template. The error continues the field's name.
func parseTemplate(s string) (*template, error) {
	t := &template{}
	for {
		text, rest, found := strings.Cut(s, "{{")
		t.texts = append(t.texts, text)
		if !found {
			return t, nil
		}
		inside, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return nil, fmt.Errorf("has a {{ without its }}: {{%s", clip(rest))
		}
		p, err := parsePath(strings.TrimSpace(inside))
		if err != nil {
			return nil, fmt.Errorf("has {{%s}}: %w", clip(inside), err)
		}
		t.paths = append(t.paths, p)
		s = after
	}
}

// clip shortens a text for an error message.
func clip(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "..."
	}
	return s
}

// parsePath reads "item.a.b[0]['c']".
func parsePath(s string) (path, error) {
	name, rest := identifier(s)
	p := path{source: s, root: name}
	for rest != "" {
		var one step
		var err error
		if one, rest, err = parseStep(rest); err != nil {
			return p, err
		}
		p.steps = append(p.steps, one)
	}
	switch {
	case len(p.steps) > maxDepth:
		return p, fmt.Errorf("it is more than %d steps deep", maxDepth)
	case p.root != "item" && p.root != "sample":
		return p, fmt.Errorf("item and sample are what there is")
	case p.root == "sample" && (len(p.steps) == 0 || !sampleFields[p.steps[0].name]):
		return p, fmt.Errorf("a sample has output_text, output_json, output_tools and choices")
	case p.root == "sample" && p.steps[0].name == "output_text" && len(p.steps) > 1:
		return p, fmt.Errorf("output_text is a text")
	}
	return p, nil
}

// parseStep reads ".name", "[0]" or "['name']" at the beginning of s.
func parseStep(s string) (one step, rest string, err error) {
	if after, ok := strings.CutPrefix(s, "."); ok {
		if one.name, rest = identifier(after); one.name == "" {
			return one, "", fmt.Errorf("a name is missing behind the dot")
		}
		return one, rest, nil
	}
	inside, rest, closed := strings.Cut(strings.TrimPrefix(s, "["), "]")
	if !strings.HasPrefix(s, "[") || !closed {
		return one, "", fmt.Errorf("a path is expected, such as item.reference: filters and operators are not supported")
	}
	inside = strings.TrimSpace(inside)
	if n := len(inside); n > 2 && (inside[0] == '\'' || inside[0] == '"') && inside[n-1] == inside[0] {
		one.name = inside[1 : n-1]
		return one, rest, nil
	}
	if one.index, err = strconv.Atoi(inside); err != nil || one.index < 0 {
		return one, "", fmt.Errorf("[%s] is neither an index nor a quoted name", clip(inside))
	}
	return one, rest, nil
}

// identifier cuts letters, digits and underscores off the beginning of s.
func identifier(s string) (name, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if end < 0 {
		return s, ""
	}
	return s[:end], s[end:]
}

// render puts the values in. The error is a *Failure.
func (t *template) render(s *Sample) (string, error) {
	var b strings.Builder
	for i, text := range t.texts {
		b.WriteString(text)
		if i < len(t.paths) {
			value, err := t.paths[i].value(s)
			if err != nil {
				return "", err
			}
			b.WriteString(printed(value))
		}
		if b.Len() > maxRendered {
			return "", &Failure{Fault: TruncatedFault, Reason: fmt.Sprintf("a template makes a text of more than %d bytes", maxRendered)}
		}
	}
	return b.String(), nil
}

// printed is a value as a template prints it: texts as they are, all else as JSON.
func printed(value any) string {
	if s, ok := value.(string); ok {
		return s
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(raw)
}

// value follows the path. The error is a *Failure.
func (p *path) value(s *Sample) (any, error) {
	var at any = s.Item
	steps := p.steps
	if p.root == "sample" {
		var err error
		if at, err = s.field(steps[0].name); err != nil {
			return nil, err
		}
		steps = steps[1:]
	}
	for _, one := range steps {
		var ok bool
		switch in := at.(type) {
		case map[string]any:
			at, ok = in[one.name]
			ok = ok && one.name != ""
		case []any:
			if ok = one.name == "" && one.index < len(in); ok {
				at = in[one.index]
			}
		}
		if ok {
			continue
		}
		fault := VariableFault
		if p.root == "sample" {
			fault = SampleFault
		}
		return nil, &Failure{Fault: fault, Reason: fmt.Sprintf("there is no %s", p.source)}
	}
	return at, nil
}

// field returns a field of the sample.
func (s *Sample) field(name string) (any, error) {
	switch name {
	case "output_text":
		return s.Text, nil
	case "output_tools":
		return s.calls(), nil
	case "choices":
		return s.choices(), nil
	}
	value, err := decode([]byte(s.Text))
	if err != nil {
		return nil, &Failure{Fault: SampleFault, Reason: "the answer is not JSON, which sample.output_json needs", Err: err}
	}
	return value, nil
}
