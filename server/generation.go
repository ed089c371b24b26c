package server

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/lorikeet-ai/lorikeet/grammar"
	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Bounds of what both completion endpoints take; openapi.yaml states them too, and a test compares.
const (
	maxChoices     = 16
	maxStops       = 32
	maxStop        = 1024 // bytes
	maxTop         = 20
	maxTokensLimit = 1<<31 - 1
)

// smallestP replaces a top_p or typical_p of 0, which keeps only the most likely token: for package runtime, 0 turns the
// filter off.
const smallestP = 1e-6

// generation has the checked parameters that apply to every answer of a request.
type generation struct {
	sampling     runtime.Sampling // the seed is choice 0's
	ruled        bool             // the grammar is the client's
	formatted    bool             // it is held to response_format
	stop         []string
	n            int
	maxTokens    int  // 0: as many as there is room for
	promptOnly   bool // no token is sampled
	score        bool // the prompt's tokens have logprobs, too
	top          int  // -1: no logprobs
	noReuse      bool
	stream       bool
	includeUsage bool
}

// newGeneration checks the common fields.
func newGeneration(p *openapi.GenerationParameters) (generation, error) {
	var c checker
	g := generation{
		sampling: runtime.Sampling{
			Temperature:      c.number("temperature", p.Temperature, 1, 0, 2),
			TopP:             max(c.number("top_p", p.TopP, 1, 0, 1), smallestP),
			TopK:             max(c.integer("top_k", p.TopK, 0, -1, 1e6), 0),
			MinP:             c.number("min_p", p.MinP, 0, 0, 1),
			TypicalP:         max(c.number("typical_p", p.TypicalP, 1, 0, 1), smallestP),
			PresencePenalty:  c.number("presence_penalty", p.PresencePenalty, 0, -2, 2),
			FrequencyPenalty: c.number("frequency_penalty", p.FrequencyPenalty, 0, -2, 2),
			Grammar:          c.text("grammar", p.Grammar, grammar.MaxBytes),
			IgnoreEOS:        flag(p.IgnoreEos, false),
			LogitBias:        c.bias(p.LogitBias),
		},
		stop:    c.texts("stop", p.Stop, maxStops, maxStop),
		n:       c.integer("n", p.N, 1, 1, maxChoices),
		top:     -1,
		noReuse: !flag(p.CachePrompt, true),
		stream:  flag(p.Stream, false),
	}
	c.repeat(p, &g.sampling)
	c.format(p, &g.sampling)
	g.formatted = g.sampling.Constraint != nil
	g.ruled = text(p.Grammar) != ""
	if p.Seed != nil {
		g.sampling.Seed = uint64(*p.Seed)
	} else {
		g.sampling.Seed = rand.Uint64()
	}
	if o := p.StreamOptions; o != nil {
		if !g.stream {
			c.refuse(codeValue, "stream_options", "is for requests with stream")
		}
		g.includeUsage = flag(o.IncludeUsage, false)
	}
	return g, c.err
}

// repeat reads the repeat penalty under its two names.
func (c *checker) repeat(p *openapi.GenerationParameters, s *runtime.Sampling) {
	s.RepeatPenalty = c.number("repeat_penalty", p.RepeatPenalty, 1, 0.01, 10)
	other := c.number("repetition_penalty", p.RepetitionPenalty, 1, 0.01, 10)
	switch {
	case p.RepeatPenalty == nil:
		s.RepeatPenalty = other
	case p.RepetitionPenalty != nil && other != s.RepeatPenalty:
		c.refuse(codeValue, "repetition_penalty", "is %g and repeat_penalty is %g: they are names of one thing",
			other, s.RepeatPenalty)
	}
	s.RepeatLastN = c.integer("repeat_last_n", p.RepeatLastN, 64, 0, 1e6)
	if s.RepeatLastN == 0 {
		s.RepeatPenalty = 1
	}
}

// bias reads a map of token ids; the vocabulary's bounds are checked by the sampler.
func (c *checker) bias(m *map[string]float32) map[runtime.Token]float32 {
	if m == nil || len(*m) == 0 {
		return nil
	}
	bias := make(map[runtime.Token]float32, len(*m))
	for key, v := range *m {
		id, err := strconv.ParseUint(key, 10, 31)
		if err != nil || strconv.FormatUint(id, 10) != key { // 05 would be another 5
			c.refuse(codeValue, "logit_bias", "has the key %q, its keys are token ids", key)
		}
		if v < -100 || v > 100 {
			c.refuse(codeValue, "logit_bias", "is %g for token %s, it must be between -100 and 100", v, key)
		}
		bias[runtime.Token(id)] = v
	}
	return bias
}

// answerFormat is the JSON schema that an answer is held to.
type answerFormat struct {
	schema json.RawMessage // null: any object
	param  string          // where it stands
	needed bool            // there must be one
}

// formatOf reads response_format, or llama-server's json_schema; nil: the answer is text.
func formatOf(p *openapi.GenerationParameters) (*answerFormat, error) {
	if jsonvalue.Kind(p.JsonSchema) != "null" {
		if jsonvalue.Kind(p.ResponseFormat) != "null" {
			return nil, refuse(codeValue, "json_schema", "cannot be given together with response_format")
		}
		return &answerFormat{p.JsonSchema, "json_schema", true}, nil
	}
	if jsonvalue.Kind(p.ResponseFormat) == "null" {
		return nil, nil
	}
	var f struct {
		Type   string          `json:"type"`
		Schema json.RawMessage `json:"schema"`
		Named  *struct {
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"`
		Value json.RawMessage `json:"value"`
	}
	if err := decodeField(p.ResponseFormat, "response_format", &f); err != nil {
		return nil, err
	}
	// OpenAI has the schema in json_schema, beside a name; llama-server has it beside the type, and Hugging Face as a value.
	switch {
	case jsonvalue.Kind(f.Value) != "null" && (f.Type == "json_object" || f.Type == "json"):
		return &answerFormat{f.Value, "response_format.value", true}, nil
	case f.Type == "text":
		return nil, nil
	case f.Type == "json_object":
		return &answerFormat{f.Schema, "response_format.schema", false}, nil
	case f.Type != "json_schema":
		return nil, refuse(codeValue, "response_format.type", "is %q, it must be text, json_object or json_schema", f.Type)
	case f.Named != nil:
		return &answerFormat{f.Named.Schema, "response_format.json_schema.schema", true}, nil
	}
	return &answerFormat{f.Schema, "response_format.schema", true}, nil
}

// format makes a constraint of the answer's format.
func (c *checker) format(p *openapi.GenerationParameters, s *runtime.Sampling) {
	f, err := formatOf(p)
	switch {
	case err != nil:
		if c.err == nil {
			c.err = err
		}
	case f == nil:
	case s.Grammar != "":
		field, _, _ := strings.Cut(f.param, ".")
		c.refuse(codeValue, field, "is given, which a grammar cannot be given with")
	default:
		c.schema(f.schema, f.param, f.needed, s)
	}
}

// schema sets the constraint of a JSON schema; without one, which only json_object may be, that of any object.
func (c *checker) schema(schema json.RawMessage, param string, needed bool, s *runtime.Sampling) {
	if jsonvalue.Kind(schema) == "null" {
		if needed {
			c.refuse(codeMissing, param, "is missing")
		}
		s.Constraint = grammar.New(grammar.Object())
		return
	}
	part, err := grammar.Schema(param, schema)
	if err != nil && c.err == nil {
		c.err = schemaRefusal(err)
	}
	if c.err == nil {
		s.Constraint = grammar.New(part)
	}
}

// schemaRefusal turns an error of package grammar about a schema into a 400.
func schemaRefusal(err error) error {
	var e *grammar.SchemaError
	if !errors.As(err, &e) {
		return err
	}
	code := map[grammar.Problem]string{grammar.BadValue: codeValue, grammar.BadType: codeType, grammar.Unsupported: codeUnsupported}[e.Problem]
	return refuse(code, e.Param, "%s", e.Reason)
}

// limit reads the number of tokens, at least least, under its two names; standard is the default, 0 for none.
func (c *checker) limit(maxTokens, maxCompletionTokens *int, standard, least int) int {
	a := c.integer("max_tokens", maxTokens, standard, least, maxTokensLimit)
	b := c.integer("max_completion_tokens", maxCompletionTokens, standard, least, maxTokensLimit)
	switch {
	case maxCompletionTokens == nil:
		return a
	case maxTokens != nil && a != b:
		c.refuse(codeValue, "max_tokens", "is %d and max_completion_tokens is %d: they are names of one thing", a, b)
	}
	return b
}
