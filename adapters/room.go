package adapters

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file gives the Cache's room to those who ask for it, and fills it.

// grant gives room to the waiters, the first one first, as far as there is room. c.mu is held.
func (c *Cache) grant(ch *chores) {
	for len(c.queue) > 0 {
		w := c.queue[0]
		if c.closed {
			w.err = ErrClosed
		} else if w.err = c.tooLarge(w.want); w.err == nil {
			var ok bool
			if w.got, ok = c.admit(w.want, ch); !ok {
				return
			}
		}
		c.queue = slices.Delete(c.queue, 0, 1)
		close(w.granted)
	}
}

// admit pins all of want, beginning to load what is not in memory, or does nothing. c.mu is held.
func (c *Cache) admit(want []Info, ch *chores) ([]*resident, bool) {
	var need, own int64 // bytes to load; bytes of idle ones among want, which must not be evicted
	for _, i := range want {
		if r := c.residents[i.Digest]; r == nil {
			need += c.size(i)
		} else if r.ready && r.pins == 0 {
			own += r.bytes
		}
	}
	if need > 0 && c.used-(c.free-own)+need > c.o.Budget {
		return nil, false
	}
	got := make([]*resident, len(want))
	for n, i := range want {
		if got[n] = c.residents[i.Digest]; got[n] != nil {
			c.wake(got[n])
			got[n].pins++
		}
	}
	for need > 0 && c.used+need > c.o.Budget && c.evict(ch) {
	}
	for n, i := range want {
		if got[n] == nil {
			got[n] = &resident{info: i, bytes: c.size(i), pins: 1, done: make(chan struct{})}
			c.residents[i.Digest] = got[n]
			c.used += got[n].bytes
			c.loads.Add(1)
			ch.start = append(ch.start, got[n])
		}
	}
	return got, true
}

// rest makes an adapter evictable, the last in turn; wake undoes it. c.mu is held.
func (c *Cache) rest(r *resident) {
	c.idle.Add(r.info.Digest, r)
	c.free += r.bytes
}

func (c *Cache) wake(r *resident) {
	if c.idle.Remove(r.info.Digest) {
		c.free -= r.bytes
	}
}

// evict drops the idle adapter that was unused for the longest time, if there is one. c.mu is held.
func (c *Cache) evict(ch *chores) bool {
	digest, r, ok := c.idle.RemoveOldest()
	if !ok {
		return false
	}
	delete(c.residents, digest)
	c.free -= r.bytes
	c.used -= r.bytes
	c.stats.evictions++
	ch.close = append(ch.close, r.packed)
	return true
}

// shrink evicts until the budget is kept or all are pinned. c.mu is held.
func (c *Cache) shrink(ch *chores) {
	for (c.used > c.o.Budget || c.closed) && c.evict(ch) {
	}
}

// size returns the bytes that a version holds, as well as they are known. c.mu is held.
func (c *Cache) size(i Info) int64 {
	if n, ok := c.sizes[i.Digest]; ok {
		return n
	}
	return c.o.Estimate(i)
}

// tooLarge returns ErrTooLarge where the adapters do not fit even into the empty Cache. c.mu is held.
func (c *Cache) tooLarge(want []Info) error {
	var need int64
	var names []string
	for _, i := range want {
		need += c.size(i)
		names = append(names, i.Name)
	}
	if need <= c.o.Budget {
		return nil
	}
	return fmt.Errorf("%w: %s takes %d bytes of memory, adapters may take %d", ErrTooLarge, strings.Join(names, "+"),
		need, c.o.Budget)
}

// load reads and packs an adapter, unless no one wants it any more when its turn comes.
func (c *Cache) load(r *resident) {
	defer c.loads.Done()
	began := time.Now()
	c.slots <- struct{}{}
	if !c.abandoned(r) {
		p, err := c.pack(r.info.Digest)
		c.arrive(r, p, err, time.Since(began))
	}
	<-c.slots
}

// abandoned ends a load that has not begun where no one waits for it.
func (c *Cache) abandoned(r *resident) bool {
	var ch chores
	c.mu.Lock()
	gone := r.pins == 0 || c.closed
	if gone {
		c.lose(r, ErrClosed)
		c.grant(&ch)
	}
	c.mu.Unlock()
	c.do(ch)
	return gone
}

func (c *Cache) pack(digest string) (runtime.Packed, error) {
	if c.shelf.hold(digest) {
		defer c.shelf.drop(digest)
	}
	a, err := c.shelf.load(digest)
	if err != nil {
		return nil, err
	}
	return c.o.Pack(a)
}

// arrive ends a load: the adapter is in memory, or those who wait for it get the error.
func (c *Cache) arrive(r *resident, p runtime.Packed, err error, took time.Duration) {
	var ch chores
	l := Load{Name: r.info.Name, Digest: r.info.Digest, Took: took}
	c.mu.Lock()
	if err == nil {
		c.sizes[l.Digest] = p.Bytes()
		if err = c.tooLarge([]Info{r.info}); err != nil {
			ch.close = append(ch.close, p)
		}
	}
	if err != nil {
		c.stats.failures++
		l.Err = fmt.Errorf("adapter %q: %w", l.Name, err)
		c.lose(r, l.Err)
	} else {
		c.stats.loads++
		c.stats.took += took
		l.Bytes = p.Bytes()
		c.gain(r, p)
	}
	c.shrink(&ch)
	c.grant(&ch)
	c.mu.Unlock()
	c.do(ch)
	c.o.Observe(l)
}

// gain ends a load with an adapter, lose with an error, which is not kept. c.mu is held.
func (c *Cache) gain(r *resident, p runtime.Packed) {
	c.used += p.Bytes() - r.bytes
	r.packed, r.bytes, r.ready = p, p.Bytes(), true
	if r.pins == 0 {
		c.rest(r)
	}
	close(r.done)
}

func (c *Cache) lose(r *resident, err error) {
	c.used -= r.bytes
	delete(c.residents, r.info.Digest)
	r.err = err
	close(r.done)
}
