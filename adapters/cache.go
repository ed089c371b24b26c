package adapters

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// CacheOptions are the Cache's settings.
type CacheOptions struct {
	Store    *Store
	Budget   int64                                       // bytes that packed adapters may hold
	Pack     func(*runtime.LoRA) (runtime.Packed, error) // runtime.Model.Pack
	Estimate func(Info) int64                            // bytes an adapter will hold, packed; nil: 4 per parameter, 2 where rows are whole
	Loaders  int                                         // loads at a time, fewer where their copies would be large; 0: 2
	Observe  func(Load)                                  // is called after every load; must not block; may be nil
}

// Load is one load that ended.
type Load struct {
	Name   string // of the adapter, as the first request that needed it called it
	Digest string
	Bytes  int64         // 0 where it failed
	Took   time.Duration // with the wait for other loads
	Err    error
}

// CacheStats is a snapshot of a Cache.
type CacheStats struct {
	Resident    int   // adapters in memory
	Pinned      int   // of them, those that streams are using
	Bytes       int64 // that they hold, with the estimates of loads under way
	Budget      int64
	Loads       uint64 // since the start, without failures
	Failures    uint64
	Evictions   uint64
	LoadSeconds float64 // summed over Loads
	Waiting     int     // acquires that wait for room
}

// versionStore is what the Cache asks of the Store. Its methods may be called from any goroutine.
type versionStore interface {
	take(Ref) (Info, error)
	hold(digest string) bool
	drop(digest string)
	load(digest string) (*runtime.LoRA, error)
}

// Cache lends packed adapters. Those lent are pinned; the others stay for as long as there is room, and the one
// unused for the longest time goes first. Loads run in their own goroutines, one for each adapter however many
// ask for it. Every method may be called from any goroutine.
//
// Room is given in the order it is asked for: while someone waits, later acquires queue behind, also for
// adapters that are in memory. Otherwise streams that keep a few adapters pinned in turn would keep out one that
// needs room, without end. An acquire of several adapters gets room for all of them at once or waits for it with
// none, so that two of them cannot wait for each other.
//
// Room is given by estimates where an adapter was never packed before. Where one turns out larger, the Cache is
// over its budget until streams end, and gives no room before it is under it again.
type Cache struct {
	o        CacheOptions
	versions versionStore
	slots    chan struct{}  // one taken by each load
	copies   *disk.Budget   // bytes that adapters under way take besides, as they are read
	loads    sync.WaitGroup // goroutines that load

	mu        sync.Mutex
	residents map[string]*resident              // by digest: in memory or loading
	idle      *simplelru.LRU[string, *resident] // in memory and not pinned
	used      int64                             // bytes of residents
	free      int64                             // of them, of idle ones
	queue     []*waiter                         // first come, first served
	sizes     map[string]int64                  // bytes of every version packed so far
	requests  map[string]int64                  // requests that have used each of them
	unstored  map[string]*runtime.LoRA          // by digest: adapters in no store that wait for room
	placed    int64                             // bytes of adapters in no store, with those that wait for room
	stats     struct {
		loads, failures, evictions uint64
		took                       time.Duration
	}
	closed bool
}

// resident is an adapter that is in memory or being loaded. err and packed are written before done is
// closed; the rest is guarded by Cache.mu.
type resident struct {
	info  Info
	bytes int64 // the estimate, until it is ready
	pins  int
	ready bool
	lora  *runtime.LoRA // what is packed, where the adapter is in no store; nil once it is packed
	place bool          // it is in no store: it goes with its last pin

	done   chan struct{}
	packed runtime.Packed
	err    error
}

// waiter is an acquire that waits for room. got and err are written before granted is closed.
type waiter struct {
	want    []Info
	granted chan struct{}
	got     []*resident
	err     error
}

// deferred is the work that a change of the Cache leaves to be done once its lock is released.
type deferred struct {
	close []runtime.Packed
	start []*resident
}

// copiesPart is the part of the budget, one of so many, that the float32 copies of adapters which are being loaded may take
// beside it. One that takes more is loaded by itself.
const copiesPart = 4

// NewCache returns an empty Cache over o.Store, whose Infos say from now on what is loaded.
func NewCache(o CacheOptions) *Cache {
	c := newCache(o, o.Store)
	use := c.usage
	o.Store.use.Store(&use)
	return c
}

func newCache(o CacheOptions, v versionStore) *Cache {
	if o.Loaders <= 0 {
		o.Loaders = 2
	}
	if o.Estimate == nil {
		o.Estimate = func(i Info) int64 { return 4*max(i.Parameters-i.Whole, 0) + 2*i.Whole }
	}
	if o.Observe == nil {
		o.Observe = func(Load) {}
	}
	idle, err := simplelru.NewLRU[string, *resident](math.MaxInt, nil)
	if err != nil {
		panic(err) // it refuses sizes under 1 only
	}
	return &Cache{o: o, versions: v, slots: make(chan struct{}, o.Loaders), copies: disk.NewBudget(max(o.Budget/copiesPart, 1)), idle: idle,
		residents: make(map[string]*resident), sizes: make(map[string]int64), requests: make(map[string]int64), unstored: make(map[string]*runtime.LoRA)}
}

// Stats returns a snapshot.
func (c *Cache) Stats() CacheStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := CacheStats{Bytes: c.used, Budget: c.o.Budget, Loads: c.stats.loads, Failures: c.stats.failures,
		Evictions: c.stats.evictions, LoadSeconds: c.stats.took.Seconds(), Waiting: len(c.queue)}
	for _, r := range c.residents {
		if r.ready {
			s.Resident++
		}
		if r.ready && r.pins > 0 {
			s.Pinned++
		}
	}
	return s
}

// usage tells how a version is used.
func (c *Cache) usage(digest string) Use {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := Use{Requests: c.requests[digest]}
	if r := c.residents[digest]; r != nil {
		u.Loaded, u.Leases = r.ready, r.pins
		if r.ready {
			u.Memory = r.bytes
		}
	}
	return u
}

// countRequest counts a request that uses these adapters.
func (c *Cache) countRequest(list []*resident) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range list {
		if !r.place {
			c.requests[r.info.Digest]++
		}
	}
}

// Close fails the acquires that wait, waits for loads under way, and frees what is not pinned; the rest is freed
// when its stream releases it. It may be called twice.
func (c *Cache) Close() error {
	var later deferred
	c.mu.Lock()
	c.closed = true
	c.grant(&later)
	for c.evict(&later) {
	}
	c.mu.Unlock()
	c.do(later)
	c.loads.Wait()
	return nil
}

// do does the deferred work. c.mu is not held. Memory is given back before more is taken.
func (c *Cache) do(later deferred) {
	for _, p := range later.close {
		_ = p.Close() // it frees memory; an error would change nothing
	}
	for _, r := range later.start {
		go c.load(r)
	}
}

// acquire pins the wanted adapters, which have different digests, and returns when they are in memory.
func (c *Cache) acquire(ctx context.Context, want []Info) ([]*resident, error) {
	if err := ctx.Err(); err != nil || len(want) == 0 {
		return nil, err
	}
	w := &waiter{want: want, granted: make(chan struct{})}
	var later deferred
	c.mu.Lock()
	c.queue = append(c.queue, w)
	c.grant(&later)
	c.mu.Unlock()
	c.do(later)
	if err := c.wait(ctx, w); err != nil {
		return nil, err
	}
	for _, r := range w.got {
		select {
		case <-r.done:
			if r.err == nil {
				continue
			}
			c.unpin(w.got)
			return nil, r.err
		case <-ctx.Done():
			c.unpin(w.got)
			return nil, ctx.Err()
		}
	}
	return w.got, nil
}

// wait returns when the waiter has room, and takes it out of the queue where it will not get any.
func (c *Cache) wait(ctx context.Context, w *waiter) error {
	select {
	case <-w.granted:
		return w.err
	case <-ctx.Done():
	}
	var later deferred
	c.mu.Lock()
	i := slices.Index(c.queue, w)
	if i >= 0 {
		c.queue = slices.Delete(c.queue, i, i+1)
		c.grant(&later)
	}
	c.mu.Unlock()
	c.do(later)
	if i < 0 { // it was granted in the meantime
		c.unpin(w.got)
	}
	return ctx.Err()
}

// tryAcquire pins the wanted adapters if all are in memory and no one waits for room. The base, which wants
// none, never waits.
func (c *Cache) tryAcquire(want []Info) ([]*resident, bool) {
	if len(want) == 0 {
		return nil, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.queue) > 0 {
		return nil, false
	}
	for _, w := range want {
		if r := c.residents[w.Digest]; r == nil || !r.ready {
			return nil, false
		}
	}
	return c.admit(want, nil) // needs no room, so that nothing is deferred
}

// unpin gives adapters back.
func (c *Cache) unpin(list []*resident) {
	var later deferred
	c.mu.Lock()
	for _, r := range list {
		if r.pins--; r.pins > 0 || !r.ready {
			continue
		}
		if r.place {
			c.forget(r, &later)
		} else {
			c.markIdle(r)
		}
	}
	c.shrink(&later)
	c.grant(&later)
	c.mu.Unlock()
	c.do(later)
}
