package server

import (
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// defaultMaxTokens is OpenAI's default of max_tokens for completions.
const defaultMaxTokens = 16

// CreateCompletion continues texts.
func (s *Server) CreateCompletion(c *fiber.Ctx) error {
	body, done, err := s.readBody(c, s.maxBody)
	if err != nil {
		return err
	}
	r, err := s.textReply(callerOf(c), body)
	done() // what the answer needs of it are the tokens
	if err != nil {
		return err
	}
	return s.answer(c, r, "prompt")
}

// textReply decodes and checks a completion request, up to the tokens of its prompts.
func (s *Server) textReply(who caller, body []byte) (*reply, error) {
	var req openapi.CompletionRequest
	if err := decodeJSON(body, &req); err != nil {
		return nil, err
	}
	g, err := newGeneration(&req.GenerationParameters)
	if err != nil {
		return nil, err
	}
	var check checker
	g.maxTokens = check.limit(req.MaxTokens, req.MaxCompletionTokens, defaultMaxTokens)
	g.top = check.integer("logprobs", req.Logprobs, -1, 0, maxTop)
	echo := flag(req.Echo, false)
	switch {
	case echo && g.top >= 0:
		check.refuse(codeUnsupported, "echo", "together with logprobs is not supported: the prompt's are not computed")
	case req.Suffix != nil && *req.Suffix != "":
		check.refuse(codeUnsupported, "suffix", "is not supported")
	}
	if best := check.integer("best_of", req.BestOf, g.n, 1, maxChoices); best != g.n {
		check.refuse(codeUnsupported, "best_of", "is not supported where it is not n")
	}
	if check.err != nil {
		return nil, check.err
	}
	ps, err := s.prompts(req.Prompt)
	if err != nil {
		return nil, err
	}
	m, err := s.choose(who, &req.GenerationParameters)
	if err != nil {
		return nil, err
	}
	r := &reply{generation: g, id: newID("cmpl-"), model: m, prompts: ps}
	r.form = &textForm{
		chunks: chunks{object: "text_completion"}, server: s, reply: r, echo: echo, offsets: make([]int, len(ps)*g.n),
	}
	return r, nil
}

// textForm writes completions. Chunks have the same format as the whole answer.
type textForm struct {
	chunks
	server  *Server
	reply   *reply
	echo    bool
	offsets []int // characters that each choice of a stream has so far
}

func (f *textForm) whole(r *reply, choices []choice) any {
	usage, timings := r.usage(), r.timings()
	out := openapi.Completion{
		Id: r.id, Object: f.object, Created: r.created, Model: r.model.name, SystemFingerprint: r.fingerprint,
		Adapter: r.label(), Choices: make([]openapi.CompletionChoice, len(choices)), Usage: &usage, Timings: &timings,
	}
	for i, c := range choices {
		out.Choices[i] = openapi.CompletionChoice{Index: i, Text: f.prefix(i) + c.text, FinishReason: &c.finish}
		if r.top >= 0 {
			out.Choices[i].Logprobs = f.server.textLogprobs(c.tokens, 0, r.top)
		}
	}
	return out
}

// prefix is what goes before choice i.
func (f *textForm) prefix(i int) string {
	if f.echo {
		return f.reply.prompts[i/f.reply.n].text
	}
	return ""
}

func (f *textForm) open(b []byte, i int) []byte {
	if p := f.prefix(i); p != "" {
		return f.write(b, i, p, nil, "")
	}
	return b
}

func (f *textForm) part(b []byte, i int, p part) []byte {
	switch {
	case p.Kind == calls.End:
		return f.write(b, i, "", nil, p.finish)
	case p.Text == "" && f.reply.top < 0:
		return b
	}
	return f.write(b, i, p.Text, p.tokens, "")
}

// write appends a chunk.
func (f *textForm) write(b []byte, i int, text string, tokens []runtime.TokenText, why openapi.FinishReason) []byte {
	b = jsonvalue.AppendString(append(f.chunk(b, i), `,"text":`...), text)
	b = append(b, `,"logprobs":`...)
	if f.reply.top >= 0 && len(tokens) > 0 {
		b = appendJSON(b, f.server.textLogprobs(tokens, f.offsets[i], f.reply.top))
	} else {
		b = append(b, "null"...)
	}
	f.offsets[i] += utf8.RuneCountInString(text)
	b = append(b, `,"finish_reason":`...)
	if why == "" {
		b = append(b, "null"...)
	} else {
		b = jsonvalue.AppendString(b, string(why))
	}
	return append(append(b, '}'), f.tail...)
}
