package merge

import (
	"errors"

	"gonum.org/v1/gonum/mat"
)

// svd returns what computes the matrices of the best approximation, of the module's rank, to the sum
// D = sum_i w_i s_i B_i A_i (Eckart & Young 1936): with D = U S V^T, B = U_r S_r and A = V_r^T as PEFT splits it.
// (PEFT's own svd multiplies by the scale twice, once in get_delta_weight; here D is what a request for all of
// the adapters gets.)
//
// D itself, as large as the weight, is never made. It is the product of two thin matrices, L = [B_1 B_2 ...] and
// R = [w_1 s_1 A_1; ...]: with L = U1 S1 V1^T and R^T = U2 S2 V2^T, D = U1 (S1 V1^T V2 S2) U2^T, and the matrix in
// the middle is as small as the ranks' sum.
func (m *module) svd() func(side) ([]float32, error) {
	var a, b []float32 // both are computed at once, and read one after the other
	return func(s side) ([]float32, error) {
		if s == sideA || b == nil {
			var err error
			if a, b, err = m.truncate(); err != nil {
				return nil, err
			}
		}
		if s == sideA {
			return a, nil
		}
		out := b
		a, b = nil, nil
		return out, nil
	}
}

var errSVD = errors.New("the singular values could not be computed")

// truncate computes A (rank, in) and B (out, rank).
func (m *module) truncate() (a, b []float32, err error) {
	in, out, sum := m.in, m.out, 0
	for _, t := range m.terms {
		sum += t.lora.Rank
	}
	left, right := mat.NewDense(out, sum, nil), mat.NewDense(in, sum, nil)
	column := 0
	for i := range m.terms {
		t := &m.terms[i]
		va, err := t.load(sideA)
		if err != nil {
			return nil, nil, err
		}
		vb, err := t.load(sideB)
		if err != nil {
			return nil, nil, err
		}
		for k := range t.lora.Rank {
			for c := range in {
				right.Set(c, column+k, t.factor()*float64(va[k*in+c]))
			}
			for r := range out {
				left.Set(r, column+k, float64(vb[r*t.lora.Rank+k]))
			}
		}
		column += t.lora.Rank
	}
	u1, m1, err := halves(left)
	if err != nil {
		return nil, nil, err
	}
	u2, m2, err := halves(right)
	if err != nil {
		return nil, nil, err
	}
	var middle, lu, rv mat.Dense
	middle.Mul(m1, m2.T())
	var f mat.SVD
	if !f.Factorize(&middle, mat.SVDThin) {
		return nil, nil, errSVD
	}
	values := f.Values(nil)
	f.UTo(&lu)
	f.VTo(&rv)
	var u, v mat.Dense
	u.Mul(u1, lu.Slice(0, rows(&lu), 0, m.rank))
	v.Mul(u2, rv.Slice(0, rows(&rv), 0, m.rank))
	a, b = make([]float32, m.rank*in), make([]float32, out*m.rank)
	for k := range m.rank {
		for c := range in {
			a[k*in+c] = float32(v.At(c, k))
		}
		for r := range out {
			b[r*m.rank+k] = float32(u.At(r, k) * values[k])
		}
	}
	return a, b, nil
}

// halves writes x as u times m, the columns of u being orthonormal.
func halves(x *mat.Dense) (u, m *mat.Dense, err error) {
	var f mat.SVD
	if !f.Factorize(x, mat.SVDThin) {
		return nil, nil, errSVD
	}
	var v mat.Dense
	u, m = new(mat.Dense), new(mat.Dense)
	f.UTo(u)
	f.VTo(&v)
	values := f.Values(nil)
	m.Mul(mat.NewDiagDense(len(values), values), v.T())
	return u, m, nil
}

func rows(m mat.Matrix) int {
	r, _ := m.Dims()
	return r
}
