package adapters

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

func TestCacheLoadsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 100, sizes(10, "a b"))
		defer c.end()
		if c.try("a") {
			t.Error("an adapter that is not in memory was lent without waiting")
		}
		var all []<-chan any
		for range 20 {
			all = append(all, c.later(context.Background(), "a"))
		}
		synctest.Wait()
		if c.try("a") || c.usage("digest-of-a").Loaded {
			t.Error("an adapter that is loading counts as loaded")
		}
		time.Sleep(c.fake.took)
		synctest.Wait()
		for _, x := range all {
			m := granted(t, x)
			if m == nil {
				t.Fatal("not lent after the load")
			}
			m.Release()
			m.Release()
		}
		if !c.try("a") || !c.usage("digest-of-a").Loaded || c.fake.loads["digest-of-a"] != 1 {
			t.Errorf("loads %v", c.fake.loads)
		}
		s := c.Stats()
		if s.Resident != 1 || s.Pinned != 0 || s.Bytes != 10 || s.Loads != 1 || s.LoadSeconds != 1 || s.Budget != 100 {
			t.Errorf("stats %+v", s)
		}
		if len(c.seen) != 1 || c.seen[0].Name != "a" || c.seen[0].Bytes != 10 || c.seen[0].Took != time.Second {
			t.Errorf("observed %+v", c.seen)
		}
	})
}

func TestCacheEvictsTheLeastRecentlyUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 30, sizes(10, "a b c d e"))
		defer c.end()
		for _, n := range []string{"a", "b", "c", "a", "d"} {
			c.use(n)
		}
		if got := c.resident(); got != "a c d" {
			t.Errorf("resident are %s, want a c d", got)
		}
		pinned := c.acquire("c")
		c.use("e")
		c.use("b")
		if got := c.resident(); got != "b c e" {
			t.Errorf("resident are %s, want b c e: c is pinned", got)
		}
		pinned.Release()
		if s := c.Stats(); s.Evictions != 3 || s.Loads != 6 {
			t.Errorf("stats %+v", s)
		}
		if c.peak.Load() > 30 {
			t.Errorf("%d bytes were in memory at once", c.peak.Load())
		}
	})
}

func TestCacheKeepsWhatTheCompositionNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 30, sizes(10, "a b c d"))
		defer c.end()
		for _, n := range []string{"a", "b", "c"} {
			c.use(n)
		}
		c.use("a+d") // a is the oldest, and wanted: b goes
		if got := c.resident(); got != "a c d" {
			t.Errorf("resident are %s, want a c d", got)
		}
	})
}

// TestCacheIsFair has two streams that keep a hot adapter pinned in turn. Without the queue a cold one, which
// needs its room, would never get it.
func TestCacheIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 10, sizes(10, "hot cold base"))
		defer c.end()
		one := c.acquire("hot")
		cold := c.later(context.Background(), "cold")
		synctest.Wait()
		if c.try("hot") {
			t.Error("a hot adapter was lent past the one who waits")
		}
		two := c.later(context.Background(), "hot")
		synctest.Wait()
		if s := c.Stats(); s.Waiting != 2 {
			t.Errorf("%d wait, want 2", s.Waiting)
		}
		one.Release()
		time.Sleep(c.fake.took)
		synctest.Wait()
		m := granted(t, cold)
		if m == nil || granted(t, two) != nil {
			t.Fatal("the cold adapter's turn was not next")
		}
		empty, err := c.Select(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := empty.TryAcquire(); !ok {
			t.Error("the base waits for adapters' room")
		}
		m.Release()
		time.Sleep(c.fake.took)
		synctest.Wait()
		if m = granted(t, two); m == nil {
			t.Fatal("the hot adapter does not come back")
		}
		m.Release()
	})
}

// TestCacheAcquiresAllOrNothing lets compositions that overlap in turn want room that only one can have.
func TestCacheAcquiresAllOrNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 20, sizes(10, "a b c"))
		defer c.end()
		one := c.acquire("a+b")
		two := c.later(context.Background(), "b+c")
		synctest.Wait()
		three := c.later(context.Background(), "c+a")
		synctest.Wait()
		if s := c.Stats(); s.Waiting != 2 || s.Pinned != 2 {
			t.Errorf("stats %+v: who waits must hold nothing", s)
		}
		one.Release()
		time.Sleep(2 * c.fake.took)
		synctest.Wait()
		m := granted(t, two)
		if m == nil || granted(t, three) != nil {
			t.Fatal("not in turn")
		}
		m.Release()
		time.Sleep(2 * c.fake.took)
		synctest.Wait()
		if m = granted(t, three); m == nil {
			t.Fatal("the third composition never comes")
		}
		m.Release()
	})
}

func TestCacheRefusesWhatNeverFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 25, map[string]int64{"a": 10, "b": 10, "c": 10, "big": 26, "grows": 13})
		defer c.end()
		_, err := c.Select([]Ref{{Name: "big", Scale: 1}})
		pefttest.WantError(t, err, ErrTooLarge, "big", "26", "25")
		_, err = c.Select([]Ref{{Name: "a", Scale: 1}, {Name: "b", Scale: 1}, {Name: "c", Scale: 1}})
		pefttest.WantError(t, err, ErrTooLarge, "a+b+c", "30", "25")
		c.use("a+b")
		c.grow = 2
		for range 2 { // found out by packing it, then known
			s, err := c.Select([]Ref{{Name: "grows", Scale: 1}})
			if err == nil {
				_, err = s.Acquire(context.Background())
				s.Release()
			}
			pefttest.WantError(t, err, ErrTooLarge, "grows", "26", "25")
		}
		if c.fake.loads["digest-of-grows"] != 1 {
			t.Errorf("loads %v", c.fake.loads)
		}
	})
}

// TestCacheCorrectsEstimates admits two adapters by estimates that prove too small.
func TestCacheCorrectsEstimates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 50, sizes(10, "a b c d"))
		defer c.end()
		c.grow = 2
		one := c.acquire("a+b") // 40 bytes where 20 were expected
		if s := c.Stats(); s.Bytes != 40 {
			t.Errorf("%d bytes", s.Bytes)
		}
		two := c.acquire("c") // 60 bytes: over the budget until someone ends
		third := c.later(context.Background(), "d")
		synctest.Wait()
		if s := c.Stats(); s.Bytes != 60 || s.Waiting != 1 {
			t.Errorf("stats %+v", s)
		}
		two.Release()
		time.Sleep(c.fake.took)
		synctest.Wait()
		m := granted(t, third)
		if m == nil {
			t.Fatal("there is room for d by its estimate")
		}
		one.Release()
		m.Release()
		if s := c.Stats(); s.Bytes > 50 {
			t.Errorf("%d bytes stay, 50 may", s.Bytes)
		}
	})
}

func TestCacheErrorsReachAllAndAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 20, sizes(10, "a b c"))
		defer c.end()
		c.fake.fails["a"] = ErrDamaged
		one := c.later(context.Background(), "a")
		synctest.Wait()
		two := c.later(context.Background(), "b+a")
		synctest.Wait()
		three := c.later(context.Background(), "c")
		time.Sleep(3 * c.fake.took)
		synctest.Wait()
		for _, x := range []<-chan any{one, two} {
			err, _ := (<-x).(error)
			pefttest.WantError(t, err, ErrDamaged, `"a"`)
		}
		if m := granted(t, three); m == nil {
			t.Error("the room of a failed load is lost")
		} else {
			m.Release()
		}
		if s := c.Stats(); s.Failures != 1 || c.fake.loads["digest-of-a"] != 1 {
			t.Errorf("stats %+v", s)
		}
		delete(c.fake.fails, "a")
		c.use("a")
	})
}

func TestCacheCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 10, sizes(10, "a b c"))
		defer c.end()
		one := c.acquire("a")
		ctx, cancel := context.WithCancel(context.Background())
		head := c.later(ctx, "b")
		synctest.Wait()
		hot := c.later(context.Background(), "a") // has room, but stands behind b
		synctest.Wait()
		cancel()
		synctest.Wait()
		if err, _ := (<-head).(error); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while it waited: %v", err)
		}
		m := granted(t, hot)
		if m == nil {
			t.Fatal("who stood behind the cancelled one still waits")
		}
		m.Release()
		one.Release()

		ctx, cancel = context.WithCancel(context.Background())
		loading := c.later(ctx, "b")
		synctest.Wait()
		cancel()
		synctest.Wait()
		if err, _ := (<-loading).(error); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while it loaded: %v", err)
		}
		time.Sleep(c.fake.took)
		synctest.Wait()
		if !c.try("b") {
			t.Error("a load that had begun was thrown away")
		}
		if _, err := c.selection("c").Acquire(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("acquired with a context that has ended: %v", err)
		}
		c.fake.drop("digest-of-c")
	})
}

// TestCacheSkipsAbandonedLoads cancels an acquire whose load has not begun: it is not made, and the next acquire
// starts another.
func TestCacheSkipsAbandonedLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 100, sizes(10, "a b"))
		defer c.end()
		a := c.later(context.Background(), "a")
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		b := c.later(ctx, "b")
		synctest.Wait()
		cancel()
		time.Sleep(c.fake.took)
		synctest.Wait()
		<-b
		granted(t, a).Release()
		if c.fake.loads["digest-of-b"] != 0 || c.resident() != "a" {
			t.Errorf("loads %v, resident %s", c.fake.loads, c.resident())
		}
		c.use("b")
	})
}

func TestCacheClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 20, sizes(10, "a b c d"))
		pinned := c.acquire("a")
		loading := c.later(context.Background(), "b")
		synctest.Wait()
		waiting := c.later(context.Background(), "c+d")
		synctest.Wait()
		c.Close()
		if err, _ := (<-waiting).(error); !errors.Is(err, ErrClosed) {
			t.Errorf("who waited gets %v", err)
		}
		if m, ok := (<-loading).(*runtime.Mix); ok {
			m.Release()
		}
		c.check(pinned, "a")
		if c.try("a") {
			t.Error("a closed cache lends")
		}
		pinned.Release()
		c.end()
	})
}

// TestCacheManyAdapters lets 16 users of 500 adapters, some in compositions, share memory for 8.
func TestCacheManyAdapters(t *testing.T) {
	all := make(map[string]int64)
	for i := range 500 {
		all[fmt.Sprint("a", i)] = 10
	}
	c := newCacheTest(t, 80, all)
	c.fake.took = 0
	c.o.Observe = func(Load) {}
	c.slots = make(chan struct{}, 2)
	var wg sync.WaitGroup
	for user := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(user), 1))
			for range 200 {
				var names []string
				for range 1 + rng.IntN(MaxTerms) {
					if n := fmt.Sprint("a", rng.IntN(500)); !slices.Contains(names, n) {
						names = append(names, n)
					}
				}
				ctx, cancel := context.WithCancel(context.Background())
				if rng.IntN(8) == 0 {
					cancel()
				}
				s := c.selection(strings.Join(names, "+"))
				m, ok := s.TryAcquire()
				var err error
				if !ok {
					m, err = s.Acquire(ctx)
				}
				if err == nil {
					c.check(m, strings.Join(names, "+"))
					m.Release()
				} else if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				s.Release()
				cancel()
			}
		})
	}
	wg.Wait()
	if c.peak.Load() > 80 {
		t.Errorf("%d bytes were in memory at once, 80 may", c.peak.Load())
	}
	if s := c.Stats(); s.Resident == 0 || s.Resident > 8 || s.Pinned != 0 {
		t.Errorf("stats %+v", s)
	}
	c.end()
}
