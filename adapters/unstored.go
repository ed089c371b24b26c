package adapters

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file lends adapters that are in no store: weights as they stand in training, from which answers are sampled.

// Unstored is an adapter that is in memory and in no store. Requests use it by Selections. Its memory is part of the
// Cache's budget, and is held until Close has been called and the last Selection and the last stream that use it have
// ended. Its methods may be called from any goroutine.
type Unstored struct {
	cache    *Cache
	resident *resident

	mu     sync.Mutex
	closed bool
}

// unstoredPart is the part of the budget, one of so many, that adapters in no store may hold together: they cannot be
// evicted, and those in the Store need room beside them.
const unstoredPart = 2

// AddUnstored packs the weights and lends them under a name, which need not be that of a stored adapter: streams share the
// time by it. Every call makes another digest, also for equal weights, so that no KV cell of earlier weights is used for
// later ones. It waits for room as streams do, and evicts what no stream uses. The weights are not used any more when it
// has returned. The error is ctx's, ErrClosed, or wraps ErrName, ErrTooLarge (also where other unstored adapters leave
// too little of their half of the budget) or runtime.ErrAdapter.
func (c *Cache) AddUnstored(ctx context.Context, name string, lora *runtime.LoRA) (*Unstored, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	digest := make([]byte, 32)
	_, _ = rand.Read(digest) // it never fails
	info := Info{Name: name, Digest: hex.EncodeToString(digest), Summary: unstoredSummary(lora)}
	info.Version = shortDigest(info.Digest)
	if err := c.reservePlace(info, lora); err != nil {
		return nil, err
	}
	got, err := c.acquire(ctx, []Info{info})
	c.freePlace(info)
	if err != nil {
		return nil, err
	}
	return &Unstored{cache: c, resident: got[0]}, nil
}

// reservePlace counts an adapter as placed before there is room for it; freePlace undoes that where it got none.
func (c *Cache) reservePlace(info Info, lora *runtime.LoRA) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	bytes := c.o.Estimate(info)
	if err := c.checkPlaced(info.Name, bytes, c.placed); err != nil {
		return err
	}
	c.placed += bytes
	c.unstored[info.Digest] = lora
	return nil
}

func (c *Cache) freePlace(info Info) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unstored[info.Digest] != nil {
		delete(c.unstored, info.Digest)
		c.placed -= c.o.Estimate(info)
	}
}

// checkPlaced returns ErrTooLarge where an adapter that takes so many bytes does not fit beside the placed ones.
func (c *Cache) checkPlaced(name string, bytes, placed int64) error {
	if bytes+placed <= c.o.Budget/unstoredPart {
		return nil
	}
	return fmt.Errorf("%w: %s takes %d bytes of memory, adapters that are being trained may take %d (half of what adapters may take) and hold %d",
		ErrTooLarge, name, bytes, c.o.Budget/unstoredPart, placed)
}

// unstoredSummary counts the numbers of an adapter as a stored one's are counted.
func unstoredSummary(a *runtime.LoRA) (s peft.Summary) {
	for i := range a.Modules {
		m := &a.Modules[i]
		s.Rank = max(s.Rank, m.Rank)
		s.Parameters += int64(m.Rank)*int64(m.In+m.Out) + int64(len(m.Magnitude))
	}
	for i := range a.Biases {
		s.Parameters += int64(len(a.Biases[i].Values))
	}
	for i := range a.Rows {
		s.Whole += int64(len(a.Rows[i].Values))
	}
	for i := range a.Norms {
		s.Parameters += int64(len(a.Norms[i].Values))
	}
	s.Parameters += s.Whole
	s.Invocation = a.Invocation
	return s
}

// Select returns what a request takes; scale is a finite number. The caller releases it when the request has ended. Its
// Acquire returns ErrUnknown after Release, and where Close was called before Select.
func (u *Unstored) Select(scale float32) *Selection {
	info, s := u.resident.info, &Selection{cache: u.cache}
	if scale != 0 {
		s.refs = []SelectedTerm{{info.Name, info.Version, info.Digest, scale}}
		s.want, s.scale = []Info{info}, []float32{scale}
		s.key = info.Digest + "*" + formatScale(scale)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		s.unstored = u.resident
		u.cache.mu.Lock()
		u.resident.pins++
		u.cache.mu.Unlock()
	}
	return s
}

// Bytes returns the memory that it holds.
func (u *Unstored) Bytes() int64 { return u.resident.packed.Bytes() }

// Close lets the adapter go when its last Selection and its last stream have ended. It may be called twice.
func (u *Unstored) Close() error {
	u.mu.Lock()
	was := u.closed
	u.closed = true
	u.mu.Unlock()
	if !was {
		u.cache.unpin([]*resident{u.resident})
	}
	return nil
}

// forget drops an adapter in no store that nothing pins any more. c.mu is held.
func (c *Cache) forget(r *resident, later *deferred) {
	delete(c.residents, r.info.Digest)
	c.used -= r.bytes
	c.placed -= r.bytes
	later.close = append(later.close, r.packed)
}
