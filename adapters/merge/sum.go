package merge

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas/gonum"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Sum is a weighted sum of adapters that is added to the weights of their base:
//
//	W' = W + sum_i w_i s_i B_i A_i
//
// A DoRA adapter, whose gain is g_i = m_i / |W + s_i B_i A_i| by rows, adds w_i [(g_i - 1) W + g_i s_i B_i A_i]. It is
// the function that a request for all of the adapters gets, up to the rounding of W'. Whole rows and biases are summed
// likewise; see sum_whole.go.
type Sum struct {
	base  *runtime.Facts
	terms []sumTerm
	holds map[string]bool // tensors that change

	next *addition // what Change will return, of the tensor name
	name string
}

type sumTerm struct {
	adapter *peft.Adapter
	weight  float32
}

// NewSum returns the empty sum for a base.
func NewSum(base *runtime.Facts) *Sum { return &Sum{base: base, holds: make(map[string]bool)} }

// Add adds an adapter, which must stay open while the Sum is in use. The error wraps peft.ErrUnsupported where the
// base has no place for a part of the adapter, and where the adapter does not act on every token, as weights do.
func (s *Sum) Add(a *peft.Adapter, weight float32) error {
	if len(a.Summary.Invocation) > 0 {
		return fmt.Errorf("%w: alora_invocation_tokens is given: an activated LoRA acts on a part of the tokens, so it cannot be merged into the base's weights",
			peft.ErrUnsupported)
	}
	if err := checkPlaces(s.base, a); err != nil || weight == 0 {
		return err
	}
	s.terms = append(s.terms, sumTerm{a, weight})
	for i := range a.Modules {
		s.holds[a.Modules[i].Tensor] = true
	}
	for _, t := range wholeTensors(a) {
		s.holds[t] = true
	}
	return nil
}

// Changes reports whether the sum changes the base tensor.
func (s *Sum) Changes(tensor string) bool { return s.holds[tensor] }

// Untied returns the tensors that the merged file has beside the base's own, and which of those they begin as: a
// head that is the token embeddings becomes a tensor of its own where an adapter changes the one or the other.
func (s *Sum) Untied() map[string]string {
	if s.base.TiedHead && (s.holds["output.weight"] || s.holds["token_embd.weight"]) {
		return map[string]string{"output.weight": "token_embd.weight"}
	}
	return nil
}

// addition is what the adapters add to one tensor: to row r and column c of W
//
//	(rows[r] + columns[c]) W + sum B A + sum own, with every weight, scale and gain in B or A
type addition struct {
	in            int // weights in a row; all of a bias
	parts         []runtime.LoRAModule
	rows, columns []float32 // nil: zeros
	own           []ownTerm
}

// Prepare reads what the adapters add to a base tensor, and scans the tensor where one of them is DoRA. The error wraps
// ErrUnsupported where a value is not finite.
func (s *Sum) Prepare(tensor string, weights quant.Scan) error {
	d, err := s.look(tensor, weights)
	s.next, s.name = d, tensor
	return err
}

// Change returns what adds to the tensor that was prepared last.
func (s *Sum) Change(tensor string) (quant.Change, error) {
	if s.next == nil || s.name != tensor {
		return nil, fmt.Errorf("%s was not prepared", tensor)
	}
	d := s.next
	s.next = nil // its matrices live as long as the Change
	return d.add, nil
}

func (s *Sum) look(tensor string, weights quant.Scan) (*addition, error) {
	var d addition
	for _, t := range s.terms {
		for _, o := range wholeOf(t.adapter, tensor, t.weight) {
			d.in, d.own = o.width, append(d.own, o)
		}
		i := slices.IndexFunc(t.adapter.Modules, func(m peft.Module) bool { return m.Tensor == tensor })
		if i < 0 {
			continue
		}
		m, err := t.adapter.Modules[i].Load()
		if err != nil {
			return nil, err
		}
		if m.Magnitude != nil {
			if err := d.gain(&m, t.weight, weights); err != nil {
				return nil, err
			}
		}
		m.Scale *= t.weight
		d.in, d.parts = m.In, append(d.parts, m)
	}
	if d.in == 0 {
		return nil, fmt.Errorf("no adapter changes %s", tensor)
	}
	return &d, nil
}

// gain multiplies DoRA's gain into the module, and notes what it makes of W.
func (d *addition) gain(m *runtime.LoRAModule, weight float32, weights quant.Scan) error {
	columns := m.Tensor == "token_embd.weight"
	squares := make([]float64, m.MagnitudeSize())
	one := addition{in: m.In, parts: []runtime.LoRAModule{*m}}
	err := weights(func(first int64, w []float32) error {
		if err := one.add(first, w); err != nil {
			return err
		}
		for i, x := range w {
			at := first + int64(i)
			if columns {
				at %= int64(m.In)
			} else {
				at /= int64(m.In)
			}
			squares[at] += float64(x) * float64(x)
		}
		return nil
	})
	if err != nil {
		return err
	}
	factors, gains := make([]float32, len(squares)), make([]float32, len(squares))
	for i, x := range squares {
		g := float64(m.Magnitude[i]) / math.Sqrt(x)
		if math.IsNaN(g) || math.IsInf(g, 0) {
			return fmt.Errorf("%w: %s: magnitude %d is %g where W + scale*B*A is 0", peft.ErrUnsupported, m.Tensor, i, m.Magnitude[i])
		}
		gains[i], factors[i] = float32(g), float32(float64(weight)*(g-1))
	}
	if columns {
		d.columns = plus(d.columns, factors)
		for i := range m.A {
			m.A[i] *= gains[i%m.In]
		}
		return nil
	}
	d.rows = plus(d.rows, factors)
	for i := range m.B {
		m.B[i] *= gains[i/m.Rank]
	}
	return nil
}

// plus adds y to x, which may be nil.
func plus(x, y []float32) []float32 {
	for i := range x {
		y[i] += x[i]
	}
	return y
}

// add adds the delta to a part of the weights (Out, In), from number first on.
func (d *addition) add(first int64, weights []float32) error {
	row, column := int(first/int64(d.in)), int(first%int64(d.in))
	for len(weights) > 0 {
		n := min(d.in-column, len(weights))
		if err := d.addRow(row, column, weights[:n]); err != nil {
			return err
		}
		weights, row, column = weights[n:], row+1, 0
	}
	return nil
}

// addRow adds the delta to a part of a row.
func (d *addition) addRow(row, column int, w []float32) error {
	var own []float32 // of the weights before they change
	if len(d.own) > 0 {
		own = make([]float32, len(w))
	}
	for i := range d.own {
		if err := d.own[i].add(own, w, row, column); err != nil {
			return err
		}
	}
	if d.rows != nil {
		gonum.Implementation{}.Sscal(len(w), 1+d.rows[row], w, 1)
	}
	if d.columns != nil {
		for i := range w {
			w[i] *= 1 + d.columns[column+i]
		}
	}
	for i := range d.parts {
		m := &d.parts[i]
		for k, b := range m.B[row*m.Rank : (row+1)*m.Rank] {
			if x := m.Scale * b; x != 0 {
				gonum.Implementation{}.Saxpy(len(w), x, m.A[k*m.In+column:], 1, w, 1)
			}
		}
	}
	for i, x := range own {
		w[i] += x
	}
	return nil
}
