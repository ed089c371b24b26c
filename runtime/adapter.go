package runtime

import "context"

// LoRA is an adapter in plain form: for each target W, the Device adds Scale * B * A to it.
// Source: Hu et al. 2021, "LoRA", with Scale = alpha/r (or alpha/sqrt(r), Kalajdzievski 2023).
type LoRA struct {
	Modules []LoRAModule
	Biases  []LoRABias // each layer at most twice: added to its bias, and in its place
	Rows    []LoRARows // each tensor at most once
	Norms   []LoRANorm // each tensor at most once

	// Invocation makes it an activated LoRA (aLoRA, Greenewald et al. 2025): it acts from the last occurrence of these tokens
	// in the prompt on, on no token before it, and on none where they do not occur. Empty: it acts on every token.
	Invocation []Token
}

// LoRABias is what the adapter adds to a linear layer's output, whatever its input.
type LoRABias struct {
	Tensor   string    // the layer's weight: "blk.0.attn_q.weight"
	Values   []float32 // (Out)
	Replaces bool      // they stand in the place of the base's own bias; else they are added to it
}

// LoRARows are rows of the embeddings or the head that the adapter has its own of: y = W x + (R - W) x on these rows.
type LoRARows struct {
	Tensor string    // "token_embd.weight" or "output.weight"
	Tokens []Token   // which rows, each once; nil: all
	Width  int       // the base's In
	Values []float32 // (len(Tokens) or all tokens, Width): the rows themselves
}

// LoRANorm is the weight of an RMSNorm that stands in the place of the base's. A term of a composition with the weight w adds
// w times the difference to the base's.
type LoRANorm struct {
	Tensor string    // "blk.0.attn_norm.weight", "output_norm.weight", ...
	Values []float32 // as many as the base's has
}

// LoRAModule is the update of one base tensor, in the base tensor's own row order (GGUF).
//
// With a Magnitude it is DoRA (Liu et al. 2024): the rows of W + Scale*B*A are brought to these lengths, so that
// y = g .* (W x + Scale*B*A*x) with g = Magnitude / |W + Scale*B*A| by rows. Of the token embeddings, whose rows are
// looked up, it is the columns that have a length, as in PEFT.
type LoRAModule struct {
	Tensor    string // GGUF name of the base tensor, e.g. "blk.0.attn_q.weight"
	Rank      int
	In        int
	Out       int
	Scale     float32
	A         []float32 // (Rank, In), row-major
	B         []float32 // (Out, Rank), row-major
	Magnitude []float32 // DoRA: (MagnitudeSize); nil: plain LoRA
}

// MagnitudeSize returns how many values DoRA's magnitude vector of the tensor has.
func (m *LoRAModule) MagnitudeSize() int {
	if m.Tensor == "token_embd.weight" {
		return m.In
	}
	return m.Out
}

// Plain reports whether every change is Scale*B*A and nothing else: what a GGUF LoRA file can hold.
func (a *LoRA) Plain() bool {
	if len(a.Biases)+len(a.Rows)+len(a.Norms) > 0 {
		return false
	}
	for i := range a.Modules {
		if a.Modules[i].Magnitude != nil {
			return false
		}
	}
	return true
}

// Packed is one adapter in the Device's layout. It is immutable, may serve any number of sequences at
// once, and must outlive every sequence that it is set on. Close may be called twice, from any goroutine.
type Packed interface {
	Bytes() int64 // memory it holds
	Close() error
}

// Term is one adapter of a composition and its weight: it adds Scale times what it alone, at 1, adds to the
// base's output. For DoRA that is (g-1) .* W x + g .* s*B*A*x.
type Term struct {
	Packed Packed
	Scale  float32
	From   int // the position in the sequence from which on it acts: rows before are decoded without it
}

// Mix is what a sequence is decoded with: the base plus the sum of its terms. The zero Mix is the base.
type Mix struct {
	Terms   []Term
	release func()
}

// NewMix returns a Mix that calls release, once, when it is released. release may be nil.
func NewMix(terms []Term, release func()) Mix { return Mix{Terms: terms, release: release} }

// Release returns the adapters to their owner. It may be called twice.
func (m *Mix) Release() {
	if m.release != nil {
		m.release()
		m.release = nil
	}
	m.Terms = nil
}

// Part is one adapter of a composition, as it is known before it is in memory.
type Part struct {
	Key        string  // its version's digest and its scale
	Invocation []Token // as LoRA has them
}

// ActiveFrom returns the position from which on an adapter with these invocation tokens acts after the prompt: where they
// begin for the last time, 0 where there are none, and -1 where the prompt lacks them. Its time is linear.
// Source: Knuth, Morris and Pratt 1977.
func ActiveFrom(prompt, invocation []Token) int {
	if len(invocation) == 0 {
		return 0
	}
	border := make([]int, len(invocation)+1) // of each prefix: the longest proper prefix that it ends with
	border[0] = -1
	for i, k := 0, -1; i < len(invocation); {
		for k >= 0 && invocation[i] != invocation[k] {
			k = border[k]
		}
		i, k = i+1, k+1
		border[i] = k
	}
	last, matched := -1, 0
	for i, t := range prompt {
		for matched >= 0 && (matched == len(invocation) || t != invocation[matched]) {
			matched = border[matched]
		}
		if matched++; matched == len(invocation) {
			last = i + 1 - matched
		}
	}
	return last
}

// Adapters is the composition that a request asks for, before its adapters are in memory. It is
// implemented by package adapters; a nil Adapters is the base. Methods may be called from any goroutine.
type Adapters interface {
	// Key identifies the function computed: version digests and scales. "" is the base.
	Key() string

	// Parts returns the adapters in the order of the Mix's terms. Two requests of one tenant share the KV cells of equal
	// prompts up to the first token on which other parts act.
	Parts() []Part

	// Flow is the unit of fairness: the adapter names without versions or scales. "" is the base.
	Flow() string

	// TryAcquire returns the Mix if every adapter is resident and no one waits for room; it never blocks.
	TryAcquire() (Mix, bool)

	// Acquire loads what is missing and returns the Mix, which the caller must Release. It blocks until
	// there is room, and returns ctx's error if ctx ends first.
	Acquire(ctx context.Context) (Mix, error)
}
