package peft

import (
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file makes a Source of an adapter that is in memory, and reads its values piece by piece where they lie.

// FromLoRA makes a Source of an adapter that is in memory, which must not change until the Source is closed. The error wraps
// ErrFormat, ErrUnsupported or runtime.ErrAdapter.
func FromLoRA(f *runtime.Facts, of runtime.LoRASource) (*Source, error) {
	a, err := of.View()
	if err != nil {
		return nil, err
	}
	if len(a.Biases) > 0 {
		return nil, fmt.Errorf("%w: %s: a trained bias cannot be stored from memory", ErrUnsupported, a.Biases[0].Tensor)
	}
	if len(a.Rows) > 0 {
		return nil, fmt.Errorf("%w: %s: whole rows cannot be stored from memory", ErrUnsupported, a.Rows[0].Tensor)
	}
	list := make([]Matrices, len(a.Modules))
	for i := range a.Modules {
		m := &a.Modules[i]
		if err := checkView(m, a.Modules[0].Tensor, a.Modules[0].Magnitude != nil); err != nil {
			return nil, err
		}
		path, ok := peftModule(m.Tensor)
		if !ok {
			return nil, fmt.Errorf("%w: tensor %q: %s", runtime.ErrAdapter, m.Tensor, whyNoTarget(f, m.Tensor))
		}
		if list[i], err = viewMatrices(f, path, m); err != nil {
			return nil, err
		}
	}
	return fromParts(f, list, a.Norms, a.Invocation)
}

// checkView refuses a module that no adapter of PEFT's can hold, or not together with the first one.
func checkView(m *runtime.ModuleView, first string, dora bool) error {
	if m.A.Rows != m.Rank || m.A.Columns != m.In || m.B.Rows != m.Out || m.B.Columns != m.Rank || m.Rank < 1 || m.Rank > MaxRank {
		return fmt.Errorf("%w: %s: A of %d by %d and B of %d by %d do not make rank %d of %d to %d", ErrFormat,
			m.Tensor, m.A.Rows, m.A.Columns, m.B.Rows, m.B.Columns, m.Rank, m.In, m.Out)
	}
	if s := float64(m.Scale); math.IsNaN(s) || math.IsInf(s, 0) {
		return fmt.Errorf("%w: %s: the scale is %v", ErrUnsupported, m.Tensor, s)
	}
	if (m.Magnitude != nil) != dora {
		return fmt.Errorf("%w: use_dora: %s and %s differ in having a magnitude vector", ErrUnsupported, m.Tensor, first)
	}
	size := (&runtime.LoRAModule{Tensor: m.Tensor, In: m.In, Out: m.Out}).MagnitudeSize()
	if m.Magnitude != nil && len(m.Magnitude) != size {
		return fmt.Errorf("%w: %s: a magnitude vector of %d values, %d are expected", ErrFormat, m.Tensor, len(m.Magnitude), size)
	}
	return nil
}

// viewMatrices returns the module's matrices as PEFT has them: of the embeddings transposed, and the rows of q and k in the order
// of Hugging Face's heads.
func viewMatrices(f *runtime.Facts, path string, m *runtime.ModuleView) (Matrices, error) {
	x := Matrices{Path: path, Rank: m.Rank, In: m.In, Out: m.Out, Scale: m.Scale,
		names: [3]string{m.Tensor + ".lora_a", m.Tensor + ".lora_b", m.Tensor + ".magnitude"}, magnitudes: len(m.Magnitude)}
	a, b := m.A, m.B
	var order func(row int) int
	if path == embeddingModule {
		a, b = m.B.Transposed(), m.A.Transposed()
		x.In, x.Out = m.Out, m.In
	} else if n := heads(f, m.Tensor); n > 0 {
		if m.Out%(2*n) != 0 {
			return x, fmt.Errorf("%w: %s: its rows cannot be split into heads of pairs", ErrFormat, m.Tensor)
		}
		order = func(row int) int { return ggufRow(row, m.Out/n/2) }
	}
	x.open[sideA], x.open[sideB] = opened(a, nil), opened(b, order)
	if m.Magnitude != nil {
		x.open[sideMagnitude] = opened(runtime.RowMajor(m.Magnitude, len(m.Magnitude), 1), order)
	}
	return x, nil
}

// ggufRow returns where GGUF has a row of q or k that is row `row` in Hugging Face's order, with `half` pairs to a head. See
// permute.
func ggufRow(row, half int) int {
	head, pair, i := row/(2*half), row/half%2, row%half
	return 2*(head*half+i) + pair
}

func opened(m runtime.Matrix, order func(int) int) func() (io.Reader, error) {
	return func() (io.Reader, error) { return &matrixReader{m: m, order: order}, nil }
}

// matrixReader reads a matrix row by row as little-endian F32, without a copy of it. order, where it is not nil, says which row
// comes next.
type matrixReader struct {
	m        runtime.Matrix
	order    func(row int) int
	row, col int
	values   []float32
	raw      []byte
	left     []byte // of raw, what was not read
}

// readerValues is how many values a matrixReader holds at a time.
const readerValues = 8 << 10

func (r *matrixReader) Read(p []byte) (int, error) {
	if len(r.left) == 0 && !r.fill() {
		return 0, io.EOF
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// fill encodes the next values. It returns false where there are none.
func (r *matrixReader) fill() bool {
	r.values = slices.Grow(r.values[:0], readerValues)
	for r.row < r.m.Rows && len(r.values) < readerValues {
		n := min(readerValues-len(r.values), r.m.Columns-r.col)
		row := r.row
		if r.order != nil {
			row = r.order(row)
		}
		to := r.values[len(r.values) : len(r.values)+n]
		r.m.Copy(to, row, r.col)
		r.values = r.values[:len(r.values)+n]
		if r.col += n; r.col == r.m.Columns {
			r.row, r.col = r.row+1, 0
		}
	}
	r.raw = slices.Grow(r.raw[:0], 4*readerValues)[:4*len(r.values)]
	quant.EncodeF32(r.raw, r.values)
	r.left = r.raw
	return len(r.left) > 0
}
