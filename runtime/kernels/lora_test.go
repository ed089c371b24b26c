//go:build cgo

package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// module is a LoRA and its reference weights: in F16 those that the storage rounds to.
type module struct {
	rank, in, out int
	a, b          []float64
	gain, shift   []float32 // nil: none
	packed        *LoRA
}

// withGain returns the module with random gains.
func withGain(t testing.TB, rng *rand.Rand, m *module) *module {
	t.Helper()
	m.gain = gaussians(rng, m.out, 0.5)
	if err := m.packed.SetGain(m.gain); err != nil {
		t.Fatal(err)
	}
	return m
}

// withShift returns the module with a random shift.
func withShift(t testing.TB, rng *rand.Rand, m *module) *module {
	t.Helper()
	m.shift = gaussians(rng, m.out, 0.5)
	if err := m.packed.SetShift(m.shift); err != nil {
		t.Fatal(err)
	}
	return m
}

func randomModule(t testing.TB, rng *rand.Rand, rank, in, out int, storage Storage) *module {
	t.Helper()
	m := &module{rank: rank, in: in, out: out}
	a, b := gaussians(rng, rank*in, 0.1), gaussians(rng, out*rank, 0.3)
	m.a, m.b = stored(a, storage), stored(b, storage)
	var err error
	if m.packed, err = PackLoRA(a, b, rank, in, out, storage); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.packed.Close)
	return m
}

func stored(v []float32, storage Storage) []float64 {
	f := make([]float64, len(v))
	for i, x := range v {
		f[i] = float64(x)
		if storage == StoreF16 {
			f[i] = fromHalf(toHalf(f[i]))
		}
	}
	return f
}

// part is one reference term: a module and its scale.
type part struct {
	m     *module
	scale float32
}

// addLoRA adds a row's terms to y (out) and returns the magnitude that errors are measured against.
func addLoRA(terms []part, x []float32, y []float64) (size []float64) {
	size = make([]float64, len(y))
	for o := range y {
		base := y[o]
		size[o] = math.Abs(base)
		for _, p := range terms {
			if p.m.gain != nil {
				more := float64(p.scale) * float64(p.m.gain[o]) * base
				y[o] += more
				size[o] += math.Abs(more)
			}
			if p.m.shift != nil {
				more := float64(p.scale) * float64(p.m.shift[o])
				y[o] += more
				size[o] += math.Abs(more)
			}
		}
	}
	for _, p := range terms {
		for r := range p.m.rank {
			var h, hs float64
			for i := range p.m.in {
				v := p.m.a[r*p.m.in+i] * float64(x[i])
				h += v
				hs += math.Abs(v)
			}
			for o := range y {
				w := p.m.b[o*p.m.rank+r] * float64(p.scale)
				y[o] += w * h
				size[o] += math.Abs(w) * hs
			}
		}
	}
	return size
}

func packedTerms(rows [][]part) [][]Term {
	r := make([][]Term, len(rows))
	for i, terms := range rows {
		for _, p := range terms {
			r[i] = append(r[i], Term{p.m.packed, p.scale})
		}
	}
	return r
}

// apply runs shrink and expand over nth threads' shares, in place on y.
func apply(terms [][]Term, x []float32, xStride, in int, y []float32, yStride, out, nth int) {
	width := 1
	for _, row := range terms {
		sum := 0
		for _, t := range row {
			sum += t.M.Hidden()
		}
		width = max(width, sum)
	}
	rows := NewRows(terms)
	defer rows.Close()
	h := make([]float32, len(terms)*width)
	for i := range h {
		h[i] = float32(math.NaN()) // what shrink does not write must not be read
	}
	for ith := range nth {
		rows.Shrink(x, xStride, in, h, width, ith, nth)
	}
	for ith := range nth {
		rows.Expand(h, width, y, yStride, out, ith, nth)
	}
}

// TestLoRAProducts holds batches of single modules, equal neighbours, compositions of up to four terms, modules with
// gains and base rows to 1e-5 of the sum of the terms' magnitudes, and demands the same bits from 1, 2 and 3 threads
// and for every row alone.
func TestLoRAProducts(t *testing.T) {
	everyISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(11, 12))
		for _, storage := range []Storage{StoreF32, StoreF16} {
			for _, in := range []int{1, 37, 64, 200} {
				for _, out := range []int{1, 63, 64, 65, 100, 193} {
					checkLoRA(t, rng, storage, in, out)
				}
			}
		}
	})
}

func checkLoRA(t *testing.T, rng *rand.Rand, storage Storage, in, out int) {
	t.Helper()
	var m []*module
	for _, rank := range []int{1, 4, 8, 16, 17, 64} {
		m = append(m, randomModule(t, rng, rank, in, out, storage))
	}
	m = append(m, withGain(t, rng, randomModule(t, rng, 8, in, out, storage)), withShift(t, rng, withGain(t, rng, randomModule(t, rng, 16, in, out, storage))),
		withShift(t, rng, randomModule(t, rng, 4, in, out, storage)))
	four := []part{{m[3], 0.5}, {m[0], 2}, {m[4], -1}, {m[2], 1.5}}
	rows := [][]part{
		{}, {{m[0], 1}}, {{m[1], 2}}, {{m[1], 2}}, {}, {{m[2], 1}}, {{m[2], 3}}, {{m[2], 1}}, // scales differ
		{{m[3], 0.5}}, {{m[3], 0.5}}, {{m[3], 0.5}}, {{m[3], 0.5}}, {{m[3], 0.5}}, {{m[4], 1}},
		four, four, four[:2], four[:2], {}, {{m[5], 0.1}}, {{m[5], 0.1}}, {{m[0], 1}, {m[0], 1}},
		{{m[6], 1}}, {{m[6], 1}}, {{m[6], 0.5}}, {{m[7], 1}}, {{m[2], 1}, {m[6], -1}, {m[7], 0.3}}, {{m[2], 2}, {m[6], 1}, {m[7], 1}}, {{m[8], 1}}, {{m[8], 0.5}, {m[6], 1}}, // gains and shifts
	}
	xStride, yStride := in+2, out+3
	x, base := gaussians(rng, len(rows)*xStride, 1), gaussians(rng, len(rows)*yStride, 1)
	y := append([]float32(nil), base...)
	terms := packedTerms(rows)
	apply(terms, x, xStride, in, y, yStride, out, 1)
	name := fmt.Sprintf("storage %d in %d out %d", storage, in, out)
	for i, row := range rows {
		want := make([]float64, out)
		for o := range want {
			want[o] = float64(base[i*yStride+o])
		}
		size := addLoRA(row, x[i*xStride:], want)
		for o := range want {
			if diff := math.Abs(float64(y[i*yStride+o]) - want[o]); !(diff <= 1e-5*size[o]) {
				t.Fatalf("%s: row %d output %d: got %g, want %g", name, i, o, y[i*yStride+o], want[o])
			}
		}
		alone := append([]float32(nil), base[i*yStride:(i+1)*yStride]...)
		apply(terms[i:i+1], x[i*xStride:], xStride, in, alone, yStride, out, 2)
		if o := sameBits(alone, y[i*yStride:]); o >= 0 {
			t.Fatalf("%s: row %d output %d: %g alone, %g in the batch", name, i, o, alone[o], y[i*yStride+o])
		}
	}
	for nth := 2; nth <= 3; nth++ {
		again := append([]float32(nil), base...)
		apply(terms, x, xStride, in, again, yStride, out, nth)
		if i := sameBits(again, y); i >= 0 {
			t.Fatalf("%s: %d threads: float %d is %g, with one thread %g", name, nth, i, again[i], y[i])
		}
	}
}

// TestLoRAStorageRange: F16 storage must neither overflow nor drop weights that fp16 alone cannot hold.
func TestLoRAStorageRange(t *testing.T) {
	everyISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(13, 14))
		for _, scale := range []float64{1e-9, 1e-5, 1e5, 1e9} {
			const rank, in, out = 8, 96, 70
			a, b := gaussians(rng, rank*in, scale), gaussians(rng, out*rank, scale)
			m, err := PackLoRA(a, b, rank, in, out, StoreF16)
			if err != nil {
				t.Fatal(err)
			}
			exact := &module{rank: rank, in: in, out: out, a: stored(a, StoreF32), b: stored(b, StoreF32)}
			x, y, want := gaussians(rng, in, 1), make([]float32, out), make([]float64, out)
			size := addLoRA([]part{{exact, 1}}, x, want)
			apply([][]Term{{{m, 1}}}, x, in, in, y, out, out, 1)
			for o := range want {
				if diff := math.Abs(float64(y[o]) - want[o]); !(diff <= 2e-3*size[o]) {
					t.Fatalf("weights of size %g: output %d: got %g, want %g", scale, o, y[o], want[o])
				}
			}
			m.Close()
		}
	})
}

func TestLoRARanks(t *testing.T) {
	for rank := 1; rank <= MaxRank; rank = rank*3/2 + 1 {
		a := make([]float32, rank*40)
		m, err := PackLoRA(a, a, rank, 40, 40, StoreF16)
		if err != nil {
			t.Fatal(err)
		}
		if hidden := m.Hidden(); hidden < 4*rank || hidden > 4*max(4, 2*rank) {
			t.Errorf("rank %d: hidden vector of %d floats", rank, hidden)
		}
		if m.Bytes() < 2*rank*80 {
			t.Errorf("rank %d: %d bytes", rank, m.Bytes())
		}
		m.Close()
	}
	for _, rank := range []int{0, -1, MaxRank + 1} {
		a := make([]float32, 1024)
		if m, err := PackLoRA(a, a, rank, 1, 1, StoreF16); err == nil {
			m.Close()
			t.Errorf("rank %d: packed", rank)
		}
	}
}
