package adapters

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// copying counts the bytes of the float32 copies that are held at the same time.
type copying struct {
	*fakeVersions
	now, most atomic.Int64
}

func (v *copying) load(digest string) (*runtime.LoRA, error) {
	a, err := v.fakeVersions.load(digest)
	if err != nil {
		return nil, err
	}
	n := 4 * int64(a.Modules[0].Rank)
	if now := v.now.Add(n); now > v.most.Load() {
		v.most.Store(now)
	}
	time.Sleep(time.Second) // while it is packed
	v.now.Add(-n)
	return a, nil
}

// TestCacheBoundsTheCopies loads many adapters at once: their copies take a quarter of the budget, or those of the largest
// what it needs by itself, and small ones are still loaded together.
func TestCacheBoundsTheCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const budget = 4000
		v := &copying{fakeVersions: newFakeVersions(map[string]int64{"a": 100, "b": 100, "c": 100, "d": 100, "e": 100, "large": 500})}
		c := newCache(CacheOptions{Budget: budget, Loaders: 8, Estimate: func(i Info) int64 { return i.Parameters },
			Pack: func(a *runtime.LoRA) (runtime.Packed, error) {
				return &fakePacked{name: a.Modules[0].Tensor, bytes: int64(a.Modules[0].Rank), total: new(atomic.Int64)}, nil
			}}, v)
		load := func(names ...string) {
			var all sync.WaitGroup
			for _, name := range names {
				all.Go(func() {
					s, err := c.Select([]Ref{{Name: name, Scale: 1}})
					if err != nil {
						t.Error(err)
						return
					}
					defer s.Release()
					m, err := s.Acquire(context.Background())
					if err != nil {
						t.Error(err)
						return
					}
					m.Release()
				})
			}
			all.Wait()
		}
		load("a", "b", "c", "d", "e")
		if most := v.most.Load(); most > budget/copiesPart || most < 800 {
			t.Errorf("copies of %d bytes at a time, a quarter of %d is allowed", most, budget)
		}
		load("large")
		if most := v.most.Load(); most != 2000 {
			t.Errorf("beside a large one, copies of %d bytes", most)
		}
	})
}
