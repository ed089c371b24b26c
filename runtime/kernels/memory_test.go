//go:build cgo

package kernels

import (
	"math/rand/v2"
	"sync"
	"testing"
)

// TestPackConcurrently packs and frees from several goroutines, in changing order, and checks that no
// weight was changed by the packing or freeing of another.
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

// Freed memory is used again: however many weights of mixed sizes are packed and freed beside one that stays, the address
// space that they take is bounded by those that exist at the same time.
func TestFreedMemoryIsReused(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 4))
	first := randomBlocks(rng, Block32, 2048, 300)
	kept := pack(t, first, I16)
	defer kept.Close()
	const atOnce, most = 6, 2048 * 4000
	bound := mappedBytes() + atOnce*most // bytes of weights; each takes less than one byte
	type live struct {
		w *NF4
		b blocks
	}
	var all []live
	packed := 0
	for range 300 {
		if len(all) == atOnce {
			i := rng.IntN(atOnce)
			checkRow(t, all[i].w, all[i].b, all[i].b.out-1)
			all[i].w.Close()
			all = append(all[:i], all[i+1:]...)
		}
		b := blocks{kind: Block32, in: 2048, out: 1 + rng.IntN(4000)}
		b.data = make([]byte, SourceBytes(Block32, b.in, b.out))
		for i := range b.data {
			b.data[i] = byte(i*5 + b.out)
		}
		w, err := PackNF4(b.kind, b.data, b.in, b.out, I16)
		if err != nil {
			t.Fatal(err)
		}
		packed += w.Bytes()
		all = append(all, live{w, b})
		if n := mappedBytes(); n > bound {
			t.Fatalf("after %d bytes of weights %d are mapped, want at most %d", packed, n, bound)
		}
	}
	for _, l := range all {
		checkRow(t, l.w, l.b, 0)
		l.w.Close()
	}
	checkRow(t, kept, first, 299)
	if packed < 4*bound {
		t.Errorf("%d bytes of weights prove nothing about a bound of %d", packed, bound)
	}
}
