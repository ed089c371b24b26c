package grammar

import "slices"

// This file has the steps of objects and arrays.

// open reads the bracket that an object or an array begins with.
func (m *Matcher) open(t *thread, b byte, out []thread) []thread {
	switch e := t.element; {
	case m.control:
	case e.kind == kindObject && b == '{':
		f := newFrame(frame{element: e, at: -1, index: -1, below: t.below})
		return append(out, thread{phase: atFirstKey, below: f.self[:]})
	case e.kind == kindArray && b == '[':
		f := newFrame(frame{element: e, at: -1, below: t.below})
		return append(out, thread{phase: atFirstItem, below: f.self[:]})
	}
	return out
}

// ---- objects ---------------------------------------------------------------------------------------

// mayClose reports whether an object may end.
func (f *frame) mayClose() bool {
	o := f.element.object
	return int(o.nextRequired[f.index+1]) == len(o.names) && f.count >= o.least
}

// mayName reports whether the property number k may come next: no required one is left out, and what is left to come
// suffices and is not too much.
func (f *frame) mayName(k int32) bool {
	o := f.element.object
	count := f.count + 1
	return k > f.index && k <= o.nextRequired[f.index+1] && count+o.requiredFrom[k+1] <= o.most &&
		(len(o.free) > 0 || count+int32(len(o.names))-k-1 >= o.least)
}

// mayFree reports whether a property without a name may come next.
func (f *frame) mayFree() bool {
	o := f.element.object
	return len(o.free) > 0 && int(o.nextRequired[f.index+1]) == len(o.names) && f.count < o.most
}

func (f *frame) mayContinue() bool {
	if f.mayFree() {
		return true
	}
	o := f.element.object
	for k := f.index + 1; int(k) < len(o.names) && k <= o.nextRequired[f.index+1]; k++ {
		if f.mayName(k) {
			return true
		}
	}
	return false
}

func (m *Matcher) stepObject(t *thread, b byte, out []thread) []thread {
	f := t.below[0]
	switch {
	case b == '}' && t.phase != atKey && f.mayClose():
		return m.complete(&thread{below: f.below}, out)
	case b == ',' && t.phase == afterProperty && f.mayContinue():
		return append(out, thread{phase: atKey, below: t.below})
	case b == '"' && t.phase != afterProperty:
		return m.beginKey(f, out)
	}
	return out
}

func (m *Matcher) beginKey(f *frame, out []thread) []thread {
	o := f.element.object
	if named := (thread{phase: inKey, high: int32(len(o.names)), below: f.self[:]}); named.reaches(f) {
		out = append(out, named)
	}
	if !f.mayFree() {
		return out
	}
	for i, free := range o.free {
		if state := free.keys.Next(0, '"'); state >= 0 {
			out = append(out, thread{phase: inFreeKey, element: f.element, state: state, count: int32(i),
				from: int32(len(m.text) - 1), used: f.used, high: int32(len(f.used)), below: f.self[:]})
		}
	}
	return out
}

// reaches reports whether one of the names that a key can still be may come next.
func (t *thread) reaches(f *frame) bool {
	for _, k := range f.element.object.sorted[t.low:t.high] {
		if f.mayName(k) {
			return true
		}
	}
	return false
}

// stepKey reads on in the key of a named property. Keys end with a quote, so that none is the beginning of another.
func (m *Matcher) stepKey(t *thread, b byte, out []thread) []thread {
	if m.control {
		return out
	}
	f := t.below[0]
	o := f.element.object
	next := *t
	keys := o.sorted[t.low:t.high]
	at := int(t.count)
	from, _ := slices.BinarySearchFunc(keys, b, func(k int32, b byte) int { return int(o.names[k].key[at]) - int(b) })
	to := from
	for to < len(keys) && o.names[keys[to]].key[at] == b {
		to++
	}
	next.low, next.high, next.count = t.low+int32(from), t.low+int32(to), t.count+1
	if from == to || !next.reaches(f) {
		return out
	}
	k := o.sorted[next.low]
	if int(next.count) < len(o.names[k].key) {
		return append(out, next)
	}
	g := newFrame(frame{element: f.element, at: -1, index: k, count: f.count + 1, used: f.used, below: f.below})
	return append(out, thread{phase: atColon, element: o.names[k].value, below: g.self[:]})
}

// endFreeKey goes on after the key of a property without a name. Named ones do not come after it.
func (m *Matcher) endFreeKey(t *thread, out []thread) []thread {
	f := t.below[0]
	o := f.element.object
	g := newFrame(frame{element: f.element, at: -1, index: int32(len(o.names)) - 1, count: f.count + 1, below: f.below})
	g.used = insert(f.used, string(m.text[t.from:]))
	return append(out, thread{phase: atColon, element: o.free[t.count].value, below: g.self[:]})
}

// ---- arrays ----------------------------------------------------------------------------------------

// mayAdd returns the element of the next item; nil where there can be none.
func (f *frame) mayAdd() *element {
	a := f.element.array
	if f.count >= a.most {
		return nil
	}
	e := a.item(f.count)
	if e != nil && a.unique && e.capacity <= uint32(f.count) {
		return nil
	}
	return e
}

func (m *Matcher) stepArray(t *thread, b byte, out []thread) []thread {
	f := t.below[0]
	a := f.element.array
	switch {
	case b == ']' && f.count >= a.least:
		return m.complete(&thread{below: f.below}, out)
	case t.phase == atFirstItem:
		if e := f.mayAdd(); e != nil {
			return m.beginItem(f, e, b, out)
		}
	case b == ',':
		if e := f.mayAdd(); e != nil {
			return append(out, thread{phase: atItem, element: e, below: t.below})
		}
	}
	return out
}

// beginItem appends what an item becomes by its first byte.
func (m *Matcher) beginItem(f *frame, e *element, b byte, out []thread) []thread {
	if !e.begins(b) {
		return out
	}
	g := *f
	g.count++
	if !f.element.array.unique {
		return m.begin(e, newFrame(g).self[:], b, out)
	}
	if f.to > 0 {
		g.used, g.to = insert(f.used, string(m.text[f.from:f.to])), 0
		m.steps += len(g.used) / 4
	}
	g.from = int32(len(m.text) - 1)
	below := newFrame(g).self[:]
	if f.element.array.nested {
		t := thread{phase: atValue, element: e, below: below}
		if len(g.used) > 0 {
			t.seen = &seen{texts: g.used, high: int32(len(g.used)), from: g.from}
		}
		return m.step(&t, b, out)
	}
	t := thread{phase: inText, element: e, below: below, from: g.from, used: g.used, high: int32(len(g.used))}
	return m.step(&t, b, out)
}
