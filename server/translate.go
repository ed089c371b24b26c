package server

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// translation is a request of another API as a chat request, with what its fields are called there.
type translation struct {
	request openapi.ChatCompletionRequest
	origins []string          // where each of the request's messages stands in the other API's request
	names   map[string]string // of other fields: what an error names, by what the chat API calls it
}

// chatTurn is a message in the chat API's shape.
type chatTurn struct {
	Role       string     `json:"role"`
	Content    *string    `json:"content"`
	Reasoning  string     `json:"reasoning_content,omitempty"`
	ToolCalls  []chatCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
	ToolName   string     `json:"name,omitempty"`
}

// chatCall is a call in the chat API's shape.
type chatCall struct {
	ID       string       `json:"id"`
	Type     string       `json:"type"`
	Function chatFunction `json:"function"`
}

type chatFunction struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// chatTool is a tool in the chat API's shape.
type chatTool struct {
	Type     string        `json:"type"`
	Function toolSignature `json:"function"`
}

type toolSignature struct {
	Name        string          `json:"name"`
	Description *string         `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
	Strict      *bool           `json:"strict,omitempty"`
}

func newChatCall(id, name, arguments string) chatCall {
	return chatCall{ID: id, Type: "function", Function: chatFunction{name, arguments}}
}

// asJSON is v as JSON. v has nothing that JSON has not.
func asJSON(v any) json.RawMessage { return appendJSON(nil, v) }

// add appends a message, which origin is the place of.
func (t *translation) add(origin string, m chatTurn) {
	t.request.Messages = append(t.request.Messages, asJSON(m))
	t.origins = append(t.origins, origin)
}

// setTools sets the tools, which stand in the list that param names.
func (t *translation) setTools(tools []chatTool) {
	if len(tools) > 0 {
		t.request.Tools = asJSON(tools)
	}
}

// rename returns what the other API calls a field of the chat request.
func (t *translation) rename(param string) string {
	if rest, ok := strings.CutPrefix(param, "messages["); ok {
		number, field, _ := strings.Cut(rest, "]")
		if i, err := strconv.Atoi(number); err == nil && i < len(t.origins) {
			if field == ".content" || field == ".role" {
				field = ""
			}
			return t.origins[i] + field
		}
	}
	best := ""
	for name := range t.names {
		if len(name) > len(best) && strings.HasPrefix(param, name) {
			best = name
		}
	}
	if best == "" {
		return param
	}
	return t.names[best] + param[len(best):]
}

// translated prepares the answer to a translated request.
func (s *Server) translated(who caller, t *translation) (*reply, error) {
	r, err := s.chat(who, &t.request)
	return r, renameParam(err, t.rename)
}

// renameParam gives the field that an error names another name.
func renameParam(err error, rename func(string) string) error {
	var own *refusal
	var located *paramError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own) && own.param != "":
		again := *own
		again.param = rename(own.param)
		if rest, ok := strings.CutPrefix(own.message, own.param); ok {
			again.message = again.param + rest
		}
		return &again
	case errors.As(err, &located):
		return withParam(rename(located.param), located.err)
	}
	return err
}

// objectField reads an object of a request. The error names the field where it is none.
func objectField(raw json.RawMessage, param string, v any) error {
	if kind := jsonvalue.Kind(raw); kind != "object" {
		return refuse(codeType, param, "must be an object, not %s", jsonvalue.Article(kind))
	}
	return decodeField(raw, param, v)
}

// argumentsObject is the JSON text of a call's arguments as an object; one that was cut off is empty.
func argumentsObject(text string) json.RawMessage {
	if raw := json.RawMessage(text); jsonvalue.Kind(raw) == "object" && json.Valid(raw) {
		return raw
	}
	return json.RawMessage("{}")
}
