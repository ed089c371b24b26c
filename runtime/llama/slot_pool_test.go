package llama

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// drawn shows the owners of blocks: a letter for each adapter, upper case where it is in use, and . where a block is free.
func drawn(owners []*slot) string {
	letters := map[*slot]byte{}
	var b strings.Builder
	for _, s := range owners {
		if s == nil {
			b.WriteByte('.')
			continue
		}
		if letters[s] == 0 {
			letters[s] = 'a' + byte(len(letters))
			if s.users > 0 {
				letters[s] -= 'a' - 'A'
			}
		}
		b.WriteByte(letters[s])
	}
	return b.String()
}

// blocksOf makes owners out of such a picture; the adapters were last used in the order of their letters.
func blocksOf(picture string) []*slot {
	slots := map[rune]*slot{}
	owners := make([]*slot, len(picture))
	for i, c := range picture {
		if c == '.' {
			continue
		}
		if slots[c] == nil {
			slots[c] = &slot{used: int64(strings.ToLower(string(c))[0]-'a') + 1}
			if c < 'a' {
				slots[c].users = 1
			}
		}
		owners[i] = slots[c]
		if slots[c].spans[0].n == 0 {
			slots[c].spans[0].first = i
		}
		slots[c].spans[0].n++
	}
	return owners
}

func TestRankClasses(t *testing.T) {
	for rank, want := range map[int]int{1: 1, 4: 1, 5: 2, 8: 2, 9: 4, 16: 4, 17: 8, 64: 16, 65: 32, 512: 128} {
		if got := (slotNeed{rank: rank}).blocks(); got != [2]int{want, 0} {
			t.Errorf("rank %d takes %v blocks, want %d", rank, got, want)
		}
	}
	if got := (slotNeed{vectors: true}).blocks(); got != [2]int{0, 1} {
		t.Errorf("vectors alone take %v blocks", got)
	}
}

func TestFindSpan(t *testing.T) {
	for _, c := range []struct {
		owners string
		n      int
		want   int // -1: none
	}{
		{"........", 2, 0},
		{"AA......", 1, 2}, // beside what is broken already
		{"AA......", 4, 4},
		{"A...B...", 4, -1},
		{"A.bbcc..", 2, 6},  // a free one first
		{"A.bbccdd", 2, 2},  // then the one that was used longest ago
		{"A.ddccbb", 2, 6},  // whatever its place
		{"aabbCCdd", 4, 0},  // several at once
		{"bbaaCCdd", 1, 2},  // the older one
		{"AaAaAaAa", 2, -1}, // there is room, but nowhere together
		{"aaaa", 8, -1},
		{"..........", 8, 0}, // not at 8: that would be past the end
	} {
		got, ok := findSpan(blocksOf(c.owners), c.n)
		if ok != (c.want >= 0) || got.first != c.want || got.n != c.n {
			t.Errorf("%d blocks in %q: %v, %v; want %d", c.n, c.owners, got, ok, c.want)
		}
	}
}

func TestPlanSlots(t *testing.T) {
	for _, c := range []struct {
		owners string
		needs  []slotNeed
		want   string // "": there is no room
	}{
		{"........", []slotNeed{{rank: 4}, {rank: 16}}, "AAAAB..."},    // the larger first
		{"........", []slotNeed{{rank: 8, vectors: true}}, "AAA....."}, // one adapter, two spans
		{"AAbbccdd", []slotNeed{{rank: 8}, {rank: 8}}, "AABBCCaa"},     // the two that were used longest ago
		{"AAbbbbBB", []slotNeed{{rank: 4}}, "AAB...CC"},                // an adapter goes whole
		{"AAbbCCdd", []slotNeed{{rank: 16}}, ""},                       // and nothing is evicted
		{"AAbbCCdd", []slotNeed{{rank: 8}, {rank: 8}, {rank: 1}}, ""},  // all or none
		{"....AAAA", []slotNeed{{rank: 0}, {rank: 16}}, "AAAABBBB"},    // one that needs no slot
		{"AAbb..cc", []slotNeed{{rank: 8, vectors: true}}, "AAB.BBbb"}, // its vectors where the older one was
	} {
		owners := blocksOf(c.owners)
		before := fmt.Sprint(owners)
		after, placed, ok := planSlots(owners, c.needs, 100)
		if ok != (c.want != "") {
			t.Errorf("%q %v: %v", c.owners, c.needs, ok)
			continue
		}
		if fmt.Sprint(owners) != before {
			t.Errorf("%q %v: the plan changed what it was given", c.owners, c.needs)
		}
		if !ok {
			continue
		}
		if got := drawn(after); !samePicture(got, c.want) {
			t.Errorf("%q %v: %s, want %s", c.owners, c.needs, got, c.want)
		}
		for i, s := range placed {
			if (s.spans[0].n > 0) != (c.needs[i].rank > 0) || s.spans[0].n > 0 && s.spans[0].first%s.spans[0].n != 0 {
				t.Errorf("%q: need %v has the span %v", c.owners, c.needs[i], s.spans)
			}
		}
	}
}

// samePicture compares pictures without regard to which letter stands for which adapter.
func samePicture(a, b string) bool {
	rename := map[byte]byte{}
	back := map[byte]byte{}
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		if (x == '.') != (y == '.') || (x < 'a') != (y < 'a') {
			return false
		}
		if rename[x] == 0 && back[y] == 0 {
			rename[x], back[y] = y, x
		}
		if rename[x] != y {
			return false
		}
	}
	return len(a) == len(b)
}

type fakeAdapter struct{ closed bool }

func (a *fakeAdapter) gone() bool { return a.closed }

// fakePool has 16 ranks, and adapters whose needs a test sets.
type fakePool struct {
	*slotPool
	needs    map[slotAdapter]slotNeed
	uploaded chan slotAdapter
	fail     error
}

func newFakePool() *fakePool {
	f := &fakePool{needs: map[slotAdapter]slotNeed{}, uploaded: make(chan slotAdapter, 10000)}
	f.slotPool = newSlotPool(16, 10, func(p slotAdapter) slotNeed { return f.needs[p] }, func(p slotAdapter, _ *slot) error {
		f.uploaded <- p
		return f.fail
	})
	return f
}

func (f *fakePool) adapter(rank int) *fakeAdapter {
	p := &fakeAdapter{}
	f.needs[p] = slotNeed{rank: rank}
	return p
}

func TestSlotPool(t *testing.T) {
	f := newFakePool()
	a, b, c := f.adapter(8), f.adapter(8), f.adapter(8)
	take := func(adapters ...slotAdapter) []*slot {
		t.Helper()
		s, err := f.take(adapters)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	inA, inA2, inB := take(a), take(a), take(b)
	if len(f.uploaded) != 2 {
		t.Errorf("%d uploads of two adapters, one of them used twice", len(f.uploaded))
	}
	if inA[0] != inA2[0] {
		t.Error("an adapter has two slots")
	}
	if _, err := f.take([]slotAdapter{c}); !errors.Is(err, errSlotsInUse) {
		t.Errorf("a third adapter of half the pool: %v", err)
	}
	if _, ok := f.tryTake([]slotAdapter{c}); ok {
		t.Error("an adapter that is not there was staged")
	}
	f.give(inA)
	if _, err := f.take([]slotAdapter{c}); !errors.Is(err, errSlotsInUse) {
		t.Errorf("the first adapter has another user, and was evicted: %v", err)
	}
	f.give(inA2)
	inC := take(c)
	if got := f.snapshot(); got != (runtime.SlotStats{Bytes: 160, Used: 160, Adapters: 2, Uploads: 3, Evictions: 1}) {
		t.Errorf("stats %+v", got)
	}
	f.give(inB)
	f.give(inC)
	again, ok := f.tryTake([]slotAdapter{b, c})
	if !ok || len(f.uploaded) != 3 {
		t.Error("adapters that are there are not found")
	}
	f.give(again)
	c.closed = true
	f.give(take(b))
	if got := f.snapshot(); got.Adapters != 1 || got.Used != 80 {
		t.Errorf("a closed adapter keeps its slot: %+v", got)
	}
	if err := f.check([]slotAdapter{f.adapter(16), a}); !errors.Is(err, runtime.ErrAdapter) || !strings.Contains(err.Error(), "160 bytes: 16 ranks (--adapter-memory)") {
		t.Errorf("a composition that can never fit: %v", err)
	}
	f.fail = errors.New("the link is down")
	if _, err := f.take([]slotAdapter{a}); !errors.Is(err, f.fail) {
		t.Errorf("a failed upload returns %v", err)
	}
	if got := f.snapshot(); got.Adapters != 1 || got.Used != 80 {
		t.Errorf("a failed upload leaves a slot: %+v", got)
	}
}

// Who waits for room gets it in the order of asking, a large adapter before small ones that came later.
func TestSlotPoolWaits(t *testing.T) {
	f := newFakePool()
	small := []slotAdapter{f.adapter(4), f.adapter(4), f.adapter(4)}
	large := f.adapter(16)
	held, _ := f.take(small[:2])
	order := make(chan string, 2)
	queued := func(n int) {
		for deadline := time.Now().Add(10 * time.Second); ; {
			f.mu.Lock()
			got := len(f.queue)
			f.mu.Unlock()
			if got == n {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d wait, want %d", got, n)
			}
			time.Sleep(time.Millisecond)
		}
	}
	var wg sync.WaitGroup
	wait := func(name string, p slotAdapter) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s, err := f.wait(t.Context(), []slotAdapter{p})
			if err != nil {
				t.Error(err)
			}
			order <- name
			f.give(s)
		}()
	}
	wait("large", large)
	queued(1)
	wait("small", small[2])
	queued(2)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := f.wait(ctx, []slotAdapter{f.adapter(4)})
		ended <- err
	}()
	queued(3)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that was given up returns %v", err)
	}
	f.give(held[:1])
	f.give(held[1:])
	wg.Wait()
	if first, second := <-order, <-order; first != "large" || second != "small" {
		t.Errorf("%s came before %s", first, second)
	}
}

// Whatever many users at once do: no slot is in two places, none in use is evicted, and the pool's bound holds.
func TestSlotPoolUnderLoad(t *testing.T) {
	f := newFakePool()
	r := rand.New(rand.NewPCG(1, 2))
	var all []slotAdapter
	for _, rank := range []int{1, 4, 4, 5, 8, 8, 16, 0} {
		all = append(all, f.adapter(rank))
	}
	mixes := make([][]slotAdapter, 200)
	for i := range mixes {
		mixes[i] = []slotAdapter{all[r.IntN(len(all))]}
		if r.IntN(4) == 0 {
			mixes[i] = append(mixes[i], all[r.IntN(3)])
		}
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := w; i < len(mixes); i += 8 {
				if f.check(mixes[i]) != nil {
					continue
				}
				slots, err := f.wait(t.Context(), mixes[i])
				if err != nil {
					t.Error(err)
					return
				}
				f.mu.Lock()
				for k, s := range slots {
					if f.slots[mixes[i][k]] != s {
						t.Error("a slot in use has gone")
					}
					for _, span := range s.spans {
						for b := span.first; b < span.first+span.n; b++ {
							if f.owners[b] != s {
								t.Error("two adapters share a block")
							}
						}
					}
				}
				f.mu.Unlock()
				f.give(slots)
			}
		}()
	}
	wg.Wait()
	for _, s := range f.slots {
		if s.users != 0 {
			t.Errorf("%d users of a slot are left", s.users)
		}
	}
}
