package llama

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// slotBlock is how many ranks a block has, the unit in which a device's memory for adapters is lent: the smallest class.
const slotBlock = 4

// errSlotsInUse says that sequences use so much of the pool that an adapter finds no place.
var errSlotsInUse = errors.New("the memory for adapters on the device is full of adapters in use")

// slotAdapter is an adapter that slots are made for.
type slotAdapter interface{ gone() bool } // no one can ask for it any more

// slotNeed is what an adapter needs of a pool.
type slotNeed struct {
	rank    int  // the largest of its modules; 0: none
	vectors bool // it has gains or shifts
}

// blocks returns how many blocks the modules and the vectors take: powers of two, or 0. A rank is rounded up to the next
// power of two, its class.
func (n slotNeed) blocks() [2]int {
	var out [2]int
	if n.rank > 0 {
		for out[0] = 1; out[0]*slotBlock < n.rank; out[0] *= 2 {
		}
	}
	if n.vectors {
		out[1] = 1
	}
	return out
}

// slotSpan is n blocks from first on, a multiple of n; n is a power of two, or 0.
type slotSpan struct{ first, n int }

// rank is the number of its first rank, -1 where it is empty.
func (s slotSpan) rank() int {
	if s.n == 0 {
		return -1
	}
	return s.first * slotBlock
}

// slot is an adapter in a pool.
type slot struct {
	spans [2]slotSpan // of its modules and of its vectors
	users int         // sequences that have it and stagings; 0: it may be evicted
	used  int64       // when it was last asked for
	ready chan struct{}
	err   error // of its upload, once ready is closed
}

// findSpan returns the aligned span of n blocks that costs least: one that is free, else the one whose most recently used
// adapter was used longest ago. None of them may be in use. Of equal ones it takes the one in the largest class of blocks
// that is broken already, so that large adapters find room. owners are the adapters that the blocks belong to, or nil.
func findSpan(owners []*slot, n int) (slotSpan, bool) {
	best, bestUsed, bestWhole := -1, int64(0), 0
	for first := 0; first+n <= len(owners); first += n {
		used, ok := spanUsed(owners[first : first+n])
		if !ok {
			continue
		}
		if whole := wholeAround(owners, first, n); best < 0 || used < bestUsed || used == bestUsed && whole < bestWhole {
			best, bestUsed, bestWhole = first, used, whole
		}
	}
	return slotSpan{best, n}, best >= 0
}

// spanUsed returns when an adapter in these blocks was last used, 0 where there is none, and whether none is in use.
func spanUsed(owners []*slot) (used int64, free bool) {
	for _, s := range owners {
		switch {
		case s == nil:
		case s.users > 0:
			return 0, false
		default:
			used = max(used, s.used)
		}
	}
	return used, true
}

// wholeAround returns the size of the largest aligned span around [first, first+n) that has no adapter in use.
func wholeAround(owners []*slot, first, n int) int {
	for size := 2 * n; ; size *= 2 {
		from := first / size * size
		if from+size > len(owners) {
			return size / 2
		}
		if _, free := spanUsed(owners[from : from+size]); !free {
			return size / 2
		}
	}
}

// planSlots finds places for adapters, evicting only what is not in use, and returns the owners of the blocks afterwards.
// The new slots are marked as in use. It changes nothing that it is given; false: there are not enough places.
func planSlots(owners []*slot, needs []slotNeed, now int64) ([]*slot, []*slot, bool) {
	owners = slices.Clone(owners)
	placed := make([]*slot, len(needs))
	// The largest first: they have the fewest places.
	order := make([]int, len(needs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return needs[b].blocks()[0] - needs[a].blocks()[0] })
	for _, i := range order {
		s := &slot{users: 1, used: now, ready: make(chan struct{})}
		for k, n := range needs[i].blocks() {
			if n == 0 {
				continue
			}
			span, ok := findSpan(owners, n)
			if !ok {
				return nil, nil, false
			}
			for b := span.first; b < span.first+span.n; b++ {
				evict(owners, owners[b])
				owners[b] = s
			}
			s.spans[k] = span
		}
		placed[i] = s
	}
	return owners, placed, true
}

// evict frees the blocks of a slot, which may be nil.
func evict(owners []*slot, s *slot) {
	if s == nil {
		return
	}
	for _, span := range s.spans {
		for b := span.first; b < span.first+span.n; b++ {
			if owners[b] == s {
				owners[b] = nil
			}
		}
	}
}

// slotPool says which adapter lies where in a device's memory. Its methods may be called from any goroutine.
type slotPool struct {
	blockBytes int64
	need       func(slotAdapter) slotNeed
	upload     func(slotAdapter, *slot) error

	mu     sync.Mutex
	owners []*slot // of the blocks; nil: free
	slots  map[slotAdapter]*slot
	now    int64
	queue  []chan struct{} // of those that wait for room; the first may take it
	stats  runtime.SlotStats
}

func newSlotPool(ranks int, rankBytes int64, need func(slotAdapter) slotNeed, upload func(slotAdapter, *slot) error) *slotPool {
	blocks := ranks / slotBlock
	return &slotPool{
		blockBytes: slotBlock * rankBytes, need: need, upload: upload,
		owners: make([]*slot, blocks), slots: map[slotAdapter]*slot{},
	}
}

// check refuses adapters that could never be placed together.
func (p *slotPool) check(adapters []slotAdapter) error {
	var needs []slotNeed
	rank := 0
	for i, a := range adapters {
		if !slices.Contains(adapters[:i], a) {
			needs = append(needs, p.need(a))
			rank += p.need(a).rank
		}
	}
	if _, _, ok := planSlots(make([]*slot, len(p.owners)), needs, 0); !ok {
		return fmt.Errorf("%w: its rank of %d, over all adapters together, does not fit into the memory for adapters on the device, which has %d bytes: %d ranks (--adapter-memory)",
			runtime.ErrAdapter, rank, int64(len(p.owners))*p.blockBytes, len(p.owners)*slotBlock)
	}
	return nil
}

// take returns the slots of adapters, in use by the caller until it gives them back, and uploads those that are not there.
// errSlotsInUse: there is no room, and nothing has changed.
func (p *slotPool) take(adapters []slotAdapter) ([]*slot, error) {
	p.mu.Lock()
	slots, missing, err := p.reserve(adapters)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	for _, a := range missing {
		p.fill(a)
	}
	for _, s := range slots {
		<-s.ready
		err = errors.Join(err, s.err)
	}
	if err != nil {
		p.give(slots)
		return nil, err
	}
	return slots, nil
}

// tryTake is take for adapters that are all on the device; false: not all are, or some are on their way.
func (p *slotPool) tryTake(adapters []slotAdapter) ([]*slot, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range adapters {
		s := p.slots[a]
		if s == nil {
			return nil, false
		}
		select {
		case <-s.ready:
		default:
			return nil, false
		}
	}
	slots, _, err := p.reserve(adapters)
	return slots, err == nil
}

// wait is take that waits for its turn and for room until ctx ends.
func (p *slotPool) wait(ctx context.Context, adapters []slotAdapter) ([]*slot, error) {
	wake := make(chan struct{}, 1)
	p.mu.Lock()
	p.queue = append(p.queue, wake)
	first := p.queue[0] == wake
	p.mu.Unlock()
	defer p.leave(wake)
	for {
		if first {
			if slots, err := p.take(adapters); !errors.Is(err, errSlotsInUse) {
				return slots, err
			}
		}
		select {
		case <-wake:
			first = true // only the first is woken
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// leave takes a waiter out of the queue and wakes the next one.
func (p *slotPool) leave(wake chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = slices.DeleteFunc(p.queue, func(c chan struct{}) bool { return c == wake })
	p.wakeFirst()
}

func (p *slotPool) wakeFirst() {
	if len(p.queue) > 0 {
		select {
		case p.queue[0] <- struct{}{}:
		default: // it is awake
		}
	}
}

// reserve marks the adapters' slots as in use and makes slots for those that have none, which the caller fills.
func (p *slotPool) reserve(adapters []slotAdapter) (slots []*slot, missing []slotAdapter, err error) {
	p.now++
	p.dropClosed()
	var needs []slotNeed
	for _, a := range adapters {
		if s := p.slots[a]; s != nil {
			s.users++ // not to be evicted for another of them
			defer func() { s.users-- }()
		} else if !slices.Contains(missing, a) {
			missing = append(missing, a)
			needs = append(needs, p.need(a))
		}
	}
	owners, placed, ok := planSlots(p.owners, needs, p.now)
	if !ok {
		return nil, nil, errSlotsInUse
	}
	p.owners = owners
	for a, s := range p.slots {
		if s.blocks() > 0 && !slices.Contains(owners, s) {
			delete(p.slots, a)
			p.stats.Evictions++
		}
	}
	for i, a := range missing {
		placed[i].users = 0
		p.slots[a] = placed[i]
	}
	for _, a := range adapters {
		s := p.slots[a]
		s.users++
		s.used = p.now
		slots = append(slots, s)
	}
	return slots, missing, nil
}

// blocks is how many blocks a slot has.
func (s *slot) blocks() int { return s.spans[0].n + s.spans[1].n }

// dropClosed frees the slots of adapters that no longer exist.
func (p *slotPool) dropClosed() {
	for a, s := range p.slots {
		if s.users == 0 && a.gone() {
			evict(p.owners, s)
			delete(p.slots, a)
		}
	}
}

// fill uploads an adapter into its new slot. Where that fails the slot is gone.
func (p *slotPool) fill(a slotAdapter) {
	p.mu.Lock()
	s := p.slots[a]
	p.mu.Unlock()
	if s.blocks() > 0 {
		s.err = p.upload(a, s)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s.err != nil:
		evict(p.owners, s)
		delete(p.slots, a)
	case s.blocks() > 0:
		p.stats.Uploads++
	}
	close(s.ready)
}

// give says that slots are not used any longer by the caller of take.
func (p *slotPool) give(slots []*slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range slots {
		s.users--
	}
	p.wakeFirst()
}

// snapshot returns the numbers of now.
func (p *slotPool) snapshot() runtime.SlotStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Bytes = int64(len(p.owners)) * p.blockBytes
	for _, slot := range p.owners {
		if slot != nil {
			s.Used += p.blockBytes
		}
	}
	s.Adapters = len(p.slots)
	return s
}
