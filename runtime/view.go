package runtime

import "fmt"

// Matrix is a view of numbers that lie in someone else's memory: element (i, j) is Values[i*RowStride+j*ColumnStride].
type Matrix struct {
	Values                  []float32
	Rows, Columns           int
	RowStride, ColumnStride int
}

// RowMajor returns the view of values (rows, columns), row by row.
func RowMajor(values []float32, rows, columns int) Matrix {
	return Matrix{Values: values, Rows: rows, Columns: columns, RowStride: columns, ColumnStride: 1}
}

// Transposed returns the view of the matrix's transpose.
func (m Matrix) Transposed() Matrix {
	return Matrix{Values: m.Values, Rows: m.Columns, Columns: m.Rows, RowStride: m.ColumnStride, ColumnStride: m.RowStride}
}

// Copy fills to with elements of row i, from column j on.
func (m Matrix) Copy(to []float32, i, j int) {
	at := i*m.RowStride + j*m.ColumnStride
	if m.ColumnStride == 1 {
		copy(to, m.Values[at:at+len(to)])
		return
	}
	for k := range to {
		to[k] = m.Values[at+k*m.ColumnStride]
	}
}

// copyTo writes the elements to out, row by row, where it has the room, or else to new memory, and returns where they are.
func (m Matrix) copyTo(out []float32) []float32 {
	if len(out) != m.Rows*m.Columns {
		out = make([]float32, m.Rows*m.Columns)
	}
	for i := range m.Rows {
		m.Copy(out[i*m.Columns:(i+1)*m.Columns], i, 0)
	}
	return out
}

// LoRAView is an adapter whose matrices are read where they lie, so that storing it takes no copy of them.
type LoRAView struct {
	Modules    []ModuleView
	Biases     []LoRABias
	Rows       []LoRARows
	Norms      []LoRANorm
	Invocation []Token
}

// ModuleView is a LoRAModule whose values lie in someone else's memory.
type ModuleView struct {
	Tensor    string
	Rank      int
	In, Out   int
	Scale     float32
	A, B      Matrix    // (Rank, In), (Out, Rank)
	Magnitude []float32 // of DoRA; nil: plain LoRA
}

// LoRASource is what lends views of an adapter: an adapter in memory, or a Trainer.
type LoRASource interface {
	// View returns the adapter as it stands. It is valid until the source changes or is closed.
	View() (*LoRAView, error)
}

// View returns views of the adapter's own values.
func (a *LoRA) View() (*LoRAView, error) {
	v := &LoRAView{Biases: a.Biases, Rows: a.Rows, Norms: a.Norms, Invocation: a.Invocation}
	for _, m := range a.Modules {
		if len(m.A) != m.Rank*m.In || len(m.B) != m.Out*m.Rank {
			return nil, fmt.Errorf("%w: %s: A and B of %d and %d values do not make rank %d of %d to %d", ErrAdapter,
				m.Tensor, len(m.A), len(m.B), m.Rank, m.In, m.Out)
		}
		v.Modules = append(v.Modules, ModuleView{Tensor: m.Tensor, Rank: m.Rank, In: m.In, Out: m.Out, Scale: m.Scale,
			A: RowMajor(m.A, m.Rank, m.In), B: RowMajor(m.B, m.Out, m.Rank), Magnitude: m.Magnitude})
	}
	return v, nil
}

// Copy returns the adapter with values of its own.
func (v *LoRAView) Copy() *LoRA { return v.CopyTo(nil) }

// CopyTo is Copy into the memory of an earlier copy of the same adapter, which is not valid any more; nil: there is none.
func (v *LoRAView) CopyTo(earlier *LoRA) *LoRA {
	a := &LoRA{Biases: v.Biases, Rows: v.Rows, Invocation: v.Invocation}
	for _, n := range v.Norms {
		a.Norms = append(a.Norms, LoRANorm{Tensor: n.Tensor, Values: append([]float32(nil), n.Values...)})
	}
	for i, m := range v.Modules {
		var old LoRAModule
		if earlier != nil && i < len(earlier.Modules) {
			old = earlier.Modules[i]
		}
		a.Modules = append(a.Modules, LoRAModule{Tensor: m.Tensor, Rank: m.Rank, In: m.In, Out: m.Out, Scale: m.Scale,
			A: m.A.copyTo(old.A), B: m.B.copyTo(old.B), Magnitude: append(old.Magnitude[:0], m.Magnitude...)})
	}
	return a
}
