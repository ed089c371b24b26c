package runtime

import (
	"context"
	"io"
)

// Row is one token of a batch.
type Row struct {
	Token Token
	Seq   int // sequence in [0, Limits.Sequences)
	Pos   int // position in the sequence; the rows of a sequence come in order and without gaps

	// Sampler, where not nil, asks for the token that follows this row: it is sampled, accepted into the
	// sampler, and returned as a Choice.
	Sampler Sampler
	// Top asks for the log-probabilities of the chosen token and the Top most likely ones; -1 asks for none.
	Top int
	// Scored asks for the log-probability of Next, the token that follows this row; nothing is sampled. It is for rows
	// without a Sampler.
	Scored bool
	Next   Token
	// Exact asks that the row is computed in floats, without rounding activations to fewer bits for faster products: its
	// log-probabilities are then those of training. The rows of one Decode ask for it all together or not at all, and a
	// sequence has KV of one kind. On a Device whose Limits have no Exact it changes nothing.
	Exact bool
	// Hidden asks for the row's hidden state: the output of the last layer after the output norm, from which the head
	// computes the logits.
	Hidden bool
}

// Asks reports whether Decode returns a Choice for the row.
func (r *Row) Asks() bool { return r.Sampler != nil || r.Scored || r.Hidden }

// Choice is what was asked of a row: the token that was sampled, or Next of a row that is scored, with its
// log-probability, and the hidden state. Logprobs are of the model's own distribution, before the sampler shaped it.
type Choice struct {
	Token   Token
	Logprob float32
	Top     []TokenLogprob // most likely first
	Hidden  []float32      // (Facts.Embedding); nil where it was not asked for
	// Err, where set, ends the stream, and Token is undefined: no token is possible (the grammar admits none), ErrLogits,
	// ErrGrammarCost or ErrSampler.
	Err error
}

// TokenLogprob is a token and the natural logarithm of its probability.
type TokenLogprob struct {
	Token   Token
	Logprob float32
}

// Limits are a Device's fixed sizes.
type Limits struct {
	Sequences   int  // sequences that may hold KV at once
	Cells       int  // tokens that the KV cache holds over all sequences
	PerSequence int  // of them, those that one sequence may have; 0: all
	Batch       int  // rows in one Decode
	CanTruncate bool // a sequence can be truncated to a shorter prefix (false for recurrent models)
	Exact       bool // rows that are Exact are computed in another way than those that are not
}

// SlotStats describe the memory of a Device that adapters are copied to before they are used.
type SlotStats struct {
	Bytes     int64 // that there are; 0: adapters are used where they lie
	Used      int64 // of them, of adapters that are there
	Adapters  int   // that are there
	Uploads   int64 // adapters copied there, ever
	Evictions int64 // adapters that gave way to others, ever
}

// Stager is a Device that copies adapters into memory of its own before sequences use them. These methods alone may be
// called from any goroutine, also while Decode runs. SetAdapters copies what is missing itself, and decoding waits for that.
type Stager interface {
	// TryStage keeps the adapters of a mix in the Device's memory until release is called, if all of them are there. It
	// never blocks.
	TryStage(mix []Term) (release func(), ok bool)

	// Stage copies what is missing and keeps it until release is called. It blocks while sequences use all the memory, and
	// returns ctx's error if ctx ends first. ErrAdapter: there could never be room.
	Stage(ctx context.Context, mix []Term) (release func(), err error)

	SlotStats() SlotStats
}

// Sampler is the sampling state of one stream. It belongs to the stream; the Device advances it in Decode.
// Close may be called twice.
type Sampler interface{ io.Closer }

// Device computes. All methods are called from the Engine's goroutine alone, and none keeps its arguments.
type Device interface {
	// Limits returns the Device's sizes; they never change.
	Limits() Limits

	// SetAdapters binds a sequence to a mix: rows of seq are decoded with it until the next SetAdapters. It must not be
	// changed while seq holds KV, unless the caller means to continue old KV under a new adapter.
	// The empty mix is the base. It returns ErrAdapter for a Packed that another Device made.
	SetAdapters(seq int, mix []Term) error

	// Copy lets dst share the first n cells of src. dst must be empty. No data is copied and no cells are taken.
	Copy(dst, src, n int) error

	// Truncate drops the cells of seq at positions from and up. It returns how many stay: from, or 0 where
	// the Device cannot truncate and had to drop the whole sequence.
	Truncate(seq, from int) (kept int, err error)

	// Decode computes the rows, appends their KV to their sequences, and returns a Choice for every row
	// that asks for one, in row order. The slice and what it holds are valid until the next Decode. The memory that it
	// takes grows with the rows that ask: a float for every token of the vocabulary for each.
	// ErrNoRoom: there are not enough free cells, and nothing changed. After any other error the content of the
	// batch's sequences is undefined: the caller empties them with Truncate(seq, 0).
	Decode(rows []Row) ([]Choice, error)

	// Close frees everything. It may be called twice.
	Close() error
}
