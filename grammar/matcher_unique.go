package grammar

// This file has the unique items of arrays that are objects or arrays. While the text of one is the beginning of texts
// that were there before, its threads know which (used, from low to high), and none is kept that has no more ends than
// those. Scalars do the same within their lexer (stepText).

// horizon is how many further items of an array are counted.
const horizon = 64

// textsLeft returns how many texts there are at least for what is left of an object or array after the properties or items
// so far, its end included.
func (f *frame) textsLeft() uint32 {
	if f.element.kind == kindArray {
		return f.itemsLeft(horizon)
	}
	o := f.element.object
	left := int32(len(o.names)) - f.index - 1
	required := o.requiredFrom[f.index+1]
	if f.count+required < o.least || f.count+left > o.most { // not every choice is one: count that of the required ones alone
		return f.fewestLeft()
	}
	out := uint32(1)
	for _, n := range o.names[f.index+1:] {
		if n.required {
			out = times(out, n.value.capacity)
		} else {
			out = times(out, plus(n.value.capacity, 1))
		}
	}
	return out
}

// fewestLeft is the sum over the properties that may come next, or 1 where the object may end.
func (f *frame) fewestLeft() uint32 {
	if f.mayClose() {
		return 1
	}
	out := uint32(0)
	for k := f.index + 1; int(k) < len(f.element.object.names); k++ {
		if f.mayName(k) {
			out = max(out, 1)
		}
	}
	return out
}

func (f *frame) itemsLeft(depth int) uint32 {
	a := f.element.array
	out := uint32(0)
	if f.count >= a.least {
		out = 1
	}
	if f.count >= a.most || depth == 0 || a.item(f.count) == nil {
		return out
	}
	next := frame{element: f.element, count: f.count + 1}
	return plus(out, times(a.item(f.count).capacity, next.itemsLeft(depth-1)))
}

// textsOf returns how many texts there are at least for the rest of the item that a thread is in.
func (t *thread) textsOf() uint32 {
	var out uint32
	below := t.below
	switch t.phase {
	case inText:
		out = t.element.lexer.Words[t.state]
	case atValue, atItem, atOpening, atColon:
		out = t.element.capacity
	case inKey:
		out = t.keysLeft()
		below = t.below[0].below
	case atKey:
		all := thread{phase: inKey, high: int32(len(t.below[0].element.object.names)), below: t.below}
		out = all.keysLeft()
		below = t.below[0].below
	default:
		out = t.below[0].textsLeft()
		below = t.below[0].below
	}
	if t.phase == atItem {
		g := *t.below[0]
		g.count++
		out = times(out, g.textsLeft())
		below = t.below[0].below
	}
	for f := below[0]; f.element != nil && (f.element.kind != kindArray || !f.element.array.nested); f = f.below[0] {
		if f.element.kind == kindObject || f.element.kind == kindArray {
			out = times(out, f.textsLeft())
		}
	}
	return out
}

// keysLeft sums over the names that a key can still be.
func (t *thread) keysLeft() (out uint32) {
	f := t.below[0]
	for _, k := range f.element.object.sorted[t.low:t.high] {
		if f.mayName(k) {
			g := frame{element: f.element, index: k, count: f.count + 1}
			out = plus(out, times(f.element.object.names[k].value.capacity, g.textsLeft()))
		}
	}
	return out
}

// stepTracked is step for a thread in an item whose text others begin with.
func (m *Matcher) stepTracked(t *thread, b byte, out []thread) []thread {
	mark := len(out)
	plain := *t
	plain.seen = nil
	out = m.step(&plain, b, out)
	seen := *t.seen
	seen.low, seen.high = narrowed(seen.texts, seen.low, seen.high, len(m.text)-1-int(seen.from), b)
	if seen.low == seen.high {
		return out
	}
	// A number that may end or go on is two threads here: the ends of both count.
	most := uint32(0)
	for i := range out[mark:] {
		if n := &out[mark+i]; !n.afterNested() {
			most = max(most, n.textsOf())
		}
	}
	kept := out[:mark]
	for _, n := range out[mark:] {
		switch {
		case n.afterNested():
			if len(seen.texts[seen.low]) == len(m.text)-int(seen.from) {
				continue // it was there before
			}
		case most <= uint32(seen.high-seen.low):
			continue
		default:
			n.seen = &seen
		}
		kept = append(kept, n)
	}
	return kept
}

// afterNested reports whether a thread stands after a whole item of an array that compares objects or arrays.
func (t *thread) afterNested() bool {
	return t.phase == afterItem && t.below[0].element.array.nested
}

// seen is which texts of items before begin with the text of an item so far.
type seen struct {
	texts     []string // sorted
	low, high int32
	from      int32 // where the item begins in Matcher.text
}

// inNested reports whether a thread is in an item of an array that compares objects or arrays.
func (t *thread) inNested() bool {
	if len(t.below) == 0 {
		return false
	}
	for f := t.below[0]; f.element != nil; f = f.below[0] {
		if f.element.kind == kindArray && f.element.array.nested {
			return true
		}
	}
	return false
}
