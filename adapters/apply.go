package adapters

import (
	"fmt"

	"gonum.org/v1/gonum/blas/gonum"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Sum is a weighted sum of adapters that is added to the weights of their base:
//
//	W' = W + sum_i w_i s_i B_i A_i
//
// It gives the function that a request for all of the adapters gets, up to the rounding of W'.
type Sum struct {
	base  *runtime.Facts
	terms []sumTerm
	holds map[string]bool // tensors that change
}

type sumTerm struct {
	adapter *Adapter
	weight  float32
}

// NewSum returns the empty sum for a base.
func NewSum(base *runtime.Facts) *Sum { return &Sum{base: base, holds: make(map[string]bool)} }

// Add adds an adapter, which must stay open while the Sum is in use.
func (s *Sum) Add(a *Adapter, weight float32) {
	if weight == 0 {
		return
	}
	s.terms = append(s.terms, sumTerm{a, weight})
	for _, t := range a.Tensors() {
		s.holds[t] = true
	}
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

// Change reads what the adapters add to a base tensor and returns what adds it. The error wraps ErrUnsupported where
// a value is not finite.
func (s *Sum) Change(tensor string) (quant.Change, error) {
	var parts []runtime.LoRAModule
	for _, t := range s.terms {
		m, ok, err := t.adapter.Module(tensor)
		if err != nil {
			return nil, err
		}
		if ok && m.Magnitude != nil {
			return nil, fmt.Errorf("%w: %s: DoRA's magnitude vector (use_dora) cannot be merged yet", ErrUnsupported, tensor)
		}
		if ok {
			m.Scale *= t.weight
			parts = append(parts, m)
		}
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("no adapter changes %s", tensor)
	}
	return func(first int64, weights []float32) error {
		for i := range parts {
			addDelta(&parts[i], first, weights)
		}
		return nil
	}, nil
}

// addDelta adds Scale*B*A to a part of the weights (Out, In), from number first on.
func addDelta(m *runtime.LoRAModule, first int64, weights []float32) {
	row, column := int(first/int64(m.In)), int(first%int64(m.In))
	for len(weights) > 0 {
		n := min(m.In-column, len(weights))
		for k, b := range m.B[row*m.Rank : (row+1)*m.Rank] {
			if x := m.Scale * b; x != 0 {
				gonum.Implementation{}.Saxpy(n, x, m.A[k*m.In+column:], 1, weights, 1)
			}
		}
		weights, row, column = weights[n:], row+1, 0
	}
}
