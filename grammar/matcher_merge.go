package grammar

import "slices"

// This file joins threads that stand at the same place.

// merge makes one of threads that stand at the same place.
func merge(threads []thread) []thread {
	if len(threads) < 2 {
		return threads
	}
	out := threads[:0]
next:
	for _, t := range threads {
		for i := range out {
			if out[i].mergeable(&t) {
				out[i].below = mergeFrames(out[i].below, t.below)
				continue next
			}
		}
		out = append(out, t)
	}
	return out
}

func (t *thread) mergeable(o *thread) bool {
	return t.phase == o.phase && t.space == o.space && t.element == o.element && t.state == o.state && t.count == o.count && t.units == o.units &&
		t.low == o.low && t.high == o.high && t.from == o.from && sameSeen(t.seen, o.seen) && sameTexts(t.used, o.used) && (!t.ownFrame() || sameFrame(t.below[0], o.below[0]))
}

// ownFrame reports whether the frame of a thread is that of the object or array which it reads.
func (t *thread) ownFrame() bool {
	return t.phase == inFreeKey || t.phase >= atFirstKey
}

func sameTexts(a, b []string) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// sameFrame reports whether two frames differ in what is below them alone.
func sameFrame(a, b *frame) bool {
	return a == b || a.element == b.element && a.index == b.index && a.count == b.count && a.at == b.at && a.from == b.from && a.to == b.to && sameTexts(a.used, b.used)
}

// mergeFrames joins two sets of frames; those that differ in what is below them become one.
func mergeFrames(a, b []*frame) []*frame {
	if len(b) == 0 || len(a) == len(b) && &a[0] == &b[0] {
		return a
	}
	out := slices.Clone(a)
	for _, f := range b {
		i := slices.IndexFunc(out, func(o *frame) bool { return sameFrame(o, f) })
		switch {
		case i < 0:
			out = append(out, f)
		case out[i] != f:
			both := *f
			both.below = mergeFrames(out[i].below, f.below)
			out[i] = newFrame(both)
		}
	}
	return out
}

func sameSeen(a, b *seen) bool {
	return a == b || a != nil && b != nil && a.low == b.low && a.high == b.high && a.from == b.from && sameTexts(a.texts, b.texts)
}
