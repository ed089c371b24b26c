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
	g.maxTokens = check.limit(req.MaxTokens, req.MaxCompletionTokens, defaultMaxTokens, 0)
	g.promptOnly = g.maxTokens == 0
	g.top = check.integer("logprobs", req.Logprobs, -1, 0, maxTop)
	echo := flag(req.Echo, false)
	g.score = echo && g.top >= 0
	if req.Suffix != nil && *req.Suffix != "" {
		check.refuse(codeUnsupported, "suffix", "is not supported")
	}
	if best := check.integer("best_of", req.BestOf, g.n, 1, maxChoices); best != g.n {
		check.refuse(codeUnsupported, "best_of", "is not supported where it is not n")
	}
	if check.err != nil {
		return nil, check.err
	}
	ps, err := s.prompts(req.Prompt, promptField{name: "prompt", most: maxPrompts, encode: s.template.EncodeText})
	if err != nil {
		return nil, err
	}
	if err := checkScores(&g, ps); err != nil {
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

// maxScores bounds the log-probabilities of prompts that one answer has, and with them its memory.
const maxScores = 1 << 20

// checkScores refuses a request for more log-probabilities of its prompts than one answer may have.
func checkScores(g *generation, ps []prompt) error {
	if !g.score {
		return nil
	}
	tokens := 0
	for _, p := range ps {
		tokens += len(p.tokens)
	}
	if n := tokens * g.n * (g.top + 1); n > maxScores {
		return refuse(codeValue, "logprobs", "with echo would be %d numbers for the %d tokens of the prompts, at most %d are given: send fewer prompts at once",
			n, tokens, maxScores)
	}
	return nil
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
			out.Choices[i].Logprobs = f.logprobs(i, c)
		}
	}
	return out
}

// logprobs returns those of a whole choice: of the prompt's tokens, where it is echoed, and the answer's.
func (f *textForm) logprobs(i int, c choice) *openapi.CompletionLogprobs {
	if !f.echo {
		return f.server.textLogprobs(c.tokens, 0, f.reply.top)
	}
	p := f.reply.prompts[i/f.reply.n]
	l := f.server.promptLogprobs(p, c.prompt, f.reply.top)
	answer := f.server.textLogprobs(c.tokens, utf8.RuneCountInString(p.text), f.reply.top)
	l.Tokens, l.TokenLogprobs = append(l.Tokens, answer.Tokens...), append(l.TokenLogprobs, answer.TokenLogprobs...)
	l.TopLogprobs, l.TextOffset = append(l.TopLogprobs, answer.TopLogprobs...), append(l.TextOffset, answer.TextOffset...)
	return l
}

// scores are those of the prompt of choice i of a stream.
func (f *textForm) scores(i int) []runtime.TokenText {
	if f.reply.scores == nil {
		return nil // a prompt of one token has none
	}
	return f.reply.scores[i]
}

// prefix is what goes before choice i.
func (f *textForm) prefix(i int) string {
	if f.echo {
		return f.reply.prompts[i/f.reply.n].text
	}
	return ""
}

func (f *textForm) open(b []byte, i int) []byte {
	p := f.prefix(i)
	if p == "" {
		return b
	}
	var l *openapi.CompletionLogprobs
	if f.reply.top >= 0 {
		l = f.server.promptLogprobs(f.reply.prompts[i/f.reply.n], f.scores(i), f.reply.top)
	}
	return f.write(b, i, p, l, "")
}

func (f *textForm) part(b []byte, i int, p part) []byte {
	switch {
	case p.Kind == calls.End:
		return f.write(b, i, "", nil, p.finish)
	case p.Text == "" && f.reply.top < 0:
		return b
	}
	var l *openapi.CompletionLogprobs
	if f.reply.top >= 0 && len(p.tokens) > 0 {
		l = f.server.textLogprobs(p.tokens, f.offsets[i], f.reply.top)
	}
	return f.write(b, i, p.Text, l, "")
}

// write appends a chunk.
func (f *textForm) write(b []byte, i int, text string, l *openapi.CompletionLogprobs, why openapi.FinishReason) []byte {
	b = jsonvalue.AppendString(append(f.chunk(b, i), `,"text":`...), text)
	b = append(b, `,"logprobs":`...)
	if l != nil {
		b = appendJSON(b, l)
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
