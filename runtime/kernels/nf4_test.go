//go:build cgo

package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

var modes = []Mode{F32, I16, I8}

func pack(t testing.TB, b blocks, mode Mode) *NF4 {
	t.Helper()
	w, err := PackNF4(b.kind, b.data, b.in, b.out, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func asBytes(x []float32) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x)) }

// multiply runs both steps of a product over nth threads' shares and returns y (rows, yStride), whose floats
// beyond the outputs are filled with 42.
func multiply(w *NF4, x []float32, xStride, rows, yStride, nth int) []float32 {
	stride := 4 * xStride
	xq := asBytes(x)
	if w.Mode != F32 {
		stride = ActivationBytes(w.Mode, w.In) + 64
		xq = make([]byte, rows*stride)
		for ith := range nth {
			Activations(w.Mode, w.In, x, xStride, rows, xq, stride, ith, nth)
		}
	}
	y := make([]float32, rows*yStride)
	for i := range y {
		y[i] = 42
	}
	for ith := range nth {
		w.MatMul(xq, stride, rows, y, yStride, ith, nth)
	}
	return y
}

// multiplyF32 writes the product with float activations to y (rows, yStride), and 42 beyond the outputs.
func multiplyF32(w interface {
	MatMulF32(x []float32, xStride, rows int, y []float32, yStride, ith, nth int)
}, x []float32, xStride, rows int, y []float32, yStride, nth int) {
	for i := range y {
		y[i] = 42
	}
	for ith := range nth {
		w.MatMulF32(x, xStride, rows, y, yStride, ith, nth)
	}
}

// activations makes rows that a product must survive: plain ones, zeros, huge, tiny, one huge value, a
// block of zeros.
func activations(rng *rand.Rand, in, rows, stride int) []float32 {
	x := gaussians(rng, rows*stride, 1)
	for t := range rows {
		row := x[t*stride : t*stride+in]
		switch t % 9 {
		case 1:
			clear(row)
		case 2:
			for i := range row {
				row[i] *= 1e30
			}
		case 3:
			for i := range row {
				row[i] *= 1e-20
			}
		case 4:
			row[rng.IntN(in)] = -3e4
		case 5:
			clear(row[in/64*32 : in/64*32+32])
		case 6:
			for i := range row {
				row[i] *= float32(math.Exp(4 * rng.NormFloat64()))
			}
		}
	}
	return x
}

// TestNF4Products holds every output of many shapes to a bound: for float, 1e-5 of the sum of the terms'
// magnitudes, and for the integer modes what rounding can add up to and 2e-6 of that sum.
func TestNF4Products(t *testing.T) {
	everyISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		for _, kind := range nf4Kinds {
			for _, in := range []int{32, 96, 64, 192, 320, 1280} {
				if in%kind.width() == 0 {
					productsOf(t, rng, kind, in)
				}
			}
		}
	})
}

func productsOf(t *testing.T, rng *rand.Rand, kind Kind, in int) {
	t.Helper()
	for _, out := range []int{1, 15, 17, 100} {
		b := randomBlocks(rng, kind, in, out)
		for _, rows := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 33} {
			if in >= 192 && rows > 3 && rows < 33 || in == 1280 && out == 15 {
				continue
			}
			xStride, yStride := in+3, out+5
			x := activations(rng, in, rows, xStride)
			want := b.matmul(x, xStride, rows)
			for _, mode := range modes {
				w := pack(t, b, mode)
				y := multiply(w, x, xStride, rows, yStride, 2)
				checkProducts(t, fmt.Sprintf("%v %v in %d out %d rows %d", kind, mode, in, out, rows), mode, want, y, out, yStride)
				multiplyF32(w, x, xStride, rows, y, yStride, 2)
				checkProducts(t, fmt.Sprintf("%v %v as f32 in %d out %d rows %d", kind, mode, in, out, rows), F32, want, y, out, yStride)
				w.Close()
			}
		}
	}
}

func checkProducts(t *testing.T, name string, mode Mode, want []product, y []float32, out, yStride int) {
	t.Helper()
	for i, got := range y {
		row, o := i/yStride, i%yStride
		if o >= out {
			if got != 42 {
				t.Fatalf("%s: row %d: wrote beyond the outputs", name, row)
			}
			continue
		}
		p := want[row*out+o]
		bound := [...]float64{1e-5 * p.sum, p.bound16 + 2e-6*p.sum, p.bound8 + 2e-6*p.sum}[mode]
		if diff := math.Abs(float64(got) - p.y); !(diff <= bound) {
			t.Fatalf("%s: row %d output %d: got %g, want %g: off by %g, bound %g", name, row, o, got, p.y, diff, bound)
		}
	}
}

// TestNF4Error holds the root mean square error of a large product to the modes' stated tolerances, and the
// paths to each other: they use the same integers, so only the order of float sums may differ.
func TestNF4Error(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, kind := range nf4Kinds {
		t.Run(kind.String(), func(t *testing.T) { errorOf(t, rng, kind) })
	}
}

func errorOf(t *testing.T, rng *rand.Rand, kind Kind) {
	const in, out, rows = 1280, 256, 5
	b := randomBlocks(rng, kind, in, out)
	x := gaussians(rng, rows*in, 1)
	want := b.matmul(x, in, rows)
	portable := map[Mode][]float32{}
	everyISA(t, func(t *testing.T) {
		for _, mode := range modes {
			y := multiply(pack(t, b, mode), x, in, rows, out, 1)
			var e, s float64
			for i, p := range want {
				e += (float64(y[i]) - p.y) * (float64(y[i]) - p.y)
				s += p.y * p.y
			}
			rms, limit := math.Sqrt(e/s), [...]float64{1e-5, 2e-4, 1e-2}[mode]
			t.Logf("%v: relative rms error %.2e", mode, rms)
			if !(rms <= limit) {
				t.Errorf("%v: relative rms error %.2e, limit %.0e", mode, rms, limit)
			}
			if CurrentISA() == Portable {
				portable[mode] = y
				continue
			}
			for i, p := range want {
				if diff := math.Abs(float64(y[i] - portable[mode][i])); diff > 2e-6*p.sum {
					t.Fatalf("%v: output %d: %g, portable %g", mode, i, y[i], portable[mode][i])
				}
			}
		}
	})
}

// TestNF4BatchInvariance demands the same bits for a row whatever the number of rows and of threads.
func TestNF4BatchInvariance(t *testing.T) {
	everyISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(5, 6))
		const in, out, rows = 448, 83, 150
		x := gaussians(rng, rows*in, 1)
		for i, mode := range slices.Concat(modes, modes) {
			kind := []Kind{Block32, Block32, Block64, Block64, DoubleQ, DoubleQ}[i]
			w := pack(t, randomBlocks(rng, kind, in, out), mode)
			alone := make([]float32, 0, rows*out)
			for r := range rows {
				alone = append(alone, multiply(w, x[r*in:], in, 1, out, 1)...)
			}
			for n := 2; n <= rows; n += 1 + n/12 {
				for nth := 1; nth <= 3; nth++ {
					first := (rows - n) / 2
					y := multiply(w, x[first*in:], in, n, out, nth)
					if i := sameBits(y, alone[first*out:]); i >= 0 {
						t.Fatalf("%v: %d rows, %d threads: row %d output %d is %g, alone %g", mode, n, nth, i/out, i%out, y[i], alone[first*out+i])
					}
				}
			}
		}
	})
}

// TestNF4NotFinite: an infinity or a NaN among the activations must show in every output it reaches.
func TestNF4NotFinite(t *testing.T) {
	everyISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(7, 8))
		b := randomBlocks(rng, Block32, 64, 16)
		for i := range b.data { // no zero weights
			b.data[i] = 0x33
		}
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			for _, mode := range modes {
				x := gaussians(rng, 2*64, 1)
				x[rng.IntN(64)] = float32(bad)
				y := multiply(pack(t, b, mode), x, 64, 2, 16, 1)
				for i, v := range y {
					finite := !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0)
					if finite != (i >= 16) {
						t.Fatalf("%v with %v: output %d of row %d is %v", mode, bad, i%16, i/16, v)
					}
				}
			}
		}
	})
}

// TestNF4RoundTrip reads packed rows back.
func TestNF4RoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	for _, kind := range nf4Kinds {
		for _, out := range []int{1, 15, 16, 17, 100} {
			for _, in := range []int{64, 160, 192, 320, 1088, 2112} {
				if in%kind.width() != 0 {
					continue
				}
				b := randomBlocks(rng, kind, in, out)
				w := pack(t, b, I16)
				for r := range out {
					checkRow(t, w, b, r)
				}
				// What is padded: rows to a strip, and the scales at a row's end to 64 bytes for a strip.
				if least, most := len(b.data), SourceBytes(kind, in, (out+15)/16*16)+(out+15)/16*64; w.Bytes() < least || w.Bytes() > most {
					t.Fatalf("%v in %d out %d: %d bytes, expected %d to %d", kind, in, out, w.Bytes(), least, most)
				}
			}
		}
	}
}

// checkRow demands that a packed row reads back as the float product of its codebook values and scales, exactly.
func checkRow(t *testing.T, w *NF4, b blocks, row int) {
	t.Helper()
	got := make([]float32, b.in)
	w.DequantizeRow(row, got)
	for i := range got {
		code, scale := b.code(row, i)
		if want := float32(normalFloat[code]) * float32(scale); !(got[i] == want || got[i] != got[i] && want != want) {
			t.Errorf("shape (%d, %d): weight (%d, %d) is %g, want %g", b.out, b.in, row, i, got[i], want)
			return
		}
	}
}

// TestNF4BadRow finds the one scale that is not finite.
func TestNF4BadRow(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	const in, out = 1088, 37
	for _, kind := range nf4Kinds {
		b := randomBlocks(rng, kind, in, out)
		if got := BadRow(kind, b.data, in, out); got != -1 {
			t.Errorf("%v: row %d of finite scales", kind, got)
		}
		row, bytes := 35, []byte{0x00, 0xfc} // minus infinity
		at := row*in/kind.width()*(2+kind.width()/2) + 3*(2+kind.width()/2)
		if kind == DoubleQ { // the second tile of the third strip
			row, bytes = 32, []byte{1, 0, 0x80, 0x7f} // NaN
			at = 2*SourceBytes(kind, in, 16) + 4
		}
		copy(b.data[at:], bytes)
		if got := BadRow(kind, b.data, in, out); got != row {
			t.Errorf("%v: row %d, want %d", kind, got, row)
		}
	}
}

func TestNF4Refuses(t *testing.T) {
	for _, c := range []struct {
		kind           Kind
		bytes, in, out int
	}{
		{Block32, 18, 33, 1}, {Block32, 18, 0, 1}, {Block32, 18, 32, 0}, {Block32, 35, 32, 2}, {Block32, 37, 32, 2},
		{Block64, 36, 64, 1}, {Block64, 17, 32, 1}, {DoubleQ, 33, 64, 1}, {DoubleQ, 38, 64, 1},
	} {
		if w, err := PackNF4(c.kind, make([]byte, c.bytes), c.in, c.out, I16); err == nil {
			w.Close()
			t.Errorf("%+v: packed", c)
		}
	}
}
