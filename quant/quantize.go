package quant

import (
	"context"
	"fmt"
	"io"
	"math"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// What Quantize can make: of linear layers, and of token_embd and output.
var (
	Types = []string{"nf4", "nf4-dq"}
	Heads = []string{"q8_0", "q6_k", "keep"}
)

// DefaultBlock is the block of "nf4" where none is asked for.
const DefaultBlock = 32

// Options say how Quantize encodes a model. Rows that are not whole blocks of what is asked for get the next
// narrower type (blocks of 64: NF4 in blocks of 32; q6_k: q8_0), and what fits none stays as it is.
type Options struct {
	Type     string                  // of the block's linear layers, one of Types
	Block    int                     // weights that share a scale: 32 or 64; 0: DefaultBlock, and 64 in "nf4-dq"
	Exact    bool                    // round as bitsandbytes does, instead of choosing scales for the least error
	Head     string                  // of token_embd and output, one of Heads; "": "q8_0"
	Threads  int                     // 0: one per CPU
	Progress func(done, total int64) // input bytes; called from Quantize's goroutine; may be nil
}

// Report says what Quantize did.
type Report struct {
	Tensors       int      // tensors in the file
	Quantized     int      // of them, tensors that changed their type
	Narrower      []string // of them, the names of those whose rows are not whole blocks of what was asked for
	Weights       int64    // in all tensors
	BytesIn       int64    // of all tensors, before
	BytesOut      int64    // of all tensors, after
	BitsPerWeight float64  // 8 * BytesOut / Weights
}

// Quantize writes the model file in to out with smaller weights. It holds a few MiB of weights at a time,
// whatever the size of the model, and out appears only when it is whole. A tensor that cannot be quantized
// as asked is an error naming it, wrapping ErrType; so is a model that already is quantized to 4 bits.
func Quantize(ctx context.Context, in, out string, o Options) (Report, error) {
	f, err := Open(in)
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	report, err := QuantizeFile(ctx, f, out, o)
	if err != nil {
		return Report{}, fmt.Errorf("%s: %w", in, err)
	}
	return report, nil
}

// QuantizeFile is Quantize of a file that is open, which may be a View.
func QuantizeFile(ctx context.Context, f *File, out string, o Options) (Report, error) {
	encodings, err := encodingsOf(f, o)
	if err != nil {
		return Report{}, err
	}
	metadata := nf4Metadata(f, o)
	return run(ctx, f, encodings, out, &metadata, o)
}

// run writes the file with the tensors encoded so.
func run(ctx context.Context, f *File, encodings []tensorEncoding, out string, metadata *Metadata, o Options) (Report, error) {
	q := quantizer{ctx: ctx, f: f, progress: o.Progress, buffers: make([]buffers, threads(o.Threads))}
	report := Report{Tensors: len(encodings)}
	tensors := make([]Tensor, len(encodings))
	for i, s := range encodings {
		tensors[i] = s.to
		report.Weights += s.from.Elements()
		report.BytesIn += s.from.Size
		report.BytesOut += s.to.Size
		if s.to.Type != s.from.Type {
			report.Quantized++
		}
		if s.narrower {
			report.Narrower = append(report.Narrower, s.to.Name)
		}
	}
	report.BitsPerWeight = 8 * float64(report.BytesOut) / float64(report.Weights)
	q.total = report.BytesIn
	err := WriteFile(out, metadata, tensors, func(i int, w io.Writer) error { return q.tensor(encodings[i], w) })
	if err != nil {
		return Report{}, fmt.Errorf("%s: %w", out, err)
	}
	return report, nil
}

func threads(n int) int {
	if n > 0 {
		return n
	}
	return runtime.NumCPU()
}

// nf4Metadata returns the file's metadata with what NF4 changes. The keys that begin with the architecture
// keep the plain one, so that a loader which puts the plain architecture back finds them.
func nf4Metadata(f *File, o Options) Metadata {
	const (
		mostlyIQ4NL         = 25 // llama.cpp's LLAMA_FTYPE_MOSTLY_IQ4_NL and _MXFP4_MOE: what the tensors are typed as
		mostlyMXFP4         = 38
		quantizationVersion = 2 // ggml's GGML_QNT_VERSION: of the Q8_0 blocks
	)
	fileType := uint32(mostlyMXFP4)
	if linear, _ := o.codecs(); linear[0].to == NF4 {
		fileType = mostlyIQ4NL
	}
	m := f.Metadata.Clone()
	m.Set("general.architecture", f.Architecture()+NF4Suffix)
	m.Set("general.file_type", fileType)
	m.Set("general.quantization_version", uint32(quantizationVersion))
	return m
}

// chunk is how many weights are encoded in one go by one thread; a multiple of every block.
const chunk = 1 << 18

// quantizer encodes one tensor after the other, each chunk by chunk on all threads.
type quantizer struct {
	ctx         context.Context
	f           *File
	buffers     []buffers // one per thread
	done, total int64
	progress    func(done, total int64)
}

// buffers are the memory of one thread: the bytes that it reads, the weights, the bytes that it writes.
type buffers struct {
	in, out []byte
	weights []float32
}

// tensor writes one tensor, encoded as s says. It treats the tensor as a sequence of units: a row is a whole number of
// blocks, so that a chunk may end inside a row, except in NF4_DQ, whose units are strips of rows.
func (q *quantizer) tensor(s tensorEncoding, w io.Writer) error {
	elements, unit := s.from.Elements(), s.unit()
	for begin := int64(0); begin < elements; {
		if err := q.ctx.Err(); err != nil {
			return err
		}
		var g errgroup.Group
		chunks := 0 // one for each thread
		for ; chunks < len(q.buffers) && begin < elements; chunks++ {
			b, first, n := &q.buffers[chunks], begin, min(max(1, chunk/unit)*unit, elements-begin)
			g.Go(func() error { return q.encode(s, b, first, n) })
			begin += n
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for _, b := range q.buffers[:chunks] {
			if _, err := w.Write(b.out); err != nil {
				return err
			}
			q.done += int64(len(b.in))
		}
		if q.progress != nil {
			q.progress(q.done, q.total)
		}
	}
	return nil
}

// encode reads n weights from the first on into b and encodes them.
func (q *quantizer) encode(s tensorEncoding, b *buffers, first, n int64) error {
	b.in = grow(b.in, s.from.bytes(n))
	if read, err := q.f.r.ReadAt(b.in, s.from.Offset+s.from.bytes(first)); read < len(b.in) {
		return err
	}
	if s.encode == nil {
		b.out = b.in
		if s.valid != nil && !s.valid(b.out) {
			return fmt.Errorf("a weight is infinite or not a number")
		}
		return nil
	}
	b.weights = grow(b.weights, n)
	s.decode(b.weights, b.in)
	if s.change != nil {
		if err := s.change(first, b.weights); err != nil {
			return err
		}
	}
	if i := notFinite(b.weights); i >= 0 {
		return fmt.Errorf("weight %d is %g", first+int64(i), b.weights[i])
	}
	if m := absmax(b.weights); s.limit > 0 && m > s.limit {
		return fmt.Errorf("a weight of magnitude %g is too large for %s", m, s.to.Type)
	}
	b.out = grow(b.out, s.to.bytes(n))
	s.encode(b.out, b.weights)
	if s.valid != nil && !s.valid(b.out) {
		return fmt.Errorf("weights of magnitudes up to %g are too large for %s", absmax(b.weights), s.to.Type)
	}
	return nil
}

// grow returns a slice of n elements, in s where it is long enough.
func grow[T any](s []T, n int64) []T {
	if int64(cap(s)) < n {
		return make([]T, n)
	}
	return s[:n]
}

// notFinite returns the index of the first NaN or infinite weight, or -1.
func notFinite(weights []float32) int {
	const exponent = 0x7f800000
	for i, x := range weights {
		if math.Float32bits(x)&exponent == exponent {
			return i
		}
	}
	return -1
}
