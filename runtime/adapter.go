package runtime

import "context"

// LoRA is an adapter in plain form: for each target W, the Device adds Scale * B * A to it.
// Source: Hu et al. 2021, "LoRA", with Scale = alpha/r (or alpha/sqrt(r), Kalajdzievski 2023).
type LoRA struct {
	Modules []LoRAModule
}

// LoRAModule is the update of one base tensor, in the base tensor's own row order (GGUF).
type LoRAModule struct {
	Tensor string // GGUF name of the base tensor, e.g. "blk.0.attn_q.weight"
	Rank   int
	In     int
	Out    int
	Scale  float32
	A      []float32 // (Rank, In), row-major
	B      []float32 // (Out, Rank), row-major
}

// Packed is one adapter in the Device's layout. It is immutable, may serve any number of sequences at
// once, and must outlive every sequence it is placed on. Close may be called twice, from any goroutine.
type Packed interface {
	Bytes() int64 // memory it holds
	Close() error
}

// Term is one adapter of a composition and its weight.
type Term struct {
	Packed Packed
	Scale  float32
}

// Mix is what a sequence is decoded with: the base plus the sum of its terms. The zero Mix is the base.
type Mix struct {
	Terms   []Term
	release func()
}

// NewMix returns a Mix that calls release, once, when it is released. release may be nil.
func NewMix(terms []Term, release func()) Mix { return Mix{Terms: terms, release: release} }

// Release gives the adapters back to whoever lent them. It may be called twice.
func (m *Mix) Release() {
	if m.release != nil {
		m.release()
		m.release = nil
	}
	m.Terms = nil
}

// Adapters is the composition that a request asks for, before its adapters are in memory. It is
// implemented by package adapters; a nil Adapters is the base. Methods may be called from any goroutine.
type Adapters interface {
	// Key identifies the function computed: version digests and scales. Two requests share KV cells if and
	// only if their keys are equal. "" is the base.
	Key() string

	// Flow is the unit of fairness: the adapter names without versions or scales. "" is the base.
	Flow() string

	// TryAcquire returns the Mix if every adapter is resident and no one waits for room; it never blocks.
	TryAcquire() (Mix, bool)

	// Acquire loads what is missing and returns the Mix, which the caller must Release. It blocks until
	// there is room, and returns ctx's error if ctx ends first.
	Acquire(ctx context.Context) (Mix, error)
}
