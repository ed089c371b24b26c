package server

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// conversationOf reads a conversation for a chat template.
func conversationOf(raw []json.RawMessage, t *chat.Template) ([]runtime.Message, error) {
	if len(raw) == 0 {
		return nil, refuse(codeMissing, "messages", "is missing: at least one message is needed")
	}
	list := make([]runtime.Message, len(raw))
	for i, m := range raw {
		var err error
		if list[i], err = messageOfRequest(m, fmt.Sprintf("messages[%d]", i), t); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// messageOfRequest reads one turn. Fields other than role and content are passed to the template unchanged.
func messageOfRequest(raw json.RawMessage, param string, t *chat.Template) (runtime.Message, error) {
	var fields map[string]json.RawMessage
	if kind := jsonvalue.Kind(raw); kind != "object" {
		return runtime.Message{}, refuse(codeType, param, "must be an object, not %s", jsonvalue.Article(kind))
	}
	if err := decodeField(raw, param, &fields); err != nil {
		return runtime.Message{}, err
	}
	var m runtime.Message
	if jsonvalue.Kind(fields["role"]) == "null" {
		return m, refuse(codeMissing, param+".role", "is missing")
	}
	if err := decodeField(fields["role"], param+".role", &m.Role); err != nil {
		return m, err
	}
	switch {
	case m.Role == "":
		return m, refuse(codeValue, param+".role", "is empty")
	case !t.KnowsRole(m.Role):
		return m, refuse(codeValue, param+".role", "is %q: %s, and what else the model's chat template names, are known", m.Role, strings.Join(chat.Roles, ", "))
	case m.Role == "developer":
		m.Role = "system" // OpenAI's newer name, which chat templates do not know
	}
	if !isEmpty(fields["images"]) { // Ollama's; the chat API has them among the parts of a content
		return m, refuse(codeUnsupported, param+".images", "is given: this server reads text only")
	}
	calls := jsonvalue.Kind(fields["tool_calls"]) != "null" || jsonvalue.Kind(fields["function_call"]) != "null"
	err := checkCalls(fields["tool_calls"], param+".tool_calls")
	if err == nil {
		err = checkCall(fields["function_call"], param+".function_call")
	}
	if err != nil {
		return m, err
	}
	if m.Content, err = content(fields["content"], param+".content", calls); err != nil {
		return m, err
	}
	if raw, given := fields["content"]; !given {
		m.Missing = runtime.ContentAbsent
	} else if jsonvalue.Kind(raw) == "null" {
		m.Missing = runtime.ContentNull
	}
	for name, value := range fields {
		if name != "role" && name != "content" {
			if m.Extra == nil {
				m.Extra = make(map[string]any)
			}
			m.Extra[name] = value
		}
	}
	return m, nil
}

// content reads a text, or text parts, which are joined.
func content(raw json.RawMessage, param string, optional bool) (string, error) {
	switch kind := jsonvalue.Kind(raw); kind {
	case "null":
		if !optional {
			return "", refuse(codeMissing, param, "is missing")
		}
		return "", nil
	case "string":
		var text string
		err := decodeField(raw, param, &text)
		return text, err
	case "array":
		var parts []json.RawMessage
		if err := decodeField(raw, param, &parts); err != nil {
			return "", err
		}
		var b strings.Builder
		for i, p := range parts {
			text, err := contentPart(p, fmt.Sprintf("%s[%d]", param, i))
			if err != nil {
				return "", err
			}
			b.WriteString(text)
		}
		return b.String(), nil
	default:
		return "", refuse(codeType, param, "must be a string or an array of text parts, not %s", jsonvalue.Article(kind))
	}
}

// contentPart reads a text part.
func contentPart(raw json.RawMessage, param string) (string, error) {
	var p struct {
		Type string  `json:"type"`
		Text *string `json:"text"`
	}
	if err := decodeField(raw, param, &p); err != nil {
		return "", err
	}
	switch {
	case p.Type == "":
		return "", refuse(codeMissing, param+".type", "is missing")
	case p.Type != "text":
		return "", refuse(codeUnsupported, param+".type", "is %q: this server reads text only", p.Type)
	case p.Text == nil:
		return "", refuse(codeMissing, param+".text", "is missing")
	}
	return *p.Text, nil
}

// jsonOf is a field of a message that was not read, nil where there is none.
func jsonOf(v any) json.RawMessage {
	raw, _ := v.(json.RawMessage)
	return raw
}

// templateOptions reads what a chat request gives the template besides messages.
func templateOptions(r *openapi.ChatCompletionRequest, list []runtime.Message) (chat.Options, error) {
	last := list[len(list)-1]
	prefix := last.Role == "assistant" && string(jsonOf(last.Extra["prefix"])) == "true" // Mistral's and DeepSeek's way to say so
	o := chat.Options{Continue: flag(r.ContinueFinalMessage, prefix)}
	o.AddGenerationPrompt = flag(r.AddGenerationPrompt, !o.Continue)
	switch {
	case o.Continue && o.AddGenerationPrompt:
		return o, refuse(codeValue, "continue_final_message", "cannot be given together with add_generation_prompt")
	case o.Continue && list[len(list)-1].Role != "assistant":
		return o, refuse(codeValue, "continue_final_message", "needs the last message to be the assistant's")
	}
	if len(r.ChatTemplateKwargs) > 0 {
		o.Kwargs = make(map[string]any, len(r.ChatTemplateKwargs))
		for name, value := range r.ChatTemplateKwargs {
			o.Kwargs[name] = value
		}
	}
	if r.ReasoningEffort != nil && *r.ReasoningEffort != "" {
		if o.Kwargs == nil {
			o.Kwargs = make(map[string]any, 1)
		}
		for name, value := range chat.Effort(*r.ReasoningEffort) {
			if o.Kwargs[name] == nil {
				o.Kwargs[name] = value
			}
		}
	}
	return o, nil
}
