package grammar

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync/atomic"
	"weak"

	lru "github.com/hashicorp/golang-lru/v2"
)

// This file has what answers share. Nearly all places of an answer are the same for every answer that stands there,
// whatever came before: their threads are kept as one state, with the mask of their tokens and with the states that these
// lead to. Left out are places that depend on the texts before them, unique items and keys without a name, and strings
// whose characters are counted: of these the masks are kept in another way (mask.go).

// The states of a vocabulary are bounded by their number and by bytes.
const (
	maxStates     = 4096
	maxStateBytes = 64 << 20 // with the automata that they keep in memory
	maxSteps      = 16384    // from a state to the next one
	maxMaskBytes  = 16 << 20
	maxStateKey   = 8 << 10 // a state with a larger one is not kept
)

// owner is the constraint under which states were found first: they keep its automata in memory.
type owner struct {
	bytes  int64 // about what these take
	states atomic.Int64
}

// state is a set of threads. It never changes.
type state struct {
	id      uint64
	threads []thread
	owner   *owner
}

// step is a token that is read in a state.
type step struct {
	from  uint64 // the state's id
	token int32
}

// states are those of a vocabulary. Any goroutine.
type states struct {
	last  atomic.Uint64 // the last id
	known *sizedCache[string, *state]
	steps *lru.Cache[step, weak.Pointer[state]] // they keep no state in memory
	masks *sizedCache[uint64, savedMask]        // by the state's id
}

func newStates() *states {
	s := &states{known: newSizedCache[string, *state](maxStates, maxStateBytes), masks: newSizedCache[uint64, savedMask](maxStates, maxMaskBytes)}
	s.known.owner = func(of *state) *owner { return of.owner }
	s.steps, _ = lru.New[step, weak.Pointer[state]](maxSteps) // the error is for sizes below 1
	return s
}

// find returns the state of some threads, a new one where it is not known; nil for threads that cannot be shared. by is
// whose states new ones are.
func (s *states) find(threads []thread, by *owner) *state {
	key, ok := appendThreads(nil, threads)
	if !ok {
		return nil
	}
	if known, ok := s.known.get(string(key)); ok {
		return known
	}
	const threadBytes, frameBytes = 128, 128
	found := &state{id: s.last.Add(1), threads: threads, owner: by}
	s.known.add(string(key), found, len(threads)*threadBytes+len(key)*frameBytes/8)
	return found
}

// appendThreads appends what tells sets of threads from others; ok is false where they cannot be shared.
func appendThreads(key []byte, threads []thread) (_ []byte, ok bool) {
	for i := range threads {
		t := &threads[i]
		if t.phase == inFreeKey || t.counted() || len(t.used) > 0 || t.seen != nil || len(key) > maxStateKey {
			return nil, false
		}
		key = append(key, byte(t.phase), t.space)
		key = appendNumbers(key, t.element.number(), int64(t.state), int64(t.count), int64(t.units), int64(t.low), int64(t.high))
		if key, ok = appendFrames(key, t.below); !ok {
			return nil, false
		}
	}
	return key, true
}

func appendFrames(key []byte, frames []*frame) (_ []byte, ok bool) {
	key = appendNumbers(key, int64(len(frames)))
	for _, f := range frames {
		count, shared := f.sharedCount()
		if !shared || len(key) > maxStateKey {
			return nil, false
		}
		key = appendNumbers(key, f.element.number(), int64(f.index), int64(count))
		if key, ok = appendFrames(key, f.below); !ok {
			return nil, false
		}
	}
	return key, true
}

func appendNumbers(key []byte, numbers ...int64) []byte {
	for _, n := range numbers {
		key = binary.AppendVarint(key, n)
	}
	return key
}

// number is the element's own, 0 for none.
func (e *element) number() int64 {
	if e == nil {
		return 0
	}
	return e.id
}

// sharedCount is the count of a frame; the same for all counts that make no difference any more. ok is false where the
// frame depends on the texts or on the place of what is in it.
func (f *frame) sharedCount() (count int32, ok bool) {
	e := f.element
	if len(f.used) > 0 || f.at >= 0 {
		return 0, false
	}
	if e == nil {
		return f.count, true
	}
	least, most := e.least, e.most
	switch e.kind {
	case kindArray:
		if e.array.unique {
			return 0, false
		}
		least, most = max(e.array.least, int32(len(e.array.prefix))), e.array.most
	case kindObject:
		least, most = e.object.least, e.object.most
	}
	if most == unbounded {
		return min(f.count, least), true
	}
	return f.count, true
}

// next returns the state after a token; nil where it is not known.
func (s *states) next(from *state, token int32) *state {
	to, _ := s.steps.Get(step{from.id, token})
	return to.Value()
}

func (s *states) addStep(from *state, token int32, to *state) {
	s.steps.Add(step{from.id, token}, weak.Make(to))
}

// savedMask is a mask, or the tokens of one where they are few.
type savedMask struct {
	words  []uint64
	tokens []int32
}

func (s *states) addMask(of *state, mask []uint64) {
	n := 0
	for _, w := range mask {
		n += bits.OnesCount64(w)
	}
	if n > len(mask) {
		s.masks.add(of.id, savedMask{words: slices.Clone(mask)}, 8*len(mask))
		return
	}
	tokens := make([]int32, 0, n)
	for i, w := range mask {
		for ; w != 0; w &= w - 1 {
			tokens = append(tokens, int32(64*i+bits.TrailingZeros64(w)))
		}
	}
	s.masks.add(of.id, savedMask{tokens: tokens}, 4*n)
}

// copyMask copies the mask of a state, where it is known.
func (s *states) copyMask(of *state, mask []uint64) bool {
	saved, ok := s.masks.get(of.id)
	switch {
	case !ok:
		return false
	case saved.words != nil:
		copy(mask, saved.words)
	default:
		clear(mask)
		for _, t := range saved.tokens {
			set(mask, t)
		}
	}
	return true
}

// sizedCache keeps the values that were used last, up to a number of them and up to a number of bytes. Any goroutine.
type sizedCache[K comparable, V any] struct {
	values *lru.Cache[K, sized[V]]
	bytes  atomic.Int64
	most   int64
	owner  func(V) *owner // whose bytes count as long as one of its values is kept; nil: there are none
}

type sized[V any] struct {
	value V
	bytes int64
}

func newSizedCache[K comparable, V any](count int, most int64) *sizedCache[K, V] {
	c := &sizedCache[K, V]{most: most}
	c.values, _ = lru.NewWithEvict(count, func(_ K, v sized[V]) { c.count(v, -1) }) // the error is for sizes below 1
	return c
}

// count adds a value to what is kept, or takes it away: sign is 1 or -1.
func (c *sizedCache[K, V]) count(v sized[V], sign int64) {
	bytes := v.bytes
	if c.owner != nil {
		// The first value comes, or the last one goes.
		if o := c.owner(v.value); o.states.Add(sign) == (sign+1)/2 {
			bytes += o.bytes
		}
	}
	c.bytes.Add(sign * bytes)
}

func (c *sizedCache[K, V]) get(key K) (V, bool) {
	v, ok := c.values.Get(key)
	return v.value, ok
}

// add keeps a value. One that is there already stays.
func (c *sizedCache[K, V]) add(key K, value V, bytes int) {
	v := sized[V]{value, int64(bytes) + 128}
	if ok, _ := c.values.ContainsOrAdd(key, v); ok {
		return
	}
	for c.count(v, 1); c.bytes.Load() > c.most; {
		if _, _, ok := c.values.RemoveOldest(); !ok {
			return
		}
	}
}
