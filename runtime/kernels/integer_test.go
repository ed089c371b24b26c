//go:build cgo

package kernels

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// integers is a weight (out, in) in the form that packing reads, and what its weights are worth by the format's
// definition in ggml-common.h, in double precision.
type integers struct {
	format            Format
	in, out, rowBytes int
	data              []byte
	w                 []float64 // (out, in)
}

func randomIntegers(rng *rand.Rand, f Format, in, out int) integers {
	weights, size := f.block()
	m := integers{format: f, in: in, out: out, rowBytes: in/weights*size + 5, w: make([]float64, 0, in*out)}
	m.data = make([]byte, m.rowBytes*out)
	for r := range out {
		for b := range in / weights {
			block := m.data[r*m.rowBytes+b*size:][:size]
			for i := range block {
				block[i] = byte(rng.Uint32())
			}
			d := toHalf(1e-3 * math.Exp(rng.NormFloat64()))
			switch rng.IntN(40) {
			case 0:
				d = 0
			case 1:
				d = uint16(rng.IntN(1024)) // subnormal
			}
			if f == Q8_0 {
				binary.LittleEndian.PutUint16(block, d)
				for _, q := range block[2:] {
					m.w = append(m.w, fromHalf(d)*float64(int8(q)))
				}
				continue
			}
			binary.LittleEndian.PutUint16(block[208:], d)
			m.w = append(m.w, q6(block)...)
		}
	}
	return m
}

// q6 decodes 256 weights: ql holds the low four bits, qh the upper two, each 128 columns of them together.
func q6(block []byte) []float64 {
	ql, qh, scales, d := block[:128], block[128:192], block[192:208], fromHalf(binary.LittleEndian.Uint16(block[208:]))
	out := make([]float64, 256)
	for n := range 2 {
		for l := range 32 {
			low := ql[64*n:]
			high := qh[32*n+l]
			q := [4]int{
				int(low[l]&15) | int(high&3)<<4,
				int(low[l+32]&15) | int(high>>2&3)<<4,
				int(low[l]>>4) | int(high>>4&3)<<4,
				int(low[l+32]>>4) | int(high>>6&3)<<4,
			}
			for k := range q {
				out[128*n+32*k+l] = d * float64(int8(scales[8*n+2*k+l/16])) * float64(q[k]-32)
			}
		}
	}
	return out
}

// matmul returns the products (rows, out) with activations (rows, in): the exact value, the sum of the terms'
// magnitudes, and what rounding the activations to 127ths of each 32's largest can add up to.
func (m integers) matmul(x []float32, stride, rows int) (y, sum, bound []float64) {
	for t := range rows {
		for o := range m.out {
			var a, s, e float64
			for first := 0; first < m.in; first += 32 {
				most := 0.0
				for i := first; i < first+32; i++ {
					most = max(most, math.Abs(float64(x[t*stride+i])))
				}
				for i := first; i < first+32; i++ {
					w, v := m.w[o*m.in+i], float64(x[t*stride+i])
					a, s, e = a+w*v, s+math.Abs(w*v), e+math.Abs(w)*most/127/2
				}
			}
			y, sum, bound = append(y, a), append(sum, s), append(bound, e)
		}
	}
	return y, sum, bound
}

func packInteger(t testing.TB, m integers) *Integer {
	t.Helper()
	w, err := PackInteger(m.data, m.rowBytes, m.in, m.out, m.format)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// multiplyInteger runs both steps of a product over nth threads' shares; floats beyond the outputs are 42.
func multiplyInteger(w *Integer, x []float32, xStride, rows, yStride, nth int) []float32 {
	stride := IntegerActivationBytes(w.In) + 64
	xq := make([]byte, rows*stride)
	for ith := range nth {
		IntegerActivations(w.In, x, xStride, rows, xq, stride, ith, nth)
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

var formats = []Format{Q8_0, Q6K}

// TestIntegerProducts holds every output of many shapes to what rounding the activations can add up to, and 2e-6
// of the sum of the terms' magnitudes for sums in floats; and of activations as they are, to that alone.
func TestIntegerProducts(t *testing.T) {
	everyISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(11, 12))
		for _, f := range formats {
			weights, _ := f.block()
			for _, in := range []int{weights, 3 * weights, 1280} {
				for _, out := range []int{1, 15, 17, 40} {
					m := randomIntegers(rng, f, in, out)
					w := packInteger(t, m)
					for _, rows := range []int{1, 2, 7, 33} {
						name := fmt.Sprintf("%v: in %d out %d rows %d", f, in, out, rows)
						xStride, yStride := in+3, out+5
						x := activations(rng, in, rows, xStride)
						want, sum, bound := m.matmul(x, xStride, rows)
						y := multiplyInteger(w, x, xStride, rows, yStride, 2)
						checkIntegers(t, name, want, sum, bound, y, out, yStride)
						multiplyF32(w, x, xStride, rows, y, yStride, 2)
						checkIntegers(t, name+" as f32", want, sum, make([]float64, len(bound)), y, out, yStride)
					}
				}
			}
		}
	})
}

func checkIntegers(t *testing.T, name string, want, sum, bound []float64, y []float32, out, yStride int) {
	t.Helper()
	for i, got := range y {
		row, o := i/yStride, i%yStride
		if o >= out {
			if got != 42 {
				t.Fatalf("%s: wrote beyond the outputs", name)
			}
			continue
		}
		k := row*out + o
		if diff := math.Abs(float64(got) - want[k]); !(diff <= bound[k]+2e-6*sum[k]) {
			t.Fatalf("%s: row %d output %d: got %g, want %g, bound %g", name, row, o, got, want[k], bound[k]+2e-6*sum[k])
		}
	}
}

// TestIntegerError holds the root mean square error of a large product to 1e-2 relative (ggml's own rounding of
// activations to Q8_0 and Q8_K has 4e-3 to 8e-3 on the same), and the paths to each other.
func TestIntegerError(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	const in, out, rows = 1280, 128, 5
	x := gaussians(rng, rows*in, 1)
	for _, f := range formats {
		m := randomIntegers(rng, f, in, out)
		want, sum, _ := m.matmul(x, in, rows)
		var portable []float32
		everyISA(t, func(t *testing.T) {
			y := multiplyInteger(packInteger(t, m), x, in, rows, out, 1)
			var e, s float64
			for i := range want {
				e += (float64(y[i]) - want[i]) * (float64(y[i]) - want[i])
				s += want[i] * want[i]
			}
			rms := math.Sqrt(e / s)
			t.Logf("%v: relative rms error %.2e", f, rms)
			if !(rms <= 1e-2) {
				t.Errorf("%v: relative rms error %.2e, limit 1e-2", f, rms)
			}
			if CurrentISA() == Portable {
				portable = y
				return
			}
			for i := range want {
				if diff := math.Abs(float64(y[i] - portable[i])); diff > 2e-6*sum[i] {
					t.Fatalf("%v: output %d: %g, portable %g", f, i, y[i], portable[i])
				}
			}
		})
	}
}

// TestIntegerBatchInvariance demands the same bits for a row whatever the number of rows and of threads.
func TestIntegerBatchInvariance(t *testing.T) {
	everyISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(15, 16))
		const in, out, rows = 512, 83, 150
		x := gaussians(rng, rows*in, 1)
		for _, f := range formats {
			w := packInteger(t, randomIntegers(rng, f, in, out))
			alone, aloneF32 := make([]float32, 0, rows*out), make([]float32, rows*out)
			for r := range rows {
				alone = append(alone, multiplyInteger(w, x[r*in:], in, 1, out, 1)...)
				w.MatMulF32(x[r*in:], in, 1, aloneF32[r*out:], out, 0, 1)
			}
			for n := 2; n <= rows; n += 1 + n/3 {
				for nth := 1; nth <= 3; nth++ {
					first := (rows - n) / 2
					y := multiplyInteger(w, x[first*in:], in, n, out, nth)
					if i := sameBits(y, alone[first*out:]); i >= 0 {
						t.Fatalf("%v: %d rows, %d threads: row %d output %d is %g, alone %g", f, n, nth, i/out, i%out, y[i], alone[first*out+i])
					}
					multiplyF32(w, x[first*in:], in, n, y, out, nth)
					if i := sameBits(y, aloneF32[first*out:]); i >= 0 {
						t.Fatalf("%v as f32: %d rows, %d threads: row %d output %d is %g, alone %g", f, n, nth, i/out, i%out, y[i], aloneF32[first*out+i])
					}
				}
			}
		}
	})
}

// TestIntegerNotFinite: an infinity or a NaN among the activations must show in every output of its row.
func TestIntegerNotFinite(t *testing.T) {
	everyISA(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(17, 18))
		for _, f := range formats {
			w := packInteger(t, randomIntegers(rng, f, 256, 16))
			for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
				x := gaussians(rng, 2*256, 1)
				x[rng.IntN(256)] = float32(bad)
				for i, v := range multiplyInteger(w, x, 256, 2, 16, 1) {
					finite := !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0)
					if finite != (i >= 16) {
						t.Fatalf("%v with %v: output %d of row %d is %v", f, bad, i%16, i/16, v)
					}
				}
			}
		}
	})
}

// TestIntegerRoundTrip reads packed rows back: every weight is the format's, rounded to a float.
func TestIntegerRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(19, 20))
	for _, f := range formats {
		for _, out := range []int{1, 15, 16, 100} {
			for _, in := range []int{256, 1280} {
				m := randomIntegers(rng, f, in, out)
				w := packInteger(t, m)
				got := make([]float32, in)
				for r := range out {
					w.DequantizeRow(r, got)
					for i, v := range got {
						if want := m.w[r*in+i]; math.Abs(float64(v)-want) > 1.3e-7*math.Abs(want) {
							t.Fatalf("%v (%d, %d): weight (%d, %d) is %g, want %g", f, out, in, r, i, v, want)
						}
					}
				}
			}
		}
	}
}

func TestIntegerRefuses(t *testing.T) {
	for _, c := range []struct {
		f                        Format
		bytes, rowBytes, in, out int
	}{
		{Q8_0, 34, 34, 33, 1}, {Q8_0, 34, 34, 0, 1}, {Q8_0, 67, 34, 32, 2}, {Q8_0, 68, 33, 32, 2},
		{Q6K, 210, 210, 32, 1}, {Q6K, 210, 210, 256, 0}, {Q6K, 419, 210, 256, 2}, {Q6K, 420, 209, 256, 2},
	} {
		if w, err := PackInteger(make([]byte, c.bytes), c.rowBytes, c.in, c.out, c.f); err == nil {
			w.Close()
			t.Errorf("%+v: packed", c)
		}
	}
}

// BenchmarkInteger prints the bytes of weight read per second at one row, and multiply-adds per second at more,
// on one thread over a head of 32000 outputs.
func BenchmarkInteger(b *testing.B) {
	rng := rand.New(rand.NewPCG(21, 22))
	const out = 32000
	x := gaussians(rng, 64*benchIn, 1)
	y := make([]float32, 64*out)
	for _, f := range formats {
		weights, size := f.block()
		row := make([]byte, benchIn/weights*size*out)
		for i := range row {
			row[i] = byte(i*7) & 0x3b // scales that are finite numbers
		}
		w, err := PackInteger(row, benchIn/weights*size, benchIn, out, f)
		if err != nil {
			b.Fatal(err)
		}
		defer w.Close()
		stride := IntegerActivationBytes(benchIn)
		xq := make([]byte, 64*stride)
		b.Run(f.String(), func(b *testing.B) {
			benchISA(b, func(b *testing.B) {
				for _, rows := range []int{1, 8, 16, 64} {
					b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
						for b.Loop() {
							IntegerActivations(benchIn, x, benchIn, rows, xq, stride, 0, 1)
							w.MatMul(xq, stride, rows, y, out, 0, 1)
						}
						seconds := b.Elapsed().Seconds() / float64(b.N)
						if rows == 1 {
							b.ReportMetric(float64(len(row))/seconds/1e9, "GB/s")
						} else {
							b.ReportMetric(float64(rows)*benchIn*out/seconds/1e9, "GMAC/s")
						}
					})
				}
			})
		})
	}
}
