package server

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// maxTools bounds the tools of one request; openapi.yaml states it too.
const maxTools = 128

// maxDescription bounds the description of a tool, in bytes.
const maxDescription = 64 << 10

// toolUse is what a request says about tools.
type toolUse struct {
	list     []calls.Tool    // all that the model is told of, with different names; none: it is told of none
	raw      json.RawMessage // the same as a list in the shape of OpenAI's chat API, which templates print
	allowed  []string        // the names of those that it may call; nil: all
	required bool            // it must call one
	single   bool            // it may not call several in one answer
	legacy   bool            // the answer has function_call in place of tool_calls
}

// callable are the tools that may be called.
func (u *toolUse) callable() []calls.Tool {
	if u.allowed == nil {
		return u.list
	}
	return slices.DeleteFunc(slices.Clone(u.list), func(t calls.Tool) bool { return !slices.Contains(u.allowed, t.Name) })
}

// toolUseOf reads the fields of a chat request that tell of tools, under their newer and their older names.
func toolUseOf(r *openapi.ChatCompletionRequest) (toolUse, error) {
	u := toolUse{single: !flag(r.ParallelToolCalls, true)}
	tools, choice, param := r.Tools, r.ToolChoice, "tools"
	if !isEmpty(r.Functions) || jsonvalue.Kind(r.FunctionCall) != "null" {
		if !isEmpty(tools) || jsonvalue.Kind(choice) != "null" {
			return u, refuse(codeValue, "functions", "cannot be given together with tools: it is an older name")
		}
		tools, choice, param, u.legacy, u.single = r.Functions, r.FunctionCall, "functions", true, true
	}
	var list []json.RawMessage
	if jsonvalue.Kind(tools) != "null" {
		if err := decodeField(tools, param, &list); err != nil {
			return u, err
		}
	}
	if len(list) > maxTools {
		return u, refuse(codeValue, param, "has %d entries, at most %d are read", len(list), maxTools)
	}
	for i, tool := range list {
		if kind := jsonvalue.Kind(tool); kind != "object" {
			return u, refuse(codeType, fmt.Sprintf("%s[%d]", param, i), "must be an object, not %s", jsonvalue.Article(kind))
		}
	}
	none, err := u.choose(choice)
	if err != nil {
		return u, err
	}
	if none {
		return toolUse{}, nil
	}
	if err := u.read(list, param); err != nil {
		return u, err
	}
	return u, u.checkChoice()
}

// choiceParam is the field that says which tools may be called.
func (u *toolUse) choiceParam() string {
	if u.legacy {
		return "function_call"
	}
	return "tool_choice"
}

// toolChoice is tool_choice as an object: one tool, or several that are allowed. The Responses API has the name beside
// the type.
type toolChoice struct {
	Type     string `json:"type"`
	Name     string `json:"name"`
	Function *struct {
		Name string `json:"name"`
	} `json:"function"`
	Allowed *allowedTools `json:"allowed_tools"`
	allowedTools
}

type allowedTools struct {
	Mode  string       `json:"mode"`
	Tools []toolChoice `json:"tools"`
}

func (c *toolChoice) tool() string {
	if c.Function != nil {
		return c.Function.Name
	}
	return c.Name
}

// choose reads tool_choice. none says that the tools are not to be used.
func (u *toolUse) choose(raw json.RawMessage) (none bool, err error) {
	param := u.choiceParam()
	switch kind := jsonvalue.Kind(raw); kind {
	case "null":
		return false, nil
	case "string":
		var mode string
		if err := decodeField(raw, param, &mode); err != nil {
			return false, err
		}
		return u.mode(mode, param)
	case "object":
	default:
		return false, refuse(codeType, param, "must be a string or an object, not %s", jsonvalue.Article(kind))
	}
	var c toolChoice
	if err := decodeField(raw, param, &c); err != nil {
		return false, err
	}
	switch {
	case c.Type == "function" || c.Type == "" && u.legacy:
		u.required, u.allowed = true, []string{c.tool()}
	case c.Type == "allowed_tools":
		some, at := c.allowedTools, param
		if c.Allowed != nil {
			some, at = *c.Allowed, param+".allowed_tools"
		}
		if some.Mode != "auto" && some.Mode != "required" {
			return false, refuse(codeValue, at+".mode", "is %q, it must be auto or required", some.Mode)
		}
		u.required, u.allowed = some.Mode == "required", []string{}
		for i := range some.Tools {
			if t := some.Tools[i]; t.Type != "function" {
				return false, refuse(codeUnsupported, fmt.Sprintf("%s.tools[%d].type", at, i), "is %q, it must be function", t.Type)
			}
			u.allowed = append(u.allowed, some.Tools[i].tool())
		}
		if len(u.allowed) == 0 {
			return false, refuse(codeValue, at+".tools", "is empty")
		}
	default:
		return false, refuse(codeUnsupported, param+".type", "is %q, it must be function or allowed_tools", c.Type)
	}
	return false, nil
}

// mode reads tool_choice as a word.
func (u *toolUse) mode(mode, param string) (none bool, err error) {
	switch mode {
	case "none":
		return true, nil
	case "auto":
		return false, nil
	case "required", "any": // Mistral's word
		if !u.legacy {
			u.required = true
			return false, nil
		}
	}
	return false, refuse(codeValue, param, "is %q, it must be none, auto, required or an object that names tools", mode)
}

// checkChoice refuses a choice of tools that are not there.
func (u *toolUse) checkChoice() error {
	if len(u.list) == 0 && (u.required || u.allowed != nil) {
		return refuse(codeMissing, "tools", "is missing, and %s asks for a call", u.choiceParam())
	}
	for _, name := range u.allowed {
		if !slices.ContainsFunc(u.list, func(t calls.Tool) bool { return t.Name == name }) {
			return refuse(codeValue, u.choiceParam(), "names the tool %q, which tools does not have", name)
		}
	}
	return nil
}

// toolFunction is the description of a function.
type toolFunction struct {
	Name        string          `json:"name"`
	Description *string         `json:"description"`
	Parameters  json.RawMessage `json:"parameters"`
	Strict      *bool           `json:"strict"`
}

// read checks the tools.
func (u *toolUse) read(list []json.RawMessage, param string) error {
	raw := []byte{'['}
	names := make(map[string]bool, len(list))
	for i, entry := range list {
		at := fmt.Sprintf("%s[%d]", param, i)
		if u.legacy {
			entry = append(append(json.RawMessage(`{"type": "function", "function": `), entry...), '}')
		}
		var t struct {
			Type     string          `json:"type"`
			Function json.RawMessage `json:"function"`
		}
		if err := decodeField(entry, at, &t); err != nil {
			return err
		}
		if !u.legacy {
			switch {
			case t.Type == "":
				return refuse(codeMissing, at+".type", "is missing")
			case t.Type != "function":
				return refuse(codeUnsupported, at+".type", "is %q: tools of the type function are supported", t.Type)
			case jsonvalue.Kind(t.Function) == "null":
				return refuse(codeMissing, at+".function", "is missing")
			}
			at += ".function"
		}
		tool, err := toolOf(t.Function, at)
		if err != nil {
			return err
		}
		if names[tool.Name] {
			return refuse(codeValue, at+".name", "is %q, as that of a tool before it", tool.Name)
		}
		names[tool.Name] = true
		u.list = append(u.list, tool)
		if i > 0 {
			raw = append(raw, ", "...)
		}
		raw = append(raw, entry...)
	}
	if len(list) > 0 {
		raw = append(raw, ']')
		u.raw = raw
	}
	return nil
}

// toolOf reads a function.
func toolOf(raw json.RawMessage, at string) (calls.Tool, error) {
	var f toolFunction
	if err := decodeField(raw, at, &f); err != nil {
		return calls.Tool{}, err
	}
	switch kind := jsonvalue.Kind(f.Parameters); {
	case f.Name == "":
		return calls.Tool{}, refuse(codeMissing, at+".name", "is missing")
	case !calls.IsName(f.Name):
		return calls.Tool{}, refuse(codeValue, at+".name", "must have between 1 and 128 letters, digits, _, - and dots, and no other characters")
	case f.Description != nil && len(*f.Description) > maxDescription:
		return calls.Tool{}, refuse(codeValue, at+".description", "has %d bytes, at most %d are read", len(*f.Description), maxDescription)
	case kind == "null":
		f.Parameters = nil
	case kind != "object":
		return calls.Tool{}, refuse(codeType, at+".parameters", "must be a JSON schema, not %s", jsonvalue.Article(kind))
	}
	return calls.Tool{Name: f.Name, Parameters: f.Parameters, Param: at + ".parameters", Strict: flag(f.Strict, false)}, nil
}

// checkCalls refuses calls in the history that could not be written. OpenAI's history has their arguments as JSON text.
func checkCalls(raw json.RawMessage, param string) error {
	if jsonvalue.Kind(raw) == "null" {
		return nil
	}
	var list []json.RawMessage
	if err := decodeField(raw, param, &list); err != nil {
		return err
	}
	for i, entry := range list {
		at := fmt.Sprintf("%s[%d]", param, i)
		var c struct {
			Type     *string         `json:"type"`
			Function json.RawMessage `json:"function"`
		}
		if err := decodeField(entry, at, &c); err != nil {
			return err
		}
		switch {
		case c.Type != nil && *c.Type != "function":
			return refuse(codeUnsupported, at+".type", "is %q: calls of the type function are supported", *c.Type)
		case jsonvalue.Kind(c.Function) == "null":
			return refuse(codeMissing, at+".function", "is missing")
		}
		if err := checkCall(c.Function, at+".function"); err != nil {
			return err
		}
	}
	return nil
}

// checkCall refuses a call without a name, or with arguments that are neither a text nor an object.
func checkCall(raw json.RawMessage, param string) error {
	if jsonvalue.Kind(raw) == "null" {
		return nil
	}
	var f struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	}
	if err := decodeField(raw, param, &f); err != nil {
		return err
	}
	if f.Name == "" {
		return refuse(codeMissing, param+".name", "is missing")
	}
	if kind := jsonvalue.Kind(f.Arguments); kind != "string" && kind != "object" && kind != "null" {
		return refuse(codeType, param+".arguments", "must be a JSON text or an object, not %s", jsonvalue.Article(kind))
	}
	return nil
}

// answerSchema is the schema that the answer's format, which newGeneration has checked, asks for; nil for none.
func answerSchema(p *openapi.GenerationParameters) (schema json.RawMessage, param string) {
	f, err := formatOf(p)
	if err != nil || f == nil {
		return nil, ""
	}
	if jsonvalue.Kind(f.schema) == "null" {
		return json.RawMessage(`{"type": "object"}`), f.param
	}
	return f.schema, f.param
}
