package adapters

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// weights are an adapter in no store that takes n bytes in a cacheTest.
func weights(name string, n int) *runtime.LoRA {
	return &runtime.LoRA{Modules: []runtime.LoRAModule{{Tensor: name, Rank: n, In: 1}}}
}

// place adds an unstored adapter.
func (c *cacheTest) place(name string, n int) *Unstored {
	c.t.Helper()
	u, err := c.AddUnstored(context.Background(), name, weights(name, n))
	if err != nil {
		c.t.Fatal(err)
	}
	return u
}

// lend selects and acquires an unstored adapter.
func (c *cacheTest) lend(u *Unstored, name string) (*Selection, runtime.Mix) {
	c.t.Helper()
	s := u.Select(1)
	m, ok := s.TryAcquire()
	if !ok {
		c.t.Fatalf("%s is not in memory", name)
	}
	c.check(m, name)
	return s, m
}

func TestUnstoredIsHeldUntilItsLastUseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 100, nil)
		defer c.end()
		u := c.place("live", 10)
		s, m := c.lend(u, "live")
		queued := u.Select(0.5) // of a request that has not begun
		if s.Key() == "" || s.Flow() != "live" || !strings.HasPrefix(s.Label(), "live@") || !strings.HasSuffix(queued.Key(), "*0.5") {
			t.Errorf("key %q, flow %q, label %q, with a scale %q", s.Key(), s.Flow(), s.Label(), queued.Key())
		}
		if u.Bytes() != 10 {
			t.Errorf("it takes %d bytes", u.Bytes())
		}
		u.Close()
		u.Close()
		s.Release()
		if m2, ok := queued.TryAcquire(); !ok {
			t.Error("a request that began before Close does not get the adapter")
		} else {
			c.check(m2, "live")
			m2.Release()
		}
		queued.Release()
		queued.Release()
		c.check(m, "live")
		if got := c.total.Load(); got != 10 {
			t.Errorf("%d bytes are in memory while a stream runs", got)
		}
		m.Release()
		if got := c.total.Load(); got != 0 || c.Stats().Bytes != 0 {
			t.Errorf("%d bytes are in memory after the last stream", got)
		}
		late := u.Select(1)
		defer late.Release()
		c.fake.took = 0
		c.fake.fails[c.residentName(late)] = &UnknownError{Name: "live"}
		if _, err := late.Acquire(context.Background()); !errors.Is(err, ErrUnknown) {
			t.Errorf("after Close it is lent: %v", err)
		}
	})
}

// residentName is how the fake store would call the only adapter of a selection.
func (c *cacheTest) residentName(s *Selection) string {
	return strings.TrimPrefix(s.want[0].Digest, "digest-of-")
}

func TestUnstoredHasAKeyOfItsOwnEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 100, nil)
		defer c.end()
		keys := make(map[string]bool)
		for range 5 {
			u := c.place("live", 10)
			s := u.Select(1)
			keys[s.Key()] = true
			s.Release()
			u.Close()
		}
		if len(keys) != 5 {
			t.Errorf("five placings have %d keys: cached prefixes of earlier weights would be used for later ones", len(keys))
		}
		if len(c.sizes) != 0 || c.Stats().Loads != 0 || len(c.seen) != 0 {
			t.Errorf("placings are counted as loads: %d sizes, %+v, observed %v", len(c.sizes), c.Stats(), c.seen)
		}
	})
}

func TestUnstoredEvictsIdleAdaptersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 30, sizes(10, "a b c"))
		defer c.end()
		for _, n := range []string{"a", "b", "c"} {
			c.use(n)
		}
		pinned := c.acquire("a")
		u := c.place("live", 10)
		if got := c.resident(); got != "a c live" {
			t.Errorf("resident are %s, want a c live", got)
		}
		c.use("b") // takes the place of c: live stays though no stream uses it
		c.use("c")
		if got := c.resident(); got != "a c live" {
			t.Errorf("resident are %s, want a c live", got)
		}
		if s := c.Stats(); s.Pinned != 2 || s.Bytes != 30 {
			t.Errorf("stats %+v", s)
		}
		u.Close()
		pinned.Release()
		if c.peak.Load() > 30 {
			t.Errorf("%d bytes were in memory at once", c.peak.Load())
		}
	})
}

func TestUnstoredWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 30, sizes(10, "a b c"))
		defer c.end()
		a, b, d := c.acquire("a"), c.acquire("b"), c.acquire("c")
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := c.AddUnstored(ctx, "live", weights("live", 10)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("placed beside pinned adapters that take all of the budget: %v", err)
		}
		if c.placed != 0 || len(c.unstored) != 0 {
			t.Errorf("%d bytes of one that was not placed are counted", c.placed)
		}
		done := make(chan *Unstored, 1)
		go func() { done <- c.place("live", 10) }()
		synctest.Wait()
		b.Release()
		u := <-done
		if got := c.resident(); got != "a c live" {
			t.Errorf("resident are %s, want a c live", got)
		}
		a.Release()
		d.Release()
		u.Close()
	})
}

func TestUnstoredTakeHalfOfTheBudgetAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 100, map[string]int64{"small": 50, "large": 90})
		defer c.end()
		one, two := c.place("one", 20), c.place("two", 20)
		_, err := c.AddUnstored(context.Background(), "three", weights("three", 20))
		if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "three takes 20 bytes") || !strings.Contains(err.Error(), "hold 40") {
			t.Errorf("a third is placed: %v", err)
		}
		c.use("small")
		if _, err := c.Select([]Ref{{Name: "large", Scale: 1}}); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "hold 40") {
			t.Errorf("an adapter that would wait until training ends: %v", err)
		}
		one.Close()
		two.Close()
		c.use("large")
		c.grow = 3 // packed they are larger than estimated
		if _, err := c.AddUnstored(context.Background(), "three", weights("three", 20)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("one that is larger than estimated is placed: %v", err)
		}
		c.place("four", 10).Close()
	})
}

func TestUnstoredRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t, 100, nil)
		if _, err := c.AddUnstored(context.Background(), "a/b", weights("x", 10)); !errors.Is(err, ErrName) {
			t.Errorf("a name that no reference can have: %v", err)
		}
		bad := errors.New("tensor x does not fit")
		pack := c.o.Pack
		c.o.Pack = func(*runtime.LoRA) (runtime.Packed, error) { return nil, bad }
		if _, err := c.AddUnstored(context.Background(), "live", weights("x", 10)); !errors.Is(err, bad) {
			t.Errorf("what packing says is lost: %v", err)
		}
		c.o.Pack = pack
		u := c.place("live", 10)
		s, m := c.lend(u, "live")
		c.Close() // while a stream runs
		if _, err := c.AddUnstored(context.Background(), "late", weights("x", 10)); !errors.Is(err, ErrClosed) {
			t.Errorf("placed after Close: %v", err)
		}
		c.check(m, "live")
		m.Release()
		s.Release()
		u.Close()
		c.end()
		if c.placed != 0 {
			t.Errorf("%d bytes are counted as placed", c.placed)
		}
	})
}
