package server

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// responseTools translates the tools and which of them must be called.
func (t *translation) responseTools(req *openapi.ResponseRequest) error {
	tools := make([]chatTool, len(req.Tools))
	for i, raw := range req.Tools {
		param := fmt.Sprintf("tools[%d]", i)
		var tool struct {
			Type        string          `json:"type"`
			Name        string          `json:"name"`
			Description *string         `json:"description"`
			Parameters  json.RawMessage `json:"parameters"`
			Strict      *bool           `json:"strict"`
		}
		if err := objectField(raw, param, &tool); err != nil {
			return err
		}
		switch {
		case tool.Type != "function":
			return refuse(codeUnsupported, param+".type", "is %q: the server runs no tools itself, those of type function are supported", tool.Type)
		case tool.Name == "":
			return refuse(codeMissing, param+".name", "is missing")
		}
		if jsonvalue.Kind(tool.Parameters) == "null" {
			tool.Parameters = nil
		}
		tools[i] = chatTool{"function", toolSignature{tool.Name, tool.Description, tool.Parameters, tool.Strict}}
	}
	t.setTools(tools)
	return t.responseChoice(req.ToolChoice)
}

// responseChoice translates tool_choice.
func (t *translation) responseChoice(raw json.RawMessage) error {
	switch jsonvalue.Kind(raw) {
	case "null":
		return nil
	case "string":
		t.request.ToolChoice = raw
		return nil
	}
	var choice struct {
		Type  string `json:"type"`
		Name  string `json:"name"`
		Mode  string `json:"mode"`
		Tools []struct {
			Type string `json:"type"`
			Name string `json:"name"`
		} `json:"tools"`
	}
	if err := objectField(raw, "tool_choice", &choice); err != nil {
		return err
	}
	switch choice.Type {
	case "function":
		if choice.Name == "" {
			return refuse(codeMissing, "tool_choice.name", "is missing")
		}
		t.request.ToolChoice = asJSON(namedTool(choice.Name))
	case "allowed_tools":
		allowed := make([]any, len(choice.Tools))
		for i, tool := range choice.Tools {
			if tool.Type != "function" {
				return refuse(codeUnsupported, fmt.Sprintf("tool_choice.tools[%d].type", i), "is %q: those of type function are supported", tool.Type)
			}
			allowed[i] = namedTool(tool.Name)
		}
		t.request.ToolChoice = asJSON(map[string]any{"type": "allowed_tools", "allowed_tools": map[string]any{"mode": choice.Mode, "tools": allowed}})
	default:
		return refuse(codeUnsupported, "tool_choice.type", "is %q: function and allowed_tools are supported", choice.Type)
	}
	return nil
}

// outputLogprobs is what a request includes where it wants log-probabilities.
const outputLogprobs = "message.output_text.logprobs"

// responseOptions translates the format of the answer, what is said of reasoning, and which log-probabilities are asked for.
func (t *translation) responseOptions(req *openapi.ResponseRequest) error {
	var c checker
	if included := c.texts("include", req.Include, maxStops, maxStop); c.err != nil {
		return c.err
	} else if req.TopLogprobs != nil || slices.Contains(included, outputLogprobs) {
		yes := true
		t.request.Logprobs, t.request.TopLogprobs = &yes, req.TopLogprobs
	}
	if jsonvalue.Kind(req.Reasoning) != "null" {
		var reasoning struct {
			Effort *string `json:"effort"`
		}
		if err := objectField(req.Reasoning, "reasoning", &reasoning); err != nil {
			return err
		}
		t.request.ReasoningEffort = reasoning.Effort
		if text(reasoning.Effort) == "none" {
			t.think(false)
		}
	}
	if jsonvalue.Kind(req.Text) == "null" {
		return nil
	}
	var form struct {
		Format json.RawMessage `json:"format"`
	}
	if err := objectField(req.Text, "text", &form); err != nil || jsonvalue.Kind(form.Format) == "null" {
		return err
	}
	var format struct {
		Type   string          `json:"type"`
		Name   string          `json:"name"`
		Schema json.RawMessage `json:"schema"`
		Strict *bool           `json:"strict"`
	}
	if err := objectField(form.Format, "text.format", &format); err != nil {
		return err
	}
	switch format.Type {
	case "text":
	case "json_object":
		t.request.ResponseFormat = asJSON(map[string]any{"type": format.Type})
	case "json_schema":
		t.request.ResponseFormat = asJSON(map[string]any{"type": format.Type, "json_schema": map[string]any{
			"name": format.Name, "schema": rawOr(format.Schema, "null"), "strict": format.Strict,
		}})
	default:
		return refuse(codeValue, "text.format.type", "is %q, it must be text, json_object or json_schema", format.Type)
	}
	return nil
}

// summaryWanted reports whether the request wants to see the reasoning as a summary, as clients show it.
func summaryWanted(req *openapi.ResponseRequest) bool {
	var reasoning struct {
		Summary  *string `json:"summary"`
		Generate *string `json:"generate_summary"`
	}
	if jsonvalue.Kind(req.Reasoning) == "object" {
		_ = json.Unmarshal(req.Reasoning, &reasoning) // it has been read before
	}
	return text(reasoning.Summary) != "" || text(reasoning.Generate) != ""
}
