package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// This file reads tools and calls in the forms that data sets have them. What goes to the chat template keeps its bytes:
// the order of its keys and the digits of its numbers are the line's.

// readTools takes a list of tools, or a string that holds one, as data sets of equal columns have it; or a list of
// functions, as OpenAI had it before.
func (c *Conversation) readTools(fields map[string]json.RawMessage) error {
	raw, key := fields["tools"], "tools"
	if isNull(raw) {
		raw, key = fields["functions"], "functions"
	}
	raw, err := innerJSON(raw)
	if err != nil {
		return badLine("has %s whose value %v", key, err)
	}
	if isNull(raw) {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return badLine("has %s that are not a list of objects", key)
	}
	for i, tool := range list {
		if jsonvalue.Kind(tool) != "object" {
			return badLine("has %s that are not a list of objects", key)
		}
		if key == "functions" {
			list[i] = inFunction(tool)
		}
	}
	switch {
	case len(list) == 0:
	case key == "tools":
		c.Tools = raw
	default:
		c.Tools = joinList(list)
	}
	return nil
}

// ToolsOf returns the tools of a line, a list of objects in OpenAI's shape, nil where it has none. The error is a LineError.
func ToolsOf(line json.RawMessage) (json.RawMessage, error) {
	fields, err := parseObject(line)
	if err != nil {
		return nil, err
	}
	var c Conversation
	err = c.readTools(fields)
	return c.Tools, err
}

// innerJSON returns the JSON that a string holds, nil where it is blank; any other value is returned as it is. The
// error continues "which".
func innerJSON(raw json.RawMessage) (json.RawMessage, error) {
	if jsonvalue.Kind(raw) != "string" {
		return raw, nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, err
	}
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	inner := json.RawMessage(text)
	if err := jsonvalue.Scan(inner, jsonvalue.Limits{Depth: maxDepth, Values: maxValues}); err != nil {
		return nil, fmt.Errorf("is a text that %w", err)
	}
	if !json.Valid(inner) {
		return nil, errors.New("is a text that is not JSON")
	}
	return inner, nil
}

// readCalls looks at the message's tool_calls, and makes them of function_call, which OpenAI had before.
func (t *Turn) readCalls() error {
	raw, old := t.extra("tool_calls"), t.extra(functionCall)
	switch {
	case raw != nil && string(raw) != "[]" && t.Message.Role != assistant:
		return badLine("has tool_calls and is the %s's: only the assistant calls tools", t.Message.Role)
	case old != nil && t.Message.Role != assistant:
		return badLine("has a function_call and is the %s's: only the assistant calls tools", t.Message.Role)
	case old != nil && raw != nil:
		return badLine("has both tool_calls and function_call, which is its older name")
	case old != nil:
		if err := checkFunction(old); err != nil {
			return badLine("has a function_call that %v", err)
		}
		delete(t.Message.Extra, functionCall)
		t.setCalls([]json.RawMessage{inFunction(old)})
		return nil
	}
	if raw == nil {
		return nil
	}
	return t.readCallList(raw)
}

// readCallList looks at each of the message's tool_calls.
func (t *Turn) readCallList(raw json.RawMessage) error {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || slices.ContainsFunc(list, func(call json.RawMessage) bool { return jsonvalue.Kind(call) != "object" }) {
		return badLine("has tool_calls that are not a list of objects")
	}
	flat := false
	for i, call := range list {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(call, &fields); err != nil {
			return err
		}
		switch function := fields["function"]; {
		case !isNull(function):
			if err := checkFunction(function); err != nil {
				return badLine("has tool_calls[%d].function, which %v", i, err)
			}
		case jsonvalue.Kind(fields["name"]) == "string": // the function itself, as some programs write it
			if err := checkFunction(call); err != nil {
				return badLine("has tool_calls[%d], which %v", i, err)
			}
			list[i], flat = inFunction(call), true
		default:
			return badLine("has tool_calls[%d] without a function: calls of other kinds cannot be learned", i)
		}
	}
	if flat {
		t.setCalls(list)
	}
	return nil
}

// readCallTurn reads a turn of ShareGPT's that is a call: an object with name and arguments, a list of them, or a text
// that holds either.
func (t *Turn) readCallTurn(value json.RawMessage) error {
	list, err := callsIn(value)
	if err != nil {
		return badLine("is a function_call whose value %v", err)
	}
	t.setCalls(list)
	return nil
}

// setCalls makes the list the message's tool_calls.
func (t *Turn) setCalls(list []json.RawMessage) { t.setExtra("tool_calls", joinList(list)) }

// calls reads the call that a part of a content is. The error continues "content[2]".
func (p *part) calls() ([]json.RawMessage, error) {
	if isNull(p.Value) {
		arguments := p.Arguments
		if isNull(arguments) {
			arguments = json.RawMessage("{}")
		}
		if jsonvalue.Kind(p.Name) != "string" {
			return nil, errors.New("has no name of a function")
		}
		call := json.RawMessage(`{"name": ` + string(p.Name) + `, "arguments": ` + string(arguments) + `}`)
		return callsIn(call)
	}
	list, err := callsIn(p.Value)
	if err != nil {
		return nil, badLine("has a value that %v", err)
	}
	return list, nil
}

// callsIn returns the calls in a value in the shape of OpenAI's tool_calls. The error continues "which".
func callsIn(value json.RawMessage) ([]json.RawMessage, error) {
	value, err := innerJSON(value)
	if err != nil {
		return nil, err
	}
	list := []json.RawMessage{value}
	if jsonvalue.Kind(value) == "array" {
		if err := json.Unmarshal(value, &list); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		return nil, errors.New("has no call")
	}
	for i, call := range list {
		if err := checkFunction(call); err != nil {
			return nil, err
		}
		list[i] = inFunction(call)
	}
	return list, nil
}

// isObject reports whether a value is an object, or null.
func isObject(raw json.RawMessage) bool { return isNull(raw) || jsonvalue.Kind(raw) == "object" }

// checkFunction wants an object with a name, whose arguments are an object or a text that holds one. The error continues
// "which".
func checkFunction(raw json.RawMessage) error {
	var f map[string]json.RawMessage
	if json.Unmarshal(raw, &f) != nil || jsonvalue.Kind(f["name"]) != "string" {
		return errors.New("is not an object with the name of a function")
	}
	if jsonvalue.Kind(f["arguments"]) != "string" {
		if !isObject(f["arguments"]) {
			return badLine("has arguments that are not an object: %s", jsonvalue.Clip(f["arguments"]))
		}
		return nil
	}
	var text string
	if err := json.Unmarshal(f["arguments"], &text); err != nil {
		return err
	}
	if strings.TrimSpace(text) == "" {
		return nil // none
	}
	if err := jsonvalue.Scan([]byte(text), jsonvalue.Limits{Depth: maxDepth, Values: maxValues}); err != nil {
		return badLine("has arguments whose text %v", err)
	}
	if arguments := json.RawMessage(text); !json.Valid(arguments) || !isObject(arguments) {
		return badLine("has arguments whose text is not a JSON object: %s", jsonvalue.Clip(arguments))
	}
	return nil
}

// inFunction wraps a function as OpenAI's tools and tool_calls have it.
func inFunction(function json.RawMessage) json.RawMessage {
	return json.RawMessage(`{"type": "function", "function": ` + string(function) + `}`)
}

// joinList writes a list of values as they are.
func joinList(list []json.RawMessage) json.RawMessage {
	parts := make([]string, len(list))
	for i, raw := range list {
		parts[i] = string(raw)
	}
	return json.RawMessage("[" + strings.Join(parts, ", ") + "]")
}
