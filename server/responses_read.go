package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/responses"
)

// responseNames are the chat API's fields by which errors may name one of the Responses API.
var responseNames = map[string]string{
	"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens", "messages": "input",
	"response_format.json_schema.schema": "text.format.schema", "response_format": "text.format", "reasoning_effort": "reasoning.effort",
}

// responseItem is an item of any type, of a request or an answer.
type responseItem struct {
	Type      string          `json:"type"`
	ID        string          `json:"id"`
	Role      string          `json:"role"`
	Content   json.RawMessage `json:"content"`
	CallID    string          `json:"call_id"`
	Name      string          `json:"name"`
	Arguments *string         `json:"arguments"`
	Output    json.RawMessage `json:"output"`
	Summary   json.RawMessage `json:"summary"`
}

// translateResponse turns a request of the Responses API into a chat request. It returns the items of the input as they
// are kept, with ids made of the response's.
func (s *Server) translateResponse(who caller, req *openapi.ResponseRequest, history []responses.Record, id string) (*translation, []json.RawMessage, error) {
	t := &translation{names: responseNames}
	t.request.GenerationParameters = openapi.GenerationParameters{
		Model: req.Model, Adapter: req.Adapter, Lora: req.Lora, Temperature: req.Temperature, TopP: req.TopP,
		Stream: req.Stream, Seed: req.Seed,
	}
	t.request.MaxCompletionTokens, t.request.ParallelToolCalls = req.MaxOutputTokens, req.ParallelToolCalls
	turns := &turnList{t: t, names: map[string]string{}}
	if instructions := text(req.Instructions); instructions != "" {
		turns.system("instructions", instructions)
	}
	for _, r := range history {
		if err := turns.addRecord(r); err != nil {
			return nil, nil, err
		}
	}
	input, err := inputItems(req.Input, id)
	if err != nil {
		return nil, nil, err
	}
	named := &references{server: s, who: who, left: 2 * s.maxBody}
	for i, raw := range input {
		param := fmt.Sprintf("input[%d]", i)
		if jsonvalue.Kind(req.Input) == "string" {
			param = "input"
		}
		if input[i], err = named.resolve(raw, param); err != nil {
			return nil, nil, err
		}
		if err := turns.add(input[i], param); err != nil {
			return nil, nil, err
		}
	}
	turns.flush()
	if len(t.request.Messages) == 0 {
		return nil, nil, refuse(codeMissing, "input", "is missing: a text or items")
	}
	if err := t.responseTools(req); err != nil {
		return nil, nil, err
	}
	return t, input, t.responseOptions(req)
}

// inputItems reads the input, a text or items, and gives each item an id that has none.
func inputItems(raw json.RawMessage, response string) ([]json.RawMessage, error) {
	switch kind := jsonvalue.Kind(raw); kind {
	case "null":
		return nil, nil
	case "string":
		return []json.RawMessage{asJSON(map[string]any{
			"id": itemName("msg", response, "i", 0), "type": "message", "role": "user", "status": "completed",
			"content": []any{map[string]any{"type": "input_text", "text": raw}},
		})}, nil
	case "array":
	default:
		return nil, refuse(codeType, "input", "must be a string or an array of items, not %s", jsonvalue.Article(kind))
	}
	var list []json.RawMessage
	if err := decodeField(raw, "input", &list); err != nil {
		return nil, err
	}
	for i, entry := range list {
		param := fmt.Sprintf("input[%d]", i)
		var fields map[string]json.RawMessage
		if err := objectField(entry, param, &fields); err != nil {
			return nil, err
		}
		changed := false
		if jsonvalue.Kind(fields["type"]) == "null" {
			fields["type"], changed = asJSON("message"), true
		}
		if jsonvalue.Kind(fields["id"]) == "null" {
			fields["id"], changed = asJSON(itemName("item", response, "i", i)), true
		}
		if changed {
			list[i] = asJSON(fields)
		}
	}
	return list, nil
}

// itemName makes the id of an item out of its response's: what an item_reference names is found by it.
func itemName(kind, response, place string, i int) string {
	return fmt.Sprintf("%s_%s_%s%d", kind, strings.TrimPrefix(response, "resp_"), place, i)
}

// references finds the items that a request names instead of sending them.
type references struct {
	server *Server
	who    caller
	known  map[string]map[string]json.RawMessage // the items of responses, by the responses' ids
	left   int64                                 // bytes that they may have, all together
}

// resolve returns what an item_reference names; other items are themselves.
func (r *references) resolve(raw json.RawMessage, param string) (json.RawMessage, error) {
	var it responseItem
	if err := decodeField(raw, param, &it); err != nil {
		return nil, err
	}
	if it.Type != "item_reference" {
		return raw, nil
	}
	items, err := r.items(it.ID)
	if err != nil {
		return nil, err
	}
	found, ok := items[it.ID]
	if !ok {
		return nil, &refusal{status: http.StatusNotFound, param: param + ".id", code: "item_not_found",
			message: fmt.Sprintf("%s.id is %q, which is no item of a response that is kept", param, it.ID)}
	}
	if r.left -= int64(len(found)); r.left < 0 {
		return nil, refuse(codeValue, param, "names an item, and the items named are larger than a request may be")
	}
	return found, nil
}

// items returns the items of the response whose id is part of an item's, none where there is no such response.
func (r *references) items(item string) (map[string]json.RawMessage, error) {
	parts := strings.Split(item, "_")
	if len(parts) != 3 || r.server.responses == nil {
		return nil, nil
	}
	id := "resp_" + parts[1]
	if items, ok := r.known[id]; ok {
		return items, nil
	}
	kept, err := r.server.responses.Get(id, r.who.tenant.Owns)
	if errors.Is(err, responses.ErrUnknown) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	output, err := outputItems(kept)
	if err != nil {
		return nil, err
	}
	items := map[string]json.RawMessage{}
	for _, entry := range append(output, kept.Input...) {
		items[itemID(entry)] = entry
	}
	if r.left -= int64(len(kept.Response)); r.left < 0 {
		return nil, refuse(codeValue, "input", "names items of responses that are larger together than a request may be")
	}
	if r.known == nil {
		r.known = make(map[string]map[string]json.RawMessage)
	}
	r.known[id] = items
	return items, nil
}

// outputItems returns the items that a response has answered with.
func outputItems(r responses.Record) ([]json.RawMessage, error) {
	var answer struct {
		Output []json.RawMessage `json:"output"`
	}
	err := json.Unmarshal(r.Response, &answer)
	return answer.Output, err
}

// turnList puts items together to turns: what the assistant thinks, says and calls in a row is one turn, and what the
// system says before anybody else is one, too: many chat templates know no other.
type turnList struct {
	t        *translation
	names    map[string]string // of tools, by the ids of their calls
	leading  []string          // what the system says at the beginning, until the next turn
	pending  *chatTurn         // of the assistant; nil: none
	thoughts strings.Builder   // of pending
	origin   string            // of leading or pending
}

// flush ends the turn that is being put together.
func (l *turnList) flush() {
	if len(l.leading) > 0 {
		content := strings.Join(l.leading, "\n\n")
		l.leading = nil
		l.t.add(l.origin, chatTurn{Role: "system", Content: &content})
	}
	if l.pending != nil {
		if l.pending.Content == nil && len(l.pending.ToolCalls) == 0 {
			l.pending.Content = new(string) // it has thought and said nothing
		}
		l.pending.Reasoning = l.thoughts.String()
		l.thoughts.Reset()
		l.t.add(l.origin, *l.pending)
		l.pending = nil
	}
}

// assistant returns the assistant's turn, a new one where there is none or where fresh says so.
func (l *turnList) assistant(origin string, fresh bool) *chatTurn {
	if fresh || l.pending == nil {
		l.flush()
		l.pending, l.origin = &chatTurn{Role: "assistant"}, origin
	}
	return l.pending
}

// system appends a turn of the system.
func (l *turnList) system(origin, content string) {
	if len(l.t.request.Messages) == 0 && l.pending == nil {
		if len(l.leading) == 0 {
			l.origin = origin
		}
		l.leading = append(l.leading, content)
		return
	}
	l.flush()
	l.t.add(origin, chatTurn{Role: "system", Content: &content})
}

// addRecord appends a response of the conversation before the request.
func (l *turnList) addRecord(r responses.Record) error {
	output, err := outputItems(r)
	if err != nil {
		return err
	}
	for _, raw := range append(r.Input[:len(r.Input):len(r.Input)], output...) {
		if err := l.add(raw, "previous_response_id"); err != nil {
			return err
		}
	}
	return nil
}

// add appends an item.
func (l *turnList) add(raw json.RawMessage, param string) error {
	var it responseItem
	if err := objectField(raw, param, &it); err != nil {
		return err
	}
	switch it.Type {
	case "", "message":
		return l.addMessage(&it, param)
	case "reasoning":
		l.assistant(param, l.pending != nil && (l.pending.Content != nil || len(l.pending.ToolCalls) > 0))
		text, err := it.thoughts(param)
		l.thoughts.WriteString(text)
		return err
	case "function_call":
		switch {
		case it.Name == "":
			return refuse(codeMissing, param+".name", "is missing")
		case it.CallID == "":
			return refuse(codeMissing, param+".call_id", "is missing")
		case it.Arguments == nil:
			return refuse(codeMissing, param+".arguments", "is missing")
		}
		l.names[it.CallID] = it.Name
		turn := l.assistant(param, false)
		turn.ToolCalls = append(turn.ToolCalls, newChatCall(it.CallID, it.Name, *it.Arguments))
		return nil
	case "function_call_output":
		if it.CallID == "" {
			return refuse(codeMissing, param+".call_id", "is missing")
		}
		content, err := itemText(it.Output, param+".output")
		if err != nil {
			return err
		}
		l.flush()
		l.t.add(param, chatTurn{Role: "tool", Content: &content, ToolCallID: it.CallID, ToolName: l.names[it.CallID]})
		return nil
	}
	return refuse(codeUnsupported, param+".type", "is %q: this server reads message, reasoning, function_call, function_call_output and item_reference", it.Type)
}

// addMessage appends a message.
func (l *turnList) addMessage(it *responseItem, param string) error {
	content, err := itemText(it.Content, param+".content")
	if err != nil {
		return err
	}
	switch it.Role {
	case "assistant":
		l.assistant(param, l.pending != nil && (l.pending.Content != nil || len(l.pending.ToolCalls) > 0)).Content = &content
	case "system", "developer":
		l.system(param, content)
	case "user":
		l.flush()
		l.t.add(param, chatTurn{Role: "user", Content: &content})
	case "":
		return refuse(codeMissing, param+".role", "is missing")
	default:
		return refuse(codeValue, param+".role", "is %q: user, assistant, system and developer are known", it.Role)
	}
	return nil
}

// itemText reads a text or parts of text, which are joined.
func itemText(raw json.RawMessage, param string) (string, error) {
	switch kind := jsonvalue.Kind(raw); kind {
	case "string":
		var text string
		err := decodeField(raw, param, &text)
		return text, err
	case "null":
		return "", refuse(codeMissing, param, "is missing")
	case "array":
	default:
		return "", refuse(codeType, param, "must be a string or an array of parts, not %s", jsonvalue.Article(kind))
	}
	var list []json.RawMessage
	if err := decodeField(raw, param, &list); err != nil {
		return "", err
	}
	var b strings.Builder
	for i, entry := range list {
		at := fmt.Sprintf("%s[%d]", param, i)
		var part struct {
			Type    string  `json:"type"`
			Text    *string `json:"text"`
			Refusal *string `json:"refusal"`
		}
		if err := objectField(entry, at, &part); err != nil {
			return "", err
		}
		switch part.Type {
		case "input_text", "output_text", "text", "reasoning_text", "summary_text":
			if part.Text == nil {
				return "", refuse(codeMissing, at+".text", "is missing")
			}
			b.WriteString(*part.Text)
		case "refusal":
			b.WriteString(text(part.Refusal))
		default:
			return "", refuse(codeUnsupported, at+".type", "is %q: this server reads text only", part.Type)
		}
	}
	return b.String(), nil
}

// thoughts is the text of an item of reasoning: its content, or its summary where it has none.
func (it *responseItem) thoughts(param string) (string, error) {
	for _, raw := range []json.RawMessage{it.Content, it.Summary} {
		if isEmpty(raw) {
			continue
		}
		return itemText(raw, param+".content")
	}
	return "", nil // encrypted reasoning of another server, which nobody here can read
}
