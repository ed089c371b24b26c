package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// ollamaNames are the chat API's fields by which errors may name one of Ollama's.
var ollamaNames = map[string]string{
	"max_tokens": "options.num_predict", "stop": "options.stop", "temperature": "options.temperature", "top_p": "options.top_p",
	"top_k": "options.top_k", "min_p": "options.min_p", "typical_p": "options.typical_p", "seed": "options.seed",
	"repeat_penalty": "options.repeat_penalty", "repeat_last_n": "options.repeat_last_n",
	"presence_penalty": "options.presence_penalty", "frequency_penalty": "options.frequency_penalty",
	"response_format.json_schema.schema": "format", "response_format": "format", "reasoning_effort": "think",
}

// ollamaOptions are the options of a request that mean something here. Others, such as num_ctx, are the server's business
// and ignored.
type ollamaOptions struct {
	Temperature      *float32        `json:"temperature"`
	TopP             *float32        `json:"top_p"`
	TopK             *int            `json:"top_k"`
	MinP             *float32        `json:"min_p"`
	TypicalP         *float32        `json:"typical_p"`
	Seed             *int64          `json:"seed"`
	NumPredict       *int            `json:"num_predict"`
	Stop             json.RawMessage `json:"stop"`
	RepeatPenalty    *float32        `json:"repeat_penalty"`
	RepeatLastN      *int            `json:"repeat_last_n"`
	PresencePenalty  *float32        `json:"presence_penalty"`
	FrequencyPenalty *float32        `json:"frequency_penalty"`
}

// OllamaChat answers a conversation in Ollama's shape.
func (s *Server) OllamaChat(c *fiber.Ctx) error {
	body, done, err := s.readBody(c, s.maxBody)
	if err != nil {
		return err
	}
	var req openapi.OllamaChatRequest
	var r *reply
	if err = decodeJSON(body, &req); err == nil && len(req.Messages) > 0 {
		r, err = s.ollamaChat(callerOf(c), &req)
	}
	done() // what the answer needs of it are the tokens
	return s.ollamaAnswer(c, r, err, &ollamaForm{chat: true, model: req.Model}, "messages")
}

// OllamaGenerate answers a prompt in Ollama's shape.
func (s *Server) OllamaGenerate(c *fiber.Ctx) error {
	body, done, err := s.readBody(c, s.maxBody)
	if err != nil {
		return err
	}
	var req openapi.OllamaGenerateRequest
	var r *reply
	if err = decodeJSON(body, &req); err == nil && text(req.Prompt) != "" {
		r, err = s.ollamaGenerate(callerOf(c), &req)
	}
	done()
	return s.ollamaAnswer(c, r, err, &ollamaForm{model: req.Model}, "prompt")
}

// ollamaAnswer answers as form writes. Without a reply the request asks for nothing but to load its model, as clients do:
// models are always loaded.
func (s *Server) ollamaAnswer(c *fiber.Ctx, r *reply, err error, form *ollamaForm, param string) error {
	if err != nil {
		return err
	}
	form.reply, form.asked = r, time.Now()
	if r != nil {
		r.id, r.form = newID("ollama-"), form
		return s.answer(c, r, param)
	}
	if _, err := s.resolve(callerOf(c), untagged(form.model)); err != nil {
		return err
	}
	line, reason := form.line(), "load"
	line.Done, line.DoneReason = true, &reason
	form.say(&line, "")
	return sendJSON(c, http.StatusOK, line)
}

// newOllama begins the translation of a request.
func newOllama(model string, adapter, lora, rawOptions, format, think json.RawMessage, stream *bool) (*translation, error) {
	if model == "" {
		return nil, errNoModel()
	}
	t := &translation{names: ollamaNames}
	var o ollamaOptions
	if jsonvalue.Kind(rawOptions) != "null" {
		if err := objectField(rawOptions, "options", &o); err != nil {
			return nil, err
		}
	}
	name, streamed := untagged(model), flag(stream, true)
	t.request.GenerationParameters = openapi.GenerationParameters{
		Model: &name, Adapter: adapter, Lora: lora, Stream: &streamed, Temperature: o.Temperature, TopP: o.TopP, TopK: o.TopK, MinP: o.MinP,
		TypicalP: o.TypicalP, Seed: o.Seed, Stop: o.Stop, RepeatPenalty: o.RepeatPenalty, RepeatLastN: o.RepeatLastN,
		PresencePenalty: o.PresencePenalty, FrequencyPenalty: o.FrequencyPenalty,
	}
	if n := o.NumPredict; n != nil && *n > 0 { // -1 is without end, -2 to the end of the context
		t.request.MaxTokens = n
	}
	if n := o.RepeatLastN; n != nil && *n < 0 { // the whole context
		all := maxRepeatLastN
		t.request.RepeatLastN = &all
	}
	if err := t.ollamaFormat(format); err != nil {
		return nil, err
	}
	switch jsonvalue.Kind(think) {
	case "null":
	case "boolean":
		t.think(string(think) == "true")
	case "string":
		t.think(true)
		var effort string
		if err := decodeField(think, "think", &effort); err != nil {
			return nil, err
		}
		t.request.ReasoningEffort = &effort
	default:
		return nil, refuse(codeType, "think", "must be a boolean or a string, not %s", jsonvalue.Article(jsonvalue.Kind(think)))
	}
	return t, nil
}

// maxRepeatLastN is the most that repeat_last_n may be.
const maxRepeatLastN = 1_000_000

// ollamaFormat translates format: "json" or a JSON schema.
func (t *translation) ollamaFormat(raw json.RawMessage) error {
	switch jsonvalue.Kind(raw) {
	case "null":
	case "string":
		var word string
		if err := decodeField(raw, "format", &word); err != nil {
			return err
		}
		switch word {
		case "":
		case "json":
			t.request.ResponseFormat = json.RawMessage(`{"type":"json_object"}`)
		default:
			return refuse(codeValue, "format", "is %q, it must be json or a JSON schema", word)
		}
	case "object":
		t.request.ResponseFormat = asJSON(map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "answer", "schema": raw}})
	default:
		return refuse(codeType, "format", "must be json or a JSON schema, not %s", jsonvalue.Article(jsonvalue.Kind(raw)))
	}
	return nil
}

// ollamaChat prepares the answer to a conversation.
func (s *Server) ollamaChat(who caller, req *openapi.OllamaChatRequest) (*reply, error) {
	t, err := newOllama(req.Model, req.Adapter, req.Lora, req.Options, req.Format, req.Think, req.Stream)
	if err != nil {
		return nil, err
	}
	var waiting callQueue
	for i, raw := range req.Messages {
		if err := t.ollamaMessage(raw, fmt.Sprintf("messages[%d]", i), &waiting); err != nil {
			return nil, err
		}
	}
	if !isEmpty(req.Tools) {
		t.request.Tools = req.Tools
	}
	return s.translated(who, t)
}

// callQueue has the calls that wait for their results, in their order.
type callQueue struct {
	calls  []chatCall
	taken  []bool           // by call
	next   int              // no call before it waits
	byID   map[string]int   // the call of an id
	byName map[string][]int // the calls of a tool, of which those at the beginning may be taken
}

// add appends a call.
func (q *callQueue) add(c chatCall) {
	if q.byID == nil {
		q.byID, q.byName = map[string]int{}, map[string][]int{}
	}
	i := len(q.calls)
	q.calls, q.taken = append(q.calls, c), append(q.taken, false)
	q.byID[c.ID] = i
	q.byName[c.Function.Name] = append(q.byName[c.Function.Name], i)
}

// take returns the call that a result belongs to: the one of its id, or the first one that waits of its tool, or of any.
func (q *callQueue) take(id, name string) (chatCall, bool) {
	i, found := q.byID[id]
	switch {
	case id != "":
	case name != "":
		list := q.byName[name]
		for len(list) > 0 && q.taken[list[0]] {
			list = list[1:]
		}
		if found = len(list) > 0; found {
			i, list = list[0], list[1:]
		}
		if q.byName != nil {
			q.byName[name] = list
		}
	default:
		for q.next < len(q.calls) && q.taken[q.next] {
			q.next++
		}
		i, found = q.next, q.next < len(q.calls)
	}
	if !found || q.taken[i] {
		return chatCall{}, false
	}
	q.taken[i] = true
	return q.calls[i], true
}

// ollamaMessage appends a message. Calls have no ids in Ollama's messages: a result belongs to the first call of its tool
// that waits for one.
func (t *translation) ollamaMessage(raw json.RawMessage, param string, waiting *callQueue) error {
	var m struct {
		Role      string          `json:"role"`
		Content   *string         `json:"content"`
		Thinking  string          `json:"thinking"`
		Images    json.RawMessage `json:"images"`
		ToolName  string          `json:"tool_name"`
		ToolID    string          `json:"tool_call_id"`
		ToolCalls []struct {
			ID       string `json:"id"`
			Function struct {
				Name      string          `json:"name"`
				Arguments json.RawMessage `json:"arguments"`
			} `json:"function"`
		} `json:"tool_calls"`
	}
	if err := objectField(raw, param, &m); err != nil {
		return err
	}
	if !isEmpty(m.Images) {
		return refuse(codeUnsupported, param+".images", "is given: this server reads text only")
	}
	turn := chatTurn{Role: m.Role, Content: m.Content, Reasoning: m.Thinking, ToolCallID: m.ToolID, ToolName: m.ToolName}
	if turn.Content == nil && len(m.ToolCalls) == 0 {
		turn.Content = new(string)
	}
	for i, c := range m.ToolCalls {
		at := fmt.Sprintf("%s.tool_calls[%d].function", param, i)
		if c.Function.Name == "" {
			return refuse(codeMissing, at+".name", "is missing")
		}
		if kind := jsonvalue.Kind(c.Function.Arguments); kind != "object" && kind != "null" {
			return refuse(codeType, at+".arguments", "must be an object, not %s", jsonvalue.Article(kind))
		}
		if c.ID == "" {
			c.ID = fmt.Sprintf("call_%d_%d", len(t.origins), i)
		}
		turn.ToolCalls = append(turn.ToolCalls, newChatCall(c.ID, c.Function.Name, string(rawOr(c.Function.Arguments, "{}"))))
	}
	for _, c := range turn.ToolCalls {
		waiting.add(c)
	}
	if m.Role == "tool" {
		if c, found := waiting.take(m.ToolID, m.ToolName); found {
			turn.ToolCallID, turn.ToolName = c.ID, c.Function.Name
		}
	}
	t.add(param, turn)
	return nil
}

// ollamaGenerate prepares the answer to a prompt: as a user's message, or as it is where raw says so.
func (s *Server) ollamaGenerate(who caller, req *openapi.OllamaGenerateRequest) (*reply, error) {
	switch {
	case !isEmpty(req.Images):
		return nil, refuse(codeUnsupported, "images", "is given: this server reads text only")
	case !isEmpty(req.Context):
		return nil, refuse(codeUnsupported, "context", "is not supported: /api/chat takes conversations")
	case text(req.Suffix) != "":
		return nil, refuse(codeUnsupported, "suffix", "is not supported")
	case text(req.Template) != "":
		return nil, refuse(codeUnsupported, "template", "is not supported: the model's own chat template is used, or none with raw")
	}
	t, err := newOllama(req.Model, req.Adapter, req.Lora, req.Options, req.Format, req.Think, req.Stream)
	if err != nil {
		return nil, err
	}
	if flag(req.Raw, false) {
		return s.ollamaRaw(who, t, text(req.Prompt))
	}
	if system := text(req.System); system != "" {
		t.add("system", chatTurn{Role: "system", Content: &system})
	}
	t.add("prompt", chatTurn{Role: "user", Content: req.Prompt})
	t.names = maps.Clone(t.names)
	t.names["messages"] = "prompt"
	return s.translated(who, t)
}

// ollamaRaw prepares the answer to a prompt that reaches the model as it is.
func (s *Server) ollamaRaw(who caller, t *translation, text string) (*reply, error) {
	g, err := newGeneration(&t.request.GenerationParameters)
	if err != nil {
		return nil, renameParam(err, t.rename)
	}
	if n := t.request.MaxTokens; n != nil {
		g.maxTokens = *n
	}
	prompts, err := s.prompts(asJSON(text), promptField{name: "prompt", most: 1, encode: s.template.EncodeText})
	if err != nil {
		return nil, err
	}
	m, err := s.choose(who, &t.request.GenerationParameters)
	if err != nil {
		return nil, err
	}
	return &reply{generation: g, model: m, prompts: prompts}, nil
}
