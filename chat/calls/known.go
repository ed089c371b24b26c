package calls

import (
	"encoding/json"
	"slices"
	"strings"
)

// Some templates print the tools of a request and no calls, although the model was trained to write them in a format of
// its own. The control tokens of that format are in its vocabulary.

// known are such formats, and the tokens that tell of them. The first of which a vocabulary has all is the model's.
var known = []struct {
	tokens []string
	format Format
}{
	{[]string{"<|tool_call_start|>", "<|tool_call_end|>"}, Format{
		Family: "lfm", Calls: true, Marker: "<|tool_call_start|>", Section: Pair{"<|tool_call_start|>[", "]<|tool_call_end|>"}, Middle: "(", Finish: ")",
		Separator: ", ", Parallel: true, Parameters: &Parameters{Middle: "=", Separator: ", ", Quotes: Pair{`"`, `"`}, Python: true},
	}},
	{[]string{"<|start_of_role|>", "<|tool_call|>"}, Format{
		Family: "granite", Calls: true, Marker: "<|tool_call|>", Section: Pair{"<|tool_call|>[", "]"}, Begin: `{"name": "`, Middle: `", "arguments": `,
		Finish: "}", Separator: ", ", Parallel: true,
	}},
}

// Known returns the format of a model whose template prints tools and no calls. has reports whether a text is one control
// token of the model's vocabulary.
func Known(has func(string) bool) (f Format, ok bool) {
	for _, k := range known {
		if !slices.ContainsFunc(k.tokens, func(text string) bool { return !has(text) }) {
			return k.format, true
		}
	}
	return Format{}, false
}

// print writes arguments one by one; they are the JSON text of an object.
func (p *Parameters) print(arguments string) string {
	var object orderedObject
	if json.Unmarshal([]byte(arguments), &object) != nil {
		return arguments // of a client's history, which may be anything
	}
	var b strings.Builder
	for i, one := range object {
		if i > 0 {
			b.WriteString(p.Separator)
		}
		middle, value, text := p.Middle, string(one.value), ""
		isText := json.Unmarshal(one.value, &text) == nil && value != "null"
		switch words := map[string]string{"true": "True", "false": "False", "null": "None"}; {
		case isText && !p.literals():
			middle, value = p.textMiddle(), text
		case p.Python && words[value] != "":
			value = words[value]
		}
		b.WriteString(p.Open + one.name + middle + value + p.Close)
	}
	return b.String()
}
