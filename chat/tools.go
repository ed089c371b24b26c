package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// A template may print the tools of a request, the calls in a conversation's history and what the tools returned, or leave
// any of them out without a word. What it leaves out is put into the texts of the messages before it renders them, in the
// generic format of package calls.

// tooling is what a template does with tools.
type tooling struct {
	markers        []runtime.Token // control tokens in the texts of calls
	calls          calls.Format    // how the model writes calls and reasoning
	generic        bool            // calls are in the generic format: that of the template is none that can be read
	withoutTools   bool            // the template does not print tools: they are described in the system's turn
	withoutCalls   bool            // it does not print calls: they are put into the contents of messages
	withoutResults bool            // it does not print what tools return: that is put into turns of the user
	withoutOlder   bool            // it does not print function_call and turns of the role function: tool_calls and tool take their place
	withoutSystem  bool            // it has no turn of the system: descriptions go into the first turn
}

// Format returns how answers to a conversation are written; tools says whether the conversation has any. The caller must
// not change it.
func (t *Template) Format(tools bool) *calls.Format { return &t.formatFor(tools).calls }

// Markers returns the control tokens that the format of a conversation's answers has in it. The caller must not change
// them.
func (t *Template) Markers(tools bool) []runtime.Token { return t.formatFor(tools).markers }

// setMarkers finds them.
func (f *format) setMarkers(m runtime.Model) {
	for _, text := range f.calls.Texts() {
		tokens, err := m.Tokenize(text, false, true)
		if err != nil {
			continue // it has none then
		}
		for _, token := range tokens {
			if len(m.Piece(token, false)) == 0 && len(m.Piece(token, true)) > 0 && !slices.Contains(f.markers, token) {
				f.markers = append(f.markers, token)
			}
		}
	}
}

// GenericTools says what of tools the chat template does not do, so that the generic format is used for it; "" where it
// does all of it.
func (t *Template) GenericTools() string {
	f := t.formatFor(true)
	if f.withoutCalls && !f.generic {
		return "" // calls are written as the model's vocabulary tells
	}
	var missing []string
	for _, m := range []struct {
		is   bool
		what string
	}{{f.withoutTools, "the tools of a request"}, {f.withoutCalls, "calls of tools"}, {f.withoutResults, "what tools return"}} {
		if m.is {
			missing = append(missing, m.what)
		}
	}
	switch {
	case len(missing) > 0:
		return "the chat template does not print " + strings.Join(missing, ", nor ") + ": the generic format is used for that"
	case f.generic:
		return "the chat template writes calls of tools in a way that cannot be read back: the generic format is used for those of answers"
	}
	return ""
}

// formatFor is what renders a conversation.
func (t *Template) formatFor(tools bool) *format {
	if tools && t.tools != nil {
		return t.tools
	}
	return &t.format
}

var (
	probeToolList = json.RawMessage(`[` + probeTool(calls.ProbeTool) + `, ` + probeTool(calls.ProbeOther) + `]`)
	probeFunction = fmt.Sprintf(`{"name": %q, "arguments": "{\"%s\": \"%s\"}"}`, calls.ProbeTool, calls.ProbeKey, calls.ProbeValue)
	probeFirst    = probeCall(calls.ProbeID, calls.ProbeTool, fmt.Sprintf(`{%q: %q, %q: %q, %q: %s}`, calls.ProbeKey, calls.ProbeValue,
		calls.ProbeKey2, calls.ProbeValue2, calls.ProbeKey3, calls.ProbeNumber))
	probeKinds  = probeCall(calls.ProbeID, calls.ProbeTool, fmt.Sprintf(`{%q: true, %q: %q}`, calls.ProbeKey5, calls.ProbeKey6, calls.ProbeMarkup))
	probeSecond = probeCall(calls.ProbeNextID, calls.ProbeOther, fmt.Sprintf(`{%q: %q}`, calls.ProbeKey4, calls.ProbeValue4))
)

func probeTool(name string) string {
	return `{"type": "function", "function": {"name": "` + name + `", "description": "a probe", "parameters": {"type": "object", "properties": {}}}}`
}

func probeCall(id, name, arguments string) string {
	quoted, _ := json.Marshal(arguments) // a string: it does not fail
	return fmt.Sprintf(`{"id": %q, "type": "function", "function": {"name": %q, "arguments": %s}}`, id, name, quoted)
}

// detect finds what the template does with tools. ends are the texts of the tokens that end an answer.
func (f *format) detect(m runtime.Model, source string, ends []string) {
	user := runtime.Message{Role: "user", Content: "a question"}
	render := func(o Options, messages ...runtime.Message) string {
		o.dialect = f.dialect
		text, err := f.render(messages, o)
		if err != nil {
			return ""
		}
		return text
	}
	tools := Options{Tools: probeToolList}
	assistant := func(content string, extra map[string]any) runtime.Message {
		m := runtime.Message{Role: "assistant", Content: content, Extra: extra}
		if content == "" {
			m.Missing = runtime.ContentNull
		}
		return m
	}
	one := assistant("", map[string]any{"tool_calls": json.RawMessage("[" + probeFirst + "]")})
	two := assistant("", map[string]any{"tool_calls": json.RawMessage("[" + probeFirst + ", " + probeSecond + "]")})
	kinds := assistant("", map[string]any{"tool_calls": json.RawMessage("[" + probeKinds + "]")})
	p := calls.Probes{
		Prompt:  render(Options{Tools: probeToolList, AddGenerationPrompt: true}, user),
		Said:    render(tools, user, assistant(calls.ProbeSaid, nil)),
		Thought: render(tools, user, assistant(calls.ProbeSaid, map[string]any{"reasoning_content": calls.ProbeThink})),
		One:     render(tools, user, one),
		Two:     render(tools, user, two),
		Kinds:   render(tools, user, kinds),
		Source:  source,
	}
	printed := strings.Contains(p.One, calls.ProbeValue) || strings.Count(p.One, calls.ProbeTool) > strings.Count(p.Prompt, calls.ProbeTool)
	var err error
	if f.calls, err = calls.Detect(p, ends); err != nil {
		thinks := f.calls.Think
		f.generic, f.calls = true, calls.Generic()
		f.calls.Think = thinks
	}
	f.withoutTools = !strings.Contains(p.Prompt, calls.ProbeTool)
	f.withoutCalls = !printed
	if known, is := calls.Known(func(text string) bool { return hasToken(m, text) }); is && f.generic && f.withoutCalls && !f.withoutTools {
		known.Think = f.calls.Think
		f.generic, f.calls = false, known
		one = assistant(f.calls.Print([]calls.Written{{Name: calls.ProbeTool, Arguments: "{}"}}), nil)
	}
	result := runtime.Message{Role: "tool", Content: calls.ProbeResult, Extra: map[string]any{"tool_call_id": calls.ProbeID, "name": calls.ProbeTool}}
	f.withoutResults = f.withoutCalls && f.generic || !strings.Contains(render(tools, user, one, result), calls.ProbeResult)
	older := render(tools, user, assistant("", map[string]any{"function_call": json.RawMessage(probeFunction)}),
		runtime.Message{Role: "function", Content: calls.ProbeResult, Extra: map[string]any{"name": calls.ProbeTool}})
	f.withoutOlder = !strings.Contains(older, calls.ProbeResult) || !strings.Contains(older, calls.ProbeValue)
	f.withoutSystem = !strings.Contains(render(Options{}, runtime.Message{Role: "system", Content: calls.ProbeSaid}, user), calls.ProbeSaid)
}

// adapt puts into the messages, whose texts are masked, what the template would leave out. It changes list.
func (f *format) adapt(list []runtime.Message, o *Options) ([]runtime.Message, error) {
	if f.withoutOlder {
		renew(list)
	}
	if f.withoutCalls || f.withoutResults {
		var err error
		if list, err = f.rewrite(list, o.mask); err != nil {
			return nil, err
		}
	}
	if f.calls.HasIdentifiers() {
		for i := range list {
			identify(&list[i])
		}
	}
	switch {
	case o.Tools == nil || !f.withoutTools && !f.generic:
		return list, nil
	case !f.withoutTools:
		return f.describe(list, f.calls.Describe(nil)), nil
	}
	raw, err := json.Marshal(o.Tools)
	var tools []json.RawMessage
	if err == nil {
		err = json.Unmarshal(raw, &tools)
	}
	if err != nil {
		return nil, fmt.Errorf("tools: %w", err)
	}
	lines := make([]string, len(tools))
	for i, tool := range tools {
		var b bytes.Buffer
		if err := json.Compact(&b, tool); err != nil {
			return nil, fmt.Errorf("tools: %w", err)
		}
		lines[i] = o.mask.hide(b.String())
	}
	return f.describe(list, f.calls.Describe(lines)), nil
}

// describe puts a text into the system's turn, or into the first one where the template has no turn of the system.
func (f *format) describe(list []runtime.Message, text string) []runtime.Message {
	if len(list) > 0 && (f.withoutSystem || list[0].Role == "system") {
		first := &list[0]
		switch {
		case first.Content == "":
			first.Content = text
		case first.Role == "system":
			first.Content += "\n\n" + text
		default:
			first.Content = text + "\n\n" + first.Content
		}
		return list
	}
	return append([]runtime.Message{{Role: "system", Content: text}}, list...)
}

// historyCall is a call in the history.
type historyCall struct {
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"function"`
}

// rewrite puts calls and results into the contents of messages.
func (f *format) rewrite(list []runtime.Message, mask *masker) ([]runtime.Message, error) {
	out := list[:0]
	var results []string // of the turn of results that has begun
	flush := func() {
		if len(results) > 0 {
			out, results = append(out, runtime.Message{Role: "user", Content: strings.Join(results, "\n")}), nil
		}
	}
	for _, m := range list {
		if f.withoutResults && m.Role == "tool" {
			results = append(results, calls.Result(m.Content))
			continue
		}
		flush()
		var written []calls.Written
		if f.withoutCalls {
			var err error
			if written, err = writtenCalls(m, mask); err != nil {
				return nil, err
			}
		}
		if len(written) > 0 {
			extra := make(map[string]any, len(m.Extra))
			for name, v := range m.Extra {
				if name != "tool_calls" {
					extra[name] = v
				}
			}
			text := f.calls.Print(written)
			if m.Content != "" {
				text = m.Content + "\n" + text
			}
			m.Content, m.Missing, m.Extra = text, runtime.ContentGiven, extra
		}
		out = append(out, m)
	}
	flush()
	return out, nil
}

// renew writes function_call and the role function, which OpenAI's API had first, as tool_calls and the role tool.
func renew(list []runtime.Message) {
	ids := map[string]any{} // of the last call of each function
	for i := range list {
		m := &list[i]
		name, _ := m.Extra["name"].(string)
		if raw, ok := m.Extra["name"].(json.RawMessage); ok && json.Unmarshal(raw, &name) != nil {
			name = ""
		}
		raw, err := json.Marshal(m.Extra["function_call"])
		called := err == nil && m.Extra["function_call"] != nil && string(raw) != "null" && m.Extra["tool_calls"] == nil
		if !called && m.Role != "function" {
			continue
		}
		m.Extra = maps.Clone(m.Extra)
		if m.Role == "function" {
			m.Role = "tool"
			if id := ids[name]; id != nil {
				m.Extra["tool_call_id"] = id
			}
			continue
		}
		var call struct{ Name string }
		if json.Unmarshal(raw, &call) != nil {
			continue // it stays as it is
		}
		id := calls.Identifier(fmt.Sprint(i, call.Name))
		ids[call.Name] = id
		delete(m.Extra, "function_call")
		m.Extra["tool_calls"] = json.RawMessage(fmt.Sprintf(`[{"id": %q, "type": "function", "function": %s}]`, id, raw))
	}
}

// identify gives the calls of a message, or the result that it is, identifiers of the form that the model knows: templates
// refuse others, and clients bring those that another server gave.
func identify(m *runtime.Message) {
	extra := maps.Clone(m.Extra)
	if raw, ok := extra["tool_call_id"]; ok {
		extra["tool_call_id"] = identifierOf(raw)
	}
	if raw, err := json.Marshal(extra["tool_calls"]); err == nil {
		var list []map[string]json.RawMessage
		if json.Unmarshal(raw, &list) == nil && len(list) > 0 {
			for _, call := range list {
				if id := call["id"]; id != nil {
					call["id"], _ = json.Marshal(identifierOf(id)) // of what was JSON before
				}
			}
			if raw, err = json.Marshal(list); err == nil {
				extra["tool_calls"] = json.RawMessage(raw)
			}
		}
	}
	m.Extra = extra
}

// identifierOf is an identifier in the model's form, or the value as it is where it is no text.
func identifierOf(v any) any {
	raw, err := json.Marshal(v)
	var id string
	if err != nil || json.Unmarshal(raw, &id) != nil || id == "" {
		return v
	}
	return calls.Identifier(id)
}

// writtenCalls are the calls of a message, masked.
func writtenCalls(m runtime.Message, mask *masker) ([]calls.Written, error) {
	if m.Extra["tool_calls"] == nil {
		return nil, nil
	}
	raw, err := json.Marshal(m.Extra["tool_calls"])
	var list []historyCall
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("tool_calls: %w", err)
	}
	written := make([]calls.Written, len(list))
	for i, c := range list {
		written[i] = calls.Written{Name: mask.hide(c.Function.Name), Arguments: mask.hide(argumentsText(c.Function.Arguments))}
	}
	return written, nil
}

// argumentsText is the arguments of a call as one line of JSON: OpenAI's API has them as JSON text, others as an object.
func argumentsText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = json.RawMessage(text)
	}
	var b bytes.Buffer
	switch {
	case len(bytes.TrimSpace(raw)) == 0:
		return "{}"
	case json.Compact(&b, raw) != nil:
		quoted, _ := json.Marshal(text) // a string: it does not fail
		return string(quoted)
	}
	return b.String()
}
