package adapters

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// fakeVersions has adapters of given sizes that take a while to load.
type fakeVersions struct {
	took time.Duration

	mu    sync.Mutex
	sizes map[string]int64
	fails map[string]error
	loads map[string]int
	holds map[string]int
}

func newFakeVersions(sizes map[string]int64) *fakeVersions {
	return &fakeVersions{took: time.Second, sizes: sizes, fails: map[string]error{}, loads: map[string]int{}, holds: map[string]int{}}
}

func (f *fakeVersions) take(r Ref) (Info, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, ok := f.sizes[r.Name]
	if !ok {
		return Info{}, &UnknownError{Name: r.Name}
	}
	digest := "digest-of-" + r.Name
	f.holds[digest]++
	return Info{Name: r.Name, Digest: digest, Version: r.Name, Summary: peft.Summary{Parameters: n}}, nil
}

func (f *fakeVersions) hold(digest string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holds[digest]++
	return true
}

func (f *fakeVersions) drop(digest string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holds[digest]--
}

func (f *fakeVersions) load(digest string) (*runtime.LoRA, error) {
	time.Sleep(f.took)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loads[digest]++
	name := strings.TrimPrefix(digest, "digest-of-")
	if err := f.fails[name]; err != nil {
		return nil, err
	}
	return &runtime.LoRA{Modules: []runtime.LoRAModule{{Tensor: name, Rank: int(f.sizes[name])}}}, nil
}

// fakePacked counts the bytes of all packed adapters that are not closed.
type fakePacked struct {
	name   string
	bytes  int64
	total  *atomic.Int64
	closed atomic.Bool
}

func (p *fakePacked) Bytes() int64 { return p.bytes }

func (p *fakePacked) Close() error {
	if p.closed.Swap(true) {
		return errors.New("closed twice")
	}
	p.total.Add(-p.bytes)
	return nil
}

// cacheTest is a Cache over a fakeVersions. Adapters take the bytes that sizes say, once more where grow is set.
type cacheTest struct {
	*Cache
	t     *testing.T
	fake  *fakeVersions
	total atomic.Int64
	peak  atomic.Int64
	grow  int64
	seen  []Load
}

func newCacheTest(t *testing.T, budget int64, sizes map[string]int64) *cacheTest {
	c := &cacheTest{t: t, fake: newFakeVersions(sizes), grow: 1}
	c.Cache = newCache(CacheOptions{
		Budget:   budget,
		Estimate: func(i Info) int64 { return i.Parameters },
		Observe:  func(l Load) { c.seen = append(c.seen, l) },
		Loaders:  1,
		Pack: func(a *runtime.LoRA) (runtime.Packed, error) {
			p := &fakePacked{name: a.Modules[0].Tensor, bytes: int64(a.Modules[0].Rank) * c.grow, total: &c.total}
			for now, was := c.total.Add(p.bytes), c.peak.Load(); now > was && !c.peak.CompareAndSwap(was, now); was = c.peak.Load() {
			}
			return p, nil
		},
	}, c.fake)
	return c
}

// selection selects "a+b".
func (c *cacheTest) selection(names string) *Selection {
	c.t.Helper()
	var refs []Ref
	for _, n := range strings.Split(names, "+") {
		refs = append(refs, Ref{Name: n, Scale: 1})
	}
	s, err := c.Select(refs)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *cacheTest) acquire(names string) runtime.Mix {
	c.t.Helper()
	s := c.selection(names)
	defer s.Release()
	m, err := s.Acquire(context.Background())
	if err != nil {
		c.t.Fatal(err)
	}
	c.check(m, names)
	return m
}

// check sees that a mix has the adapters asked for, and that none is closed.
func (c *cacheTest) check(m runtime.Mix, names string) {
	c.t.Helper()
	var got []string
	for _, x := range m.Terms {
		p := x.Packed.(*fakePacked)
		if got = append(got, p.name); p.closed.Load() {
			c.t.Errorf("%s is lent and closed", p.name)
		}
	}
	want := strings.Split(names, "+")
	slices.Sort(want)
	if !slices.Equal(got, want) {
		c.t.Errorf("lent %v, want %v", got, want)
	}
}

// use acquires and releases.
func (c *cacheTest) use(names string) {
	c.t.Helper()
	m := c.acquire(names)
	m.Release()
}

func (c *cacheTest) try(names string) bool {
	s := c.selection(names)
	defer s.Release()
	m, ok := s.TryAcquire()
	if ok {
		c.check(m, names)
		m.Release()
	}
	return ok
}

// later acquires in a goroutine and sends what came of it.
func (c *cacheTest) later(ctx context.Context, names string) <-chan any {
	s := c.selection(names)
	out := make(chan any, 1)
	go func() {
		defer s.Release()
		m, err := s.Acquire(ctx)
		if err != nil {
			out <- err
			return
		}
		c.check(m, names)
		out <- &m
	}()
	return out
}

func (c *cacheTest) resident() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for _, r := range c.residents {
		list = append(list, r.info.Name)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// end closes the cache and checks that nothing leaks.
func (c *cacheTest) end() {
	c.t.Helper()
	c.Close()
	c.Close()
	if n := c.total.Load(); n != 0 {
		c.t.Errorf("%d bytes are not freed", n)
	}
	for digest, n := range c.fake.holds {
		if n != 0 {
			c.t.Errorf("%s is held %d times", digest, n)
		}
	}
	if c.used != 0 || c.free != 0 || c.idle.Len() != 0 || len(c.residents) != 0 || len(c.queue) != 0 {
		c.t.Errorf("left: %d used, %d free, %d idle, %d resident, %d waiting", c.used, c.free, c.idle.Len(), len(c.residents), len(c.queue))
	}
}

func sizes(n int64, names string) map[string]int64 {
	m := make(map[string]int64)
	for _, name := range strings.Fields(names) {
		m[name] = n
	}
	return m
}

// granted reports whether an acquire that began with later has ended well, without waiting.
func granted(t *testing.T, c <-chan any) *runtime.Mix {
	t.Helper()
	select {
	case x := <-c:
		m, ok := x.(*runtime.Mix)
		if !ok {
			t.Fatalf("acquire: %v", x)
		}
		return m
	default:
		return nil
	}
}
