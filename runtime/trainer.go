package runtime

import (
	"context"
	"io"
	"time"
)

// TrainSpec says what a Trainer trains and within which bounds.
type TrainSpec struct {
	Modules   []TrainModule // each base tensor at most once
	Norms     []string      // tensors of Facts.Norms that train whole beside them, each at most once; not with an Invocation
	MaxTokens int           // most tokens in one micro-batch
	Memory    int64         // bytes that it may allocate together with Reserved; 0: no bound. What is left over keeps activations
	Reserved  int64         // of Memory, what its caller needs for the run
	Seed      uint64        // of A's first values and of dropout: the same seed gives the same bytes
	Dropout   float32       // of the input of A, in [0, 1)
	// NEFTune is alpha of the noise that training, and no evaluation, adds to the embeddings (Jain et al. 2023): uniform, up to
	// alpha/sqrt(L d) either way, for a sequence of L tokens of width d. 0: none.
	NEFTune float32

	// Start is the adapter to train on from: the first values are its own. Its modules are those of Modules, in any order, with
	// the same ranks and scales, a magnitude where there is DoRA, its norms those of Norms, and the same Invocation; it has no biases and
	// no rows of its own. nil: a new adapter.
	Start *LoRA

	// Invocation makes an activated LoRA, as in LoRA: batches then say with Active where it acts, and LoRA returns it.
	Invocation []Token
}

// TrainModule is one LoRA to make: of rank Rank and scale Scale, on a tensor of Facts.Targets.
type TrainModule struct {
	Tensor     string
	Rank       int
	Scale      float32   // alpha/r, or alpha/sqrt(r)
	DoRA       bool      // with a magnitude vector, which begins at the lengths of the base's rows
	Init       TrainInit // how a new one begins; InitDefault where TrainSpec.Start says how
	Iterations int       // of InitPiSSA: of subspace iteration; 0: until the singular triples do not change any more
}

// KeptRank returns the rank of the module that Trainer.LoRA returns.
func (m TrainModule) KeptRank() int {
	if m.Init == InitPiSSA || m.Init == InitOLoRA {
		return 2 * m.Rank
	}
	return m.Rank
}

// TrainInit is how a new LoRA begins. Whatever it is, but for InitLoftQ, the adapter computes exactly the base before the first step.
type TrainInit int

// The initialisations.
const (
	// InitDefault has A uniform in +-1/sqrt(In) and B zero (Kaiming's, as in PEFT); of the token embeddings A zero and B normal.
	InitDefault TrainInit = iota
	// InitGaussian has A normal with deviation 1/Rank and B zero.
	InitGaussian
	// InitOrthogonal has A and B with rows and columns of one random orthogonal matrix, so that B A is zero. Rank is even.
	InitOrthogonal
	// InitPiSSA begins with the Rank largest singular triples of W (Meng et al. 2024), InitOLoRA with the first Rank columns and rows of
	// its QR decomposition (Büyükakyüz 2024). PEFT takes Scale B0 A0 away from W, which here never changes: the adapter has twice
	// the Rank, B = [B, -B0] and A = [A; A0], of which the second half is not trained. That is also what Trainer.LoRA returns, and
	// what PEFT saves with path_initial_model_for_weight_conversion. Dropout meets both halves. Not of the token embeddings, and not
	// where a device trains.
	InitPiSSA
	InitOLoRA
	// InitLoftQ begins with the Rank largest singular triples of what the weight before quantization has beyond W (Li et al. 2023): the
	// base with the adapter is then nearer to the model that it was quantized from. It needs that model's weights. Where not: as InitPiSSA.
	InitLoftQ
)

// TrainMode says what a micro-batch is for.
type TrainMode int

// The modes.
const (
	TrainFirst   TrainMode = iota // the first micro-batch of a step: gradients start at zero
	TrainFurther                  // its gradients are added
	TrainEval                     // the loss and the log-probabilities alone; nothing changes
)

// TrainBatch is a micro-batch of packed sequences, each of which sees itself alone. Its loss is the sum over the labelled
// tokens of -Weights[i] times the log-probability of Labels[i]; gradients are those of that sum divided by Norm.
//
// Any loss C that is a function of the log-probabilities lp is trained with two passes: TrainEval gives lp, and a second
// pass with Weights[i] = -dC/dlp[i] has the gradients of C. Package training/loss has such losses. Dropout and NEFTune,
// where the TrainSpec has them, act in the second pass and not in the first.
type TrainBatch struct {
	Tokens    []Token
	Labels    []Token   // what Tokens[i] must predict: the token after it, or -1 for no loss
	Weights   []float32 // factors of the labels' losses, any finite numbers: len(Tokens), or nil for 1 everywhere
	Ends      []int     // the position after each sequence's last token, rising; the last is len(Tokens)
	Active    []int     // of an activated LoRA, len(Ends): the position in Tokens from which on it acts in each sequence; nil: everywhere
	Norm      float64   // the loss is divided by it: the labelled tokens of the whole step. TrainEval does not use it
	Base      bool      // in TrainEval alone: computed by the base model, with the adapter switched off
	Entropies bool      // TrainResult.Entropies is wanted
}

// TrainUpdate is one step of AdamW. Source: Loshchilov & Hutter 2019.
type TrainUpdate struct {
	Rate        float32 // learning rate of A
	RateB       float32 // of B, magnitudes and norms: LoRA+ (Hayou et al. 2024) has it above Rate; 0: Rate
	Beta1       float32
	Beta2       float32
	Epsilon     float32
	WeightDecay float32 // of all but norms
	Clip        float32 // the gradients' largest norm; 0: not clipped
}

// TrainResult is what the last micro-batch and the last update gave.
type TrainResult struct {
	Loss     float64 // the weighted sum over the labelled tokens, not divided
	Labelled int     // labelled tokens
	Correct  int     // of them, those whose label is the most likely token
	GradNorm float64 // before clipping
	Steps    int64   // updates done

	// Of the last micro-batch's tokens, the caller's own copies; 0 where there is no label. Natural logarithms.
	LogProbs  []float32 // log-probability of Labels[i] after the sequence's tokens up to Tokens[i]
	Entropies []float32 // of the distribution that Labels[i] was drawn from; nil where the batch did not ask for it
}

// TrainMemory is what a Trainer needs.
type TrainMemory struct {
	Bytes   int64 // that it allocates, with its part of what it shares with other Trainers
	Own     int64 // of them, those that it does not share: parameters, gradients and moments
	Minimum int64 // that it would allocate with every activation computed again
	Kept    int   // layers whose activations are kept, where other Trainers leave the memory
}

// Slicer is work that is done in slices of a few milliseconds, so that decodes can run between them.
type Slicer interface {
	// Slice does the next slice and reports whether there are more. It is called from the Engine's goroutine.
	Slice() (more bool, err error)
}

// BatchSlicer is a Slicer that does several slices at once, which costs less than as many calls of Slice.
type BatchSlicer interface {
	Slicer
	// Slices does the next slice, and further ones while the next is expected to end before budget has passed since the call. It
	// returns how long the longest one took, beside what Slice returns.
	Slices(budget time.Duration) (more bool, longest time.Duration, err error)
}

// Reserver is a Slicer whose slices use what others use, too. Engine.Work calls Reserve on the goroutine of its caller before the
// first slice, and release when it no longer uses the Slicer: be it after the last slice, or because the work has ended early.
type Reserver interface {
	Slicer
	// Reserve waits for its turn, and returns ctx's error if ctx ends first. release may be called once.
	Reserve(ctx context.Context) (release func(), err error)
}

// Trainer trains one new adapter on the resident weights of a Model, which it never changes. It belongs to
// one goroutine, but for Slice: between Begin or BeginUpdate and the end of their slices, which Engine.Work
// runs, no other method may be called. Several Trainers may be in work at once. When Engine.Work returns an error, what was begun
// is dropped.
type Trainer interface {
	Slicer
	io.Closer // may be called twice

	// Begin starts a micro-batch; BeginUpdate starts the optimizer's step over the gradients so far.
	// Begin returns an error wrapping ErrTrain for a batch that is not valid, after which nothing is begun.
	// Slice, until it says that there are no more, does the work; with nothing begun, it computes the adapter's first values, where
	// there are none yet. Slice returns an error wrapping ErrDiverged
	// where the loss or a gradient is not finite; the weights then are those of the last good step.
	Begin(mode TrainMode, b TrainBatch) error
	BeginUpdate(u TrainUpdate) error

	// Result returns the numbers of what was last done: of a micro-batch, after its last slice.
	Result() TrainResult

	// Memory returns what the Trainer holds.
	Memory() TrainMemory

	// The adapter's values where they lie, which the next slice may change: for storing it. It returns an error where the adapter
	// has no values yet and none can be computed.
	LoRASource
	// LoRA returns a copy of the adapter as it stands; without modules where View returns an error.
	LoRA() *LoRA

	// WriteState writes all that a Trainer with the same spec needs to go on bit for bit, in pieces: it takes hardly any
	// memory. The error is w's.
	WriteState(w io.Writer) error
	// ReadState takes up a state of size bytes. It returns an error wrapping ErrTrain, and changes nothing, for one that was
	// cut short or is of a Trainer with another spec; after an error of r the Trainer can only be closed.
	ReadState(r io.Reader, size int64) error

	// Reseed changes the spec's seed: of dropout and of NEFTune's noise from now on, and of the states that ReadState takes up. The
	// adapter's values stay.
	Reseed(seed uint64)
	// ResetOptimizer forgets the moments and how many updates there were: the next update is the first one. The adapter's
	// values stay.
	ResetOptimizer() error
}
