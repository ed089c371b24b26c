package server

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// messageNames are the chat API's fields by which errors may name one of the Messages API.
var messageNames = map[string]string{
	"max_tokens": "max_tokens", "stop": "stop_sequences", "response_format.json_schema.schema": "output_config.format.schema",
	"response_format": "output_config.format", "continue_final_message": "messages", "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
	"thinking_token_budget": "thinking.budget_tokens",
}

// translateMessages turns a request of the Messages API into a chat request.
func translateMessages(req *openapi.MessagesRequest) (*translation, error) {
	t := &translation{names: messageNames}
	t.request.GenerationParameters = openapi.GenerationParameters{
		Model: &req.Model, Adapter: req.Adapter, Lora: req.Lora, Temperature: req.Temperature, TopP: req.TopP, TopK: req.TopK,
		Stream: req.Stream, Seed: req.Seed, Stop: req.StopSequences,
	}
	t.request.MaxTokens = req.MaxTokens
	system, err := systemText(req.System)
	if err != nil {
		return nil, err
	}
	if system != nil {
		t.add("system", chatTurn{Role: "system", Content: system})
	}
	if len(req.Messages) == 0 {
		return nil, refuse(codeMissing, "messages", "is missing: at least one message is needed")
	}
	names := map[string]string{}
	goesOn := false
	for i, raw := range req.Messages {
		if goesOn, err = t.addMessage(raw, fmt.Sprintf("messages[%d]", i), names); err != nil {
			return nil, err
		}
	}
	if goesOn {
		t.request.ContinueFinalMessage = &goesOn
	}
	if err := t.messageTools(req); err != nil {
		return nil, err
	}
	return t, t.messageOptions(req)
}

// systemText reads the system prompt, a text or text blocks, each of which is a paragraph; nil: there is none.
func systemText(raw json.RawMessage) (*string, error) {
	switch jsonvalue.Kind(raw) {
	case "null":
		return nil, nil
	case "string":
		var text string
		err := decodeField(raw, "system", &text)
		return &text, err
	}
	blocks, err := contentBlocks(raw, "system")
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(blocks))
	for i, b := range blocks {
		if b.Type != "text" {
			return nil, refuse(codeUnsupported, fmt.Sprintf("system[%d].type", i), "is %q: a system prompt has blocks of text only", b.Type)
		}
		texts[i] = b.Text
	}
	text := strings.Join(texts, "\n\n")
	return &text, nil
}

// block is a content block of any type.
type block struct {
	Type      string          `json:"type"`
	Given     *string         `json:"text"`
	Thinking  string          `json:"thinking"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Input     json.RawMessage `json:"input"`
	ToolUseID string          `json:"tool_use_id"`
	Content   json.RawMessage `json:"content"`
	IsError   bool            `json:"is_error"`

	Text  string `json:"-"` // what Given has
	param string
}

// contentBlocks reads content: a text, which is one block, or blocks.
func contentBlocks(raw json.RawMessage, param string) ([]block, error) {
	switch kind := jsonvalue.Kind(raw); kind {
	case "string":
		b := block{Type: "text", param: param}
		err := decodeField(raw, param, &b.Text)
		return []block{b}, err
	case "array":
	case "null":
		return nil, refuse(codeMissing, param, "is missing")
	default:
		return nil, refuse(codeType, param, "must be a string or an array of blocks, not %s", jsonvalue.Article(kind))
	}
	var list []json.RawMessage
	if err := decodeField(raw, param, &list); err != nil {
		return nil, err
	}
	blocks := make([]block, len(list))
	for i, entry := range list {
		b := &blocks[i]
		b.param = fmt.Sprintf("%s[%d]", param, i)
		if err := objectField(entry, b.param, b); err != nil {
			return nil, err
		}
		if err := b.check(); err != nil {
			return nil, err
		}
	}
	return blocks, nil
}

// check refuses a block that the server does not read, or that is not whole.
func (b *block) check() error {
	switch {
	case b.Type == "":
		return refuse(codeMissing, b.param+".type", "is missing")
	case b.Type == "text" && b.Given == nil:
		return refuse(codeMissing, b.param+".text", "is missing")
	case b.Type == "tool_use" && b.Name == "":
		return refuse(codeMissing, b.param+".name", "is missing")
	case b.Type == "tool_use" && jsonvalue.Kind(b.Input) != "object" && jsonvalue.Kind(b.Input) != "null":
		return refuse(codeType, b.param+".input", "must be an object, not %s", jsonvalue.Article(jsonvalue.Kind(b.Input)))
	case b.Type == "tool_result" && b.ToolUseID == "":
		return refuse(codeMissing, b.param+".tool_use_id", "is missing")
	}
	b.Text = text(b.Given)
	switch b.Type {
	case "text", "thinking", "redacted_thinking", "tool_use", "tool_result":
		return nil
	}
	return refuse(codeUnsupported, b.param+".type", "is %q: this server reads text, thinking, tool_use and tool_result", b.Type)
}

// addMessage appends the messages that one message of the request becomes. goesOn says that it is text of the assistant,
// which the answer goes on with where it is the last one. names are the tools' names by the ids of their calls so far.
func (t *translation) addMessage(raw json.RawMessage, param string, names map[string]string) (goesOn bool, err error) {
	var m struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	}
	if err := objectField(raw, param, &m); err != nil {
		return false, err
	}
	blocks, err := contentBlocks(m.Content, param+".content")
	if err != nil {
		return false, err
	}
	switch m.Role {
	case "assistant":
		return t.addAssistant(blocks, param, names)
	case "user", "system":
		return false, t.addUser(m.Role, blocks, param, names)
	case "":
		return false, refuse(codeMissing, param+".role", "is missing")
	}
	return false, refuse(codeValue, param+".role", "is %q: user and assistant are known", m.Role)
}

// addAssistant appends a turn of the assistant.
func (t *translation) addAssistant(blocks []block, param string, names map[string]string) (goesOn bool, err error) {
	turn := chatTurn{Role: "assistant"}
	var text, thinking strings.Builder
	said := false
	for _, b := range blocks {
		switch b.Type {
		case "text":
			text.WriteString(b.Text)
			said = true
		case "thinking":
			thinking.WriteString(b.Thinking)
		case "redacted_thinking": // nobody but its maker can read it
		case "tool_use":
			names[b.ID] = b.Name
			turn.ToolCalls = append(turn.ToolCalls, newChatCall(b.ID, b.Name, string(rawOr(b.Input, "{}"))))
		default:
			return false, refuse(codeValue, b.param+".type", "is %q, which a turn of the assistant cannot have", b.Type)
		}
	}
	turn.Reasoning = thinking.String()
	if content := text.String(); said || len(turn.ToolCalls) == 0 {
		turn.Content = &content
	}
	t.add(param, turn)
	return len(turn.ToolCalls) == 0, nil
}

// addUser appends a turn of the user: each result of a tool is a message of its own, and so is the text between them.
func (t *translation) addUser(role string, blocks []block, param string, names map[string]string) error {
	var text strings.Builder
	open := len(blocks) == 0
	flush := func() {
		if open {
			content := text.String()
			t.add(param, chatTurn{Role: role, Content: &content})
			text.Reset()
			open = false
		}
	}
	for _, b := range blocks {
		switch {
		case b.Type == "text":
			text.WriteString(b.Text)
			open = true
		case b.Type == "tool_result" && role == "user":
			flush()
			result, err := b.result()
			if err != nil {
				return err
			}
			t.add(b.param, chatTurn{Role: "tool", Content: &result, ToolCallID: b.ToolUseID, ToolName: names[b.ToolUseID]})
		default:
			return refuse(codeValue, b.param+".type", "is %q, which a turn of the %s cannot have", b.Type, role)
		}
	}
	flush()
	return nil
}

// result is the text of a tool's result. The model is told where it is an error.
func (b *block) result() (string, error) {
	var text strings.Builder
	if b.IsError {
		text.WriteString("Error: ")
	}
	if jsonvalue.Kind(b.Content) == "null" {
		return text.String(), nil
	}
	blocks, err := contentBlocks(b.Content, b.param+".content")
	for _, part := range blocks {
		if part.Type != "text" {
			return "", refuse(codeUnsupported, part.param+".type", "is %q: this server reads results of text only", part.Type)
		}
		text.WriteString(part.Text)
	}
	return text.String(), err
}

// messageTools translates the tools and which of them must be called.
func (t *translation) messageTools(req *openapi.MessagesRequest) error {
	tools := make([]chatTool, len(req.Tools))
	for i, raw := range req.Tools {
		param := fmt.Sprintf("tools[%d]", i)
		var tool struct {
			Type        *string         `json:"type"`
			Name        string          `json:"name"`
			Description *string         `json:"description"`
			InputSchema json.RawMessage `json:"input_schema"`
			Strict      *bool           `json:"strict"`
		}
		if err := objectField(raw, param, &tool); err != nil {
			return err
		}
		if kind := text(tool.Type); kind != "" && kind != "custom" {
			return refuse(codeUnsupported, param+".type", "is %q: the server runs no tools itself, custom ones are supported", kind)
		}
		if tool.Name == "" {
			return refuse(codeMissing, param+".name", "is missing")
		}
		if kind := jsonvalue.Kind(tool.InputSchema); kind != "object" {
			return refuse(codeType, param+".input_schema", "must be an object, not %s", jsonvalue.Article(kind))
		}
		tools[i] = chatTool{"function", toolSignature{tool.Name, tool.Description, tool.InputSchema, tool.Strict}}
	}
	t.setTools(tools)
	return t.messageChoice(req.ToolChoice)
}

// messageChoice translates tool_choice.
func (t *translation) messageChoice(raw json.RawMessage) error {
	if jsonvalue.Kind(raw) == "null" {
		return nil
	}
	var choice struct {
		Type            string `json:"type"`
		Name            string `json:"name"`
		DisableParallel *bool  `json:"disable_parallel_tool_use"`
	}
	if err := objectField(raw, "tool_choice", &choice); err != nil {
		return err
	}
	if flag(choice.DisableParallel, false) {
		parallel := false
		t.request.ParallelToolCalls = &parallel
	}
	switch choice.Type {
	case "auto", "none":
		t.request.ToolChoice = asJSON(choice.Type)
	case "any":
		t.request.ToolChoice = asJSON("required")
	case "tool":
		if choice.Name == "" {
			return refuse(codeMissing, "tool_choice.name", "is missing")
		}
		t.request.ToolChoice = asJSON(namedTool(choice.Name))
	default:
		return refuse(codeValue, "tool_choice.type", "is %q, it must be auto, any, tool or none", choice.Type)
	}
	return nil
}

// namedTool is a tool_choice of the chat API that names a tool.
func namedTool(name string) any {
	return map[string]any{"type": "function", "function": map[string]any{"name": name}}
}

// messageOptions translates thinking and the format of the answer.
func (t *translation) messageOptions(req *openapi.MessagesRequest) error {
	switch {
	case !isEmpty(req.McpServers):
		return refuse(codeUnsupported, "mcp_servers", "is not supported: the server runs no tools itself")
	case !isEmpty(req.Container):
		return refuse(codeUnsupported, "container", "is not supported: the server runs no tools itself")
	}
	if jsonvalue.Kind(req.Thinking) != "null" {
		var thinking struct {
			Type   string `json:"type"`
			Budget *int   `json:"budget_tokens"`
		}
		if err := objectField(req.Thinking, "thinking", &thinking); err != nil {
			return err
		}
		switch thinking.Type {
		case "enabled":
			t.think(true)
			t.request.ThinkingTokenBudget = thinking.Budget
		case "adaptive":
			t.think(true)
		case "disabled":
			t.think(false)
		default:
			return refuse(codeValue, "thinking.type", "is %q, it must be enabled, adaptive or disabled", thinking.Type)
		}
	}
	if jsonvalue.Kind(req.OutputConfig) == "null" {
		return nil
	}
	var output struct {
		Format json.RawMessage `json:"format"`
	}
	if err := objectField(req.OutputConfig, "output_config", &output); err != nil || jsonvalue.Kind(output.Format) == "null" {
		return err
	}
	var format struct {
		Type   string          `json:"type"`
		Schema json.RawMessage `json:"schema"`
	}
	if err := objectField(output.Format, "output_config.format", &format); err != nil {
		return err
	}
	if format.Type != "json_schema" {
		return refuse(codeValue, "output_config.format.type", "is %q, it must be json_schema", format.Type)
	}
	t.request.ResponseFormat = asJSON(map[string]any{
		"type": "json_schema", "json_schema": map[string]any{"name": "answer", "schema": rawOr(format.Schema, "null")},
	})
	return nil
}

// think tells the chat template whether the model is to think before it answers.
func (t *translation) think(yes bool) {
	if t.request.ChatTemplateKwargs == nil {
		t.request.ChatTemplateKwargs = make(map[string]json.RawMessage)
	}
	t.request.ChatTemplateKwargs["enable_thinking"] = asJSON(yes)
	t.request.ChatTemplateKwargs["thinking"] = asJSON(yes)
}
