package adapters

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file gives the Cache's room to those who ask for it, and fills it.

// grant gives room to the waiters, the first one first, as far as there is room. c.mu is held.
func (c *Cache) grant(later *deferred) {
	for len(c.queue) > 0 {
		w := c.queue[0]
		if c.closed {
			w.err = ErrClosed
		} else if w.err = c.tooLarge(w.want); w.err == nil {
			var ok bool
			if w.got, ok = c.admit(w.want, later); !ok {
				return
			}
		}
		c.queue = slices.Delete(c.queue, 0, 1)
		close(w.granted)
	}
}

// admit pins all of want, beginning to load what is not in memory, or does nothing. c.mu is held.
func (c *Cache) admit(want []Info, later *deferred) ([]*resident, bool) {
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
			c.markUsed(got[n])
			got[n].pins++
		}
	}
	for need > 0 && c.used+need > c.o.Budget && c.evict(later) {
	}
	for n, i := range want {
		if got[n] == nil {
			got[n] = &resident{info: i, bytes: c.size(i), pins: 1, done: make(chan struct{})}
			if got[n].lora = c.unstored[i.Digest]; got[n].lora != nil {
				got[n].place = true
				delete(c.unstored, i.Digest)
			}
			c.residents[i.Digest] = got[n]
			c.used += got[n].bytes
			c.loads.Add(1)
			later.start = append(later.start, got[n])
		}
	}
	return got, true
}

// markIdle makes an adapter evictable, after those that have been idle for longer; markUsed undoes it. c.mu is held.
func (c *Cache) markIdle(r *resident) {
	c.idle.Add(r.info.Digest, r)
	c.free += r.bytes
}

func (c *Cache) markUsed(r *resident) {
	if c.idle.Remove(r.info.Digest) {
		c.free -= r.bytes
	}
}

// evict drops the idle adapter that was unused for the longest time, if there is one. c.mu is held.
func (c *Cache) evict(later *deferred) bool {
	digest, r, ok := c.idle.RemoveOldest()
	if !ok {
		return false
	}
	delete(c.residents, digest)
	c.free -= r.bytes
	c.used -= r.bytes
	c.stats.evictions++
	later.close = append(later.close, r.packed)
	return true
}

// shrink evicts until the budget is kept or all are pinned. c.mu is held.
func (c *Cache) shrink(later *deferred) {
	for (c.used > c.o.Budget || c.closed) && c.evict(later) {
	}
}

// size returns the bytes that a version holds, as well as they are known. c.mu is held.
func (c *Cache) size(i Info) int64 {
	if n, ok := c.sizes[i.Digest]; ok {
		return n
	}
	return c.o.Estimate(i)
}

// tooLarge returns ErrTooLarge where the adapters would not fit if no stream used the Cache. c.mu is held.
func (c *Cache) tooLarge(want []Info) error {
	var need int64
	var names []string
	for _, i := range want {
		if r := c.residents[i.Digest]; c.unstored[i.Digest] == nil && (r == nil || !r.place) { // else it is counted as placed
			need += c.size(i)
		}
		names = append(names, i.Name)
	}
	switch {
	case need > c.o.Budget:
		return fmt.Errorf("%w: %s takes %d bytes of memory, adapters may take %d", ErrTooLarge, strings.Join(names, "+"),
			need, c.o.Budget)
	case need+c.placed > c.o.Budget && need > 0:
		return fmt.Errorf("%w: %s takes %d bytes of memory, adapters may take %d, of which adapters that are being trained hold %d",
			ErrTooLarge, strings.Join(names, "+"), need, c.o.Budget, c.placed)
	}
	return nil
}

// load reads and packs an adapter, unless no acquire waits for it any more when it is its turn.
func (c *Cache) load(r *resident) {
	defer c.loads.Done()
	began := time.Now()
	c.slots <- struct{}{}
	if !c.abandoned(r) {
		copies := c.copies.Share()
		_ = copies.Wait(context.Background(), 4*r.info.Parameters) // which does not end
		p, err := c.pack(r)
		copies.Release()
		c.finishLoad(r, p, err, time.Since(began))
	}
	<-c.slots
}

// abandoned ends a load that has not begun where no one waits for it.
func (c *Cache) abandoned(r *resident) bool {
	var later deferred
	c.mu.Lock()
	gone := r.pins == 0 || c.closed
	if gone {
		c.loadFailed(r, ErrClosed)
		c.grant(&later)
	}
	c.mu.Unlock()
	c.do(later)
	return gone
}

func (c *Cache) pack(r *resident) (runtime.Packed, error) {
	if r.lora != nil {
		return c.o.Pack(r.lora)
	}
	digest := r.info.Digest
	if c.versions.hold(digest) {
		defer c.versions.drop(digest)
	}
	a, err := c.versions.load(digest)
	if err != nil {
		return nil, err
	}
	return c.o.Pack(a)
}

// finishLoad ends a load: the adapter is in memory, or those who wait for it get the error.
func (c *Cache) finishLoad(r *resident, p runtime.Packed, err error, took time.Duration) {
	var later deferred
	l := Load{Name: r.info.Name, Digest: r.info.Digest, Took: took}
	c.mu.Lock()
	if err == nil {
		if err = c.checkPacked(r, p); err != nil {
			later.close = append(later.close, p)
		}
	}
	if err != nil {
		c.countLoad(r, took, false)
		l.Err = fmt.Errorf("adapter %q: %w", l.Name, err)
		c.loadFailed(r, l.Err)
	} else {
		c.countLoad(r, took, true)
		l.Bytes = p.Bytes()
		c.loadSucceeded(r, p, &later)
	}
	c.shrink(&later)
	c.grant(&later)
	c.mu.Unlock()
	c.do(later)
	if !r.place {
		c.o.Observe(l)
	}
}

// countLoad counts a load of a stored adapter. c.mu is held.
func (c *Cache) countLoad(r *resident, took time.Duration, succeeded bool) {
	switch {
	case r.place:
	case succeeded:
		c.stats.loads++
		c.stats.took += took
	default:
		c.stats.failures++
	}
}

// checkPacked keeps the size of what was packed, and returns ErrTooLarge where it is larger than its estimate and does
// not fit. c.mu is held.
func (c *Cache) checkPacked(r *resident, p runtime.Packed) error {
	if r.place {
		return c.checkPlaced(r.info.Name, p.Bytes(), c.placed-r.bytes)
	}
	c.sizes[r.info.Digest] = p.Bytes()
	return c.tooLarge([]Info{r.info})
}

// loadSucceeded ends a load with an adapter, loadFailed with an error, after which the adapter is no longer known. c.mu is held.
func (c *Cache) loadSucceeded(r *resident, p runtime.Packed, later *deferred) {
	c.used += p.Bytes() - r.bytes
	if r.place {
		c.placed += p.Bytes() - r.bytes
	}
	r.packed, r.bytes, r.ready, r.lora = p, p.Bytes(), true, nil
	switch {
	case r.pins == 0 && r.place:
		c.forget(r, later)
	case r.pins == 0:
		c.markIdle(r)
	}
	close(r.done)
}

func (c *Cache) loadFailed(r *resident, err error) {
	c.used -= r.bytes
	if r.place {
		c.placed -= r.bytes
	}
	delete(c.residents, r.info.Digest)
	r.err = err
	close(r.done)
}
