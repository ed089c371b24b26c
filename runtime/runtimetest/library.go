package runtimetest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Library is a fake adapter cache: it lends adapters by name and counts what is lent. Its methods may be
// called from any goroutine.
type Library struct {
	// Load, where set, is called when an adapter that is not resident is acquired. It may block; its error
	// fails the Acquire. It must be set before the Library is used.
	Load func(ctx context.Context, name string) error

	mu       sync.Mutex
	adapters map[string]*held
	leases   int
	acquired int
}

type held struct {
	version    int
	packed     runtime.Packed
	resident   bool
	invocation []runtime.Token
}

// Add registers an adapter under a name, as its next version, resident or not.
func (l *Library) Add(name string, p runtime.Packed, resident bool) {
	l.AddActivated(name, p, resident, nil)
}

// AddActivated is Add of an adapter that acts from its invocation tokens on.
func (l *Library) AddActivated(name string, p runtime.Packed, resident bool, invocation []runtime.Token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.adapters == nil {
		l.adapters = map[string]*held{}
	}
	version := 1
	if old := l.adapters[name]; old != nil {
		version = old.version + 1
	}
	l.adapters[name] = &held{version: version, packed: p, resident: resident, invocation: invocation}
}

// Evict makes an adapter not resident, so that the next use must Load it.
func (l *Library) Evict(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.adapters[name]; h != nil {
		h.resident = false
	}
}

// Leases returns how many Mixes have been lent and not released.
func (l *Library) Leases() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leases
}

// Acquired returns how many Mixes have ever been lent.
func (l *Library) Acquired() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acquired
}

// Get returns the composition that "name", "name*0.5" or "name+other*0.5" stands for, in the versions of
// now; "" is the base.
func (l *Library) Get(spec string) (runtime.Adapters, error) {
	if spec == "" {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &composition{library: l}
	var keys, names []string
	for _, part := range strings.Split(spec, "+") {
		name, factor, scaled := strings.Cut(part, "*")
		h := l.adapters[name]
		if h == nil {
			return nil, fmt.Errorf("no adapter %q", name)
		}
		scale := 1.0
		if scaled {
			var err error
			if scale, err = strconv.ParseFloat(factor, 32); err != nil {
				return nil, fmt.Errorf("scale of adapter %q: %w", name, err)
			}
		}
		c.parts = append(c.parts, h)
		c.names = append(c.names, name)
		c.terms = append(c.terms, runtime.Term{Packed: h.packed, Scale: float32(scale)})
		c.keys = append(c.keys, runtime.Part{Key: fmt.Sprintf("%s@%d*%g", name, h.version, scale), Invocation: h.invocation})
		keys = append(keys, c.keys[len(c.keys)-1].Key)
		names = append(names, name)
	}
	c.key, c.flow = strings.Join(keys, "+"), strings.Join(names, "+")
	return c, nil
}

// composition implements runtime.Adapters.
type composition struct {
	library   *Library
	key, flow string
	names     []string
	parts     []*held
	terms     []runtime.Term
	keys      []runtime.Part
}

// Key returns names, versions and scales.
func (c *composition) Key() string { return c.key }

// Parts returns the adapters.
func (c *composition) Parts() []runtime.Part { return c.keys }

// Flow returns the names.
func (c *composition) Flow() string { return c.flow }

// TryAcquire lends the Mix if every adapter is resident.
func (c *composition) TryAcquire() (runtime.Mix, bool) {
	c.library.mu.Lock()
	defer c.library.mu.Unlock()
	for _, h := range c.parts {
		if !h.resident {
			return runtime.Mix{}, false
		}
	}
	return c.lend(), true
}

// Acquire loads what is not resident and lends the Mix.
func (c *composition) Acquire(ctx context.Context) (runtime.Mix, error) {
	for i, h := range c.parts {
		c.library.mu.Lock()
		resident := h.resident
		c.library.mu.Unlock()
		if resident || c.library.Load == nil {
			continue
		}
		if err := c.library.Load(ctx, c.names[i]); err != nil {
			return runtime.Mix{}, fmt.Errorf("adapter %q: %w", c.names[i], err)
		}
	}
	c.library.mu.Lock()
	defer c.library.mu.Unlock()
	for _, h := range c.parts {
		h.resident = true
	}
	return c.lend(), nil
}

// lend counts a lease. The lock is held.
func (c *composition) lend() runtime.Mix {
	c.library.leases++
	c.library.acquired++
	return runtime.NewMix(c.terms, func() {
		c.library.mu.Lock()
		c.library.leases--
		c.library.mu.Unlock()
	})
}
