package chat

import (
	"encoding/json"
	"strings"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Templates differ in two expectations of a message that calls tools. OpenAI's API has the arguments of a call as JSON
// text. Most templates expect an object, which they write as JSON or iterate over, and some concatenate the text. And the
// content of such a message is null: some templates test for that ("content is none"), others would print "None".

// dialect is what a template expects. The zero value fits most templates.
type dialect struct {
	argumentsAsText bool // arguments stay JSON text
	nullAsEmpty     bool // null content is shown as an empty text, because the template would print "None"
}

// The probe's argument, and how Python prints its name inside of a dict.
const (
	probeArgument = "lorikeet_argument"
	probePrinted  = "'" + probeArgument + "'"
)

// probeTools are the tools of a probe.
var probeTools = json.RawMessage(`[{"type": "function", "function": {"name": "lookup", "description": "looks up", "parameters": {"type": "object", "properties": {}}}}]`)

// dialectOf renders a message that calls a tool in each way and looks at what comes out.
func dialectOf(r renderer) (d dialect) {
	call := json.RawMessage(`[{"id": "call00001", "type": "function", "function": {"name": "lookup", "arguments": "{\"` + probeArgument + `\": \"value\"}"}}]`)
	render := func(d dialect, missing runtime.MissingContent) (string, bool) {
		text, err := r([]runtime.Message{
			{Role: "user", Content: "a"},
			{Role: "assistant", Missing: missing, Extra: map[string]any{"tool_calls": call}},
			{Role: "tool", Content: "b", Extra: map[string]any{"tool_call_id": "call00001", "name": "lookup"}},
		}, Options{Tools: probeTools, dialect: d})
		return text, err == nil
	}
	for _, missing := range []runtime.MissingContent{runtime.ContentGiven, runtime.ContentNull} { // some write calls in one of the two alone
		asObject, ok := render(dialect{}, missing)
		if asText, okText := render(dialect{argumentsAsText: true}, missing); okText && strings.Contains(asText, probeArgument) {
			d.argumentsAsText = !ok || !strings.Contains(asObject, probeArgument) || strings.Contains(asObject, probePrinted)
			break
		}
	}
	null, ok := render(d, runtime.ContentNull)
	d.nullAsEmpty = !ok || strings.Contains(null, "None")
	return d
}
