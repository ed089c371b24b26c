//go:build cgo

package kernels

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// The benchmarks run on one thread, over enough weights that they come from memory as in a decode, on a
// shape of a 0.5B model: 3584 outputs, 1280 inputs. The paths and modes stand side by side:
//
//	go test -bench . ./runtime/kernels
const benchIn, benchOut = 1280, 3584

// benchISA runs f with each path of this CPU, the best first.
func benchISA(b *testing.B, f func(b *testing.B)) {
	for isa := BestISA(); isa >= Portable; isa-- {
		b.Run(isa.String(), func(b *testing.B) {
			defer ForceISA(BestISA())
			ForceISA(isa)
			f(b)
		})
	}
}

// BenchmarkNF4 prints the weights multiplied per second at one row (and the bytes of the packed weight read for
// that), and multiply-adds per second at more. The kinds stand side by side. The share of the activations'
// preparation is that of one in four products, as for q, k, v and gate, up.
func BenchmarkNF4(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	x := gaussians(rng, 512*benchIn, 1)
	y := make([]float32, 512*benchOut)
	for _, mode := range []Mode{I16, I8, F32} {
		stride := ActivationBytes(mode, benchIn)
		xq := make([]byte, 512*stride)
		for t := range 512 { // mode F32 reads them as they are; the others overwrite this
			copy(xq[t*stride:(t+1)*stride], asBytes(x[t*benchIn:(t+1)*benchIn]))
		}
		benchISA(b, func(b *testing.B) {
			for _, rows := range []int{1, 2, 4, 8, 16, 64, 256, 512} {
				for _, kind := range nf4Kinds {
					b.Run(fmt.Sprintf("%v/rows=%d/%v", mode, rows, kind), func(b *testing.B) {
						source := randomBlocks(rng, kind, benchIn, benchOut)
						weights := make([]*NF4, 24)
						for i := range weights {
							weights[i] = pack(b, source, mode)
						}
						for i := 0; b.Loop(); i++ {
							if mode != F32 && i%4 == 0 {
								Activations(mode, benchIn, x, benchIn, rows, xq, stride, 0, 1)
							}
							weights[i%len(weights)].MatMul(xq, stride, rows, y, benchOut, 0, 1)
						}
						seconds := b.Elapsed().Seconds() / float64(b.N)
						b.ReportMetric(float64(rows)*benchIn*benchOut/seconds/1e9, "GMAC/s")
						if rows == 1 {
							b.ReportMetric(float64(weights[0].Bytes())/seconds/1e9, "GB/s")
						}
					})
				}
			}
		})
	}
}

// BenchmarkLoRA prints the microseconds that a rank-16 module adds per row, where each row has its own
// adapter and where all have the same.
func BenchmarkLoRA(b *testing.B) {
	const rank, adapters, layers = 16, 16, 24
	rng := rand.New(rand.NewPCG(2, 2))
	down, up := gaussians(rng, rank*benchIn, 1), gaussians(rng, benchOut*rank, 1)
	x := gaussians(rng, 512*benchIn, 1)
	y := make([]float32, 512*benchOut)
	for _, storage := range []Storage{StoreF16, StoreF32} {
		b.Run(storage.String(), func(b *testing.B) {
			var modules [layers][adapters]*LoRA
			for l := range modules {
				for i := range modules[l] {
					m, err := PackLoRA(down, up, rank, benchIn, benchOut, storage)
					if err != nil {
						b.Fatal(err)
					}
					defer m.Close()
					modules[l][i] = m
				}
			}
			width := modules[0][0].Hidden()
			h := make([]float32, 512*width)
			benchISA(b, func(b *testing.B) {
				for _, c := range []struct {
					name    string
					rows, n int
				}{{"one", 1, 1}, {"different", 8, 8}, {"different", 16, 16}, {"same", 16, 1}, {"same", 512, 1}} {
					b.Run(fmt.Sprintf("%s/rows=%d", c.name, c.rows), func(b *testing.B) {
						var rows [layers]*Rows
						for l := range rows {
							terms := make([][]Term, c.rows)
							for t := range terms {
								terms[t] = []Term{{modules[l][t%c.n], 1e-3}}
							}
							rows[l] = NewRows(terms)
							defer rows[l].Close()
						}
						for i := 0; b.Loop(); i++ {
							rows[i%layers].Shrink(x, benchIn, benchIn, h, width, 0, 1)
							rows[i%layers].Expand(h, width, y, benchOut, benchOut, 0, 1)
						}
						b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/float64(c.rows)*1e6, "us/row")
					})
				}
			})
		})
	}
}

// BenchmarkPack prints the megabytes per second that packing reads: of NF4 blocks, and of LoRA floats.
func BenchmarkPack(b *testing.B) {
	rng := rand.New(rand.NewPCG(3, 3))
	b.Run("nf4", func(b *testing.B) {
		source := randomBlocks(rng, Block32, benchIn, benchOut)
		b.SetBytes(benchIn * benchOut / 32 * 18)
		for b.Loop() {
			w, err := PackNF4(Block32, source.data, benchIn, benchOut, I16)
			if err != nil {
				b.Fatal(err)
			}
			w.Close()
		}
	})
	b.Run("lora", func(b *testing.B) {
		const rank = 16
		down, up := gaussians(rng, rank*benchIn, 1), gaussians(rng, benchOut*rank, 1)
		b.SetBytes(4 * rank * (benchIn + benchOut))
		for b.Loop() {
			m, err := PackLoRA(down, up, rank, benchIn, benchOut, StoreF16)
			if err != nil {
				b.Fatal(err)
			}
			m.Close()
		}
	})
}
