// Package runtimetest tests what implements the interfaces of package runtime, and what uses them.
//
// Model and Device are a deterministic language model in plain Go: the next token is a hash of every token
// before it and of the adapter that each was decoded with. A KV cell that is reused under a wrong adapter,
// at a wrong position or behind a wrong prefix therefore changes the text, and a broken rule of the Device
// contract is reported as a fault. Library lends fake adapters and counts what is lent. Conformance is the
// suite that every Device passes.
package runtimetest

import (
	"fmt"
	"hash/fnv"
	"strings"
	"sync/atomic"

	"github.com/lorikeet-ai/lorikeet/grammar"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// The vocabulary: one token per byte, and the control tokens.
const (
	BOS       runtime.Token = 256 + iota // "<s>"
	EOS                                  // "</s>"
	TurnStart                            // "<|im_start|>"
	TurnEnd                              // "<|im_end|>"
	vocabSize
)

var controls = []struct {
	token runtime.Token
	text  string
}{{BOS, "<s>"}, {EOS, "</s>"}, {TurnStart, "<|im_start|>"}, {TurnEnd, "<|im_end|>"}}

// The model's layers, as small as an adapter can be checked against.
const (
	embedding = 8
	hidden    = 16
	layers    = 2
)

const chatML = `{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`

// Model is a fake model with one token per byte. Its methods may be called from any goroutine.
type Model struct {
	facts    runtime.Facts
	samplers atomic.Int64 // made and not closed
	tokens   *grammar.Tokens
}

// NewModel returns a model with a context of 4096 tokens. Its facts may be changed until it is used.
func NewModel() *Model {
	m := &Model{facts: runtime.Facts{
		Name: "fake", Architecture: "llama", Quantization: "F32", Fingerprint: "fake-fingerprint",
		ContextLength: 4096, VocabSize: int(vocabSize), Embedding: embedding, Layers: layers,
		Heads: 2, KVHeads: 1, HeadSize: 4, RopeNorm: true,
		ChatTemplate: chatML, BOS: BOS, EOS: TurnEnd, BOSText: "<s>", EOSText: "<|im_end|>",
		Targets: map[string]runtime.Shape{}, Refused: map[string]string{"output.weight": "the fake has no head"},
		Norms: map[string]int{"output_norm.weight": embedding},
	}}
	for l := range layers {
		block := fmt.Sprintf("blk.%d.", l)
		for name, s := range map[string]runtime.Shape{
			"attn_q": {In: embedding, Out: embedding}, "attn_k": {In: embedding, Out: embedding / 2},
			"attn_v": {In: embedding, Out: embedding / 2}, "attn_output": {In: embedding, Out: embedding},
			"ffn_gate": {In: embedding, Out: hidden}, "ffn_up": {In: embedding, Out: hidden},
			"ffn_down": {In: hidden, Out: embedding},
		} {
			m.facts.Targets[block+name+".weight"] = s
			m.facts.Parameters += int64(s.In * s.Out)
		}
		m.facts.Norms[block+"attn_norm.weight"], m.facts.Norms[block+"ffn_norm.weight"] = embedding, embedding
	}
	m.facts.Bytes, m.facts.BitsPerWeight = 4*m.facts.Parameters, 32
	m.tokens = grammar.NewTokens(int(vocabSize), func(t int32) ([]byte, bool) { return m.Piece(t, true), t >= 256 }, m.EndOfGeneration)
	return m
}

// Facts returns the model's facts.
func (m *Model) Facts() *runtime.Facts { return &m.facts }

// Samplers returns how many samplers have been made and not closed.
func (m *Model) Samplers() int { return int(m.samplers.Load()) }

// Tokenize returns a token per byte, and where special is true a control token for its text.
func (m *Model) Tokenize(text string, bos, special bool) ([]runtime.Token, error) {
	var tokens []runtime.Token
	if bos && m.facts.AddBOS {
		tokens = append(tokens, BOS)
	}
next:
	for i := 0; i < len(text); {
		for _, c := range controls {
			if special && strings.HasPrefix(text[i:], c.text) {
				tokens = append(tokens, c.token)
				i += len(c.text)
				continue next
			}
		}
		tokens = append(tokens, runtime.Token(text[i]))
		i++
	}
	return tokens, nil
}

// Piece returns the byte of a token, or the text of a control token.
func (m *Model) Piece(t runtime.Token, special bool) []byte {
	if 0 <= t && t < 256 {
		return []byte{byte(t)}
	}
	for _, c := range controls {
		if special && c.token == t {
			return []byte(c.text)
		}
	}
	return nil
}

// EndOfGeneration reports whether t is EOS or TurnEnd.
func (m *Model) EndOfGeneration(t runtime.Token) bool { return t == EOS || t == TurnEnd }

// KnownTemplate renders messages as ChatML.
func (m *Model) KnownTemplate(messages []runtime.Message, generationPrompt bool) (string, error) {
	var b strings.Builder
	for _, msg := range messages {
		fmt.Fprintf(&b, "<|im_start|>%s\n%s<|im_end|>\n", msg.Role, msg.Content)
	}
	if generationPrompt {
		b.WriteString("<|im_start|>assistant\n")
	}
	return b.String(), nil
}

// sampler draws by its seed and by how many tokens it has drawn, so that a lost or repeated token changes the text.
type sampler struct {
	sampling runtime.Sampling
	drawn    int
	model    *Model
	matcher  *grammar.Matcher // of the constraint; nil for none
	closed   atomic.Bool
}

// Close counts the sampler as closed, once.
func (s *sampler) Close() error {
	if !s.closed.Swap(true) {
		s.model.samplers.Add(-1)
	}
	return nil
}

// NewSampler makes a sampler. A logit bias beyond the vocabulary and a grammar without root are refused.
func (m *Model) NewSampler(s runtime.Sampling, prompt []runtime.Token) (runtime.Sampler, error) {
	for t := range s.LogitBias {
		if t < 0 || t >= vocabSize {
			return nil, fmt.Errorf("%w: logit_bias names token %d, the vocabulary has %d", runtime.ErrSampling, t, vocabSize)
		}
	}
	if s.Grammar != "" && !strings.Contains(s.Grammar, "root") {
		return nil, fmt.Errorf("%w: grammar has no rule named root", runtime.ErrSampling)
	}
	m.samplers.Add(1)
	out := &sampler{sampling: s, model: m}
	if s.Constraint != nil {
		out.matcher = s.Constraint.NewMatcher(m.tokens)
	}
	return out, nil
}

// packed is a fake adapter: a number that the hash of what is decoded with it depends on.
type packed struct {
	sum    uint64
	bytes  int64
	closed atomic.Bool
}

// Bytes returns the size of the adapter's factors.
func (p *packed) Bytes() int64 { return p.bytes }

// Close marks the adapter; to decode with it from then on is a fault.
func (p *packed) Close() error {
	p.closed.Store(true)
	return nil
}

// Pack checks an adapter against the model's targets; two adapters with the same content are the same.
func (m *Model) Pack(a *runtime.LoRA) (runtime.Packed, error) {
	h := fnv.New64a()
	p := &packed{}
	for _, mod := range a.Modules {
		shape, ok := m.facts.Targets[mod.Tensor]
		if !ok {
			return nil, fmt.Errorf("%w: it changes %s, which the base does not have", runtime.ErrAdapter, mod.Tensor)
		}
		if shape.In != mod.In || shape.Out != mod.Out || len(mod.A) != mod.Rank*mod.In || len(mod.B) != mod.Out*mod.Rank {
			return nil, fmt.Errorf("%w: %s has shape %dx%d, the base has %dx%d",
				runtime.ErrAdapter, mod.Tensor, mod.Out, mod.In, shape.Out, shape.In)
		}
		if mod.Magnitude != nil && len(mod.Magnitude) != mod.MagnitudeSize() {
			return nil, fmt.Errorf("%w: %s has %d magnitudes, %d are expected", runtime.ErrAdapter, mod.Tensor, len(mod.Magnitude), mod.MagnitudeSize())
		}
		fmt.Fprintln(h, mod.Tensor, mod.Rank, mod.Scale, mod.A, mod.B, mod.Magnitude)
		p.bytes += 4 * int64(len(mod.A)+len(mod.B)+len(mod.Magnitude))
	}
	for _, b := range a.Biases {
		if len(b.Values) != m.facts.Targets[b.Tensor].Out {
			return nil, fmt.Errorf("%w: %s has a bias of %d values", runtime.ErrAdapter, b.Tensor, len(b.Values))
		}
		fmt.Fprintln(h, "bias", b.Tensor, b.Values, b.Replaces)
		p.bytes += 4 * int64(len(b.Values))
	}
	for _, r := range a.Rows {
		if r.Width != m.facts.Targets[r.Tensor].In {
			return nil, fmt.Errorf("%w: %s has rows of %d values", runtime.ErrAdapter, r.Tensor, r.Width)
		}
		fmt.Fprintln(h, "rows", r.Tensor, r.Tokens, r.Values)
		p.bytes += 4 * int64(len(r.Values))
	}
	for _, n := range a.Norms {
		if width, ok := m.facts.Norms[n.Tensor]; !ok || len(n.Values) != width {
			return nil, fmt.Errorf("%w: %s has a norm's weight of %d values, the base's has %d", runtime.ErrAdapter, n.Tensor, len(n.Values), width)
		}
		fmt.Fprintln(h, "norm", n.Tensor, n.Values)
		p.bytes += 4 * int64(len(n.Values))
	}
	p.sum = h.Sum64()
	return p, nil
}

// PackNamed returns an adapter that stands for a name: the same one for the same name.
func (m *Model) PackNamed(name string) runtime.Packed {
	h := fnv.New64a()
	fmt.Fprint(h, "named ", name)
	return &packed{sum: h.Sum64(), bytes: 1000}
}
