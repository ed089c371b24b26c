//go:build cgo

package kernels

import (
	"math/rand/v2"
	"sync"
	"testing"
)

// TestPackConcurrently packs and frees from several goroutines, in changing order, and checks that no
// weight was touched by another's coming or going.
func TestPackConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 15))
			var live []*NF4
			var source []blocks
			for range 120 {
				if len(live) > 8 {
					i := rng.IntN(len(live))
					checkRow(t, live[i], source[i], rng.IntN(live[i].Out))
					live[i].Close()
					live[i], source[i] = live[len(live)-1], source[len(source)-1]
					live, source = live[:len(live)-1], source[:len(source)-1]
				}
				b := randomBlocks(rng, Block32, 32*(1+rng.IntN(20)), 1+rng.IntN(300))
				w, err := PackNF4(b.kind, b.data, b.in, b.out, I16)
				if err != nil {
					t.Error(err)
					return
				}
				live, source = append(live, w), append(source, b)
			}
			for i, w := range live {
				checkRow(t, w, source[i], w.Out-1)
				w.Close()
				w.Close()
			}
		})
	}
	wg.Wait()
}

// TestPackLarge packs a weight beyond the size of a shared mapping.
func TestPackLarge(t *testing.T) {
	const in, out = 4096, 33000
	b := blocks{in: in, out: out, data: make([]byte, SourceBytes(Block32, in, out))}
	for i := range b.data {
		b.data[i] = byte(i*7 + i>>11)
	}
	w := pack(t, b, I16)
	for _, r := range []int{0, 1, out / 2, out - 1} {
		checkRow(t, w, b, r)
	}
}
