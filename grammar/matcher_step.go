package grammar

import "slices"

// This file has what threads become, byte by byte.

// step appends what a thread becomes by a byte.
func (m *Matcher) step(t *thread, b byte, out []thread) []thread {
	m.steps++
	if t.seen != nil {
		return m.stepTracked(t, b, out)
	}
	switch t.phase {
	case inText, inFreeKey:
		return m.stepText(t, b, out)
	case inKey:
		return m.stepKey(t, b, out)
	case atEnd:
		return out
	case atOpening:
		return m.open(t, b, out)
	}
	if m.control {
		return out
	}
	if space, ok := spaceAfter(t.space, b); ok && !t.compact() {
		next := *t
		next.space = space
		return append(out, next)
	}
	switch t.phase {
	case atValue:
		return m.begin(t.element, t.below, b, out)
	case atItem:
		return m.beginItem(t.below[0], t.element, b, out)
	case atColon:
		if b == ':' {
			out = append(out, thread{phase: atValue, element: t.element, below: t.below})
		}
		return out
	case atFirstKey, atKey, afterProperty:
		return m.stepObject(t, b, out)
	}
	return m.stepArray(t, b, out)
}

// compact reports whether white space is left out around a thread.
func (t *thread) compact() bool { return t.below[0].element != nil && t.below[0].element.compact }

// spaceAfter counts white space: one blank, or one or two ends of line and an indentation.
func spaceAfter(space uint8, b byte) (uint8, bool) {
	const blank, line, secondLine, deepest = 1, 2, 3, 40
	switch {
	case b == ' ' && space == 0:
		return blank, true
	case b == '\n' && space == 0:
		return line, true
	case b == '\n' && space == line:
		return secondLine, true
	case (b == ' ' || b == '\t') && space >= line && space < deepest:
		return max(space, secondLine) + 1, true
	}
	return 0, false
}

// begin appends what an element becomes by its first byte.
func (m *Matcher) begin(e *element, below []*frame, b byte, out []thread) []thread {
	if !e.begins(b) {
		return out
	}
	mark := len(m.scratch)
	m.scratch = m.start(e, below, m.scratch)
	for i := mark; i < len(m.scratch); i++ {
		t := m.scratch[i]
		out = m.step(&t, b, out)
	}
	m.scratch = m.scratch[:mark]
	return out
}

// start appends the threads that stand at the beginning of an element.
func (m *Matcher) start(e *element, below []*frame, out []thread) []thread {
	switch e.kind {
	case kindLexical:
		t := thread{phase: inText, element: e, below: below}
		if e.lexer.Accept[0] {
			out = m.complete(&t, out)
		}
		return append(out, t)
	case kindSequence:
		return m.startPart(e, 0, below, out)
	case kindChoice:
		for _, p := range e.parts {
			out = m.start(p, below, out)
		}
		return out
	case kindRepeat:
		if e.least == 0 {
			out = m.complete(&thread{below: below}, out)
		}
		if e.most > 0 {
			f := newFrame(frame{element: e, count: 1, at: m.repeatsAt(e), below: below})
			out = m.start(e.parts[0], f.self[:], out)
		}
		return out
	}
	return append(out, thread{phase: atOpening, element: e, below: below})
}

// startPart starts a part of a sequence. Nothing is kept of the sequence once its last part has begun.
func (m *Matcher) startPart(e *element, i int32, below []*frame, out []thread) []thread {
	switch len(e.parts) - int(i) {
	case 0:
		return m.complete(&thread{below: below}, out)
	case 1:
		return m.start(e.parts[i], below, out)
	}
	return m.start(e.parts[i], newFrame(frame{element: e, index: i, at: -1, below: below}).self[:], out)
}

// repeatsAt is where a repetition begins, where that tells whether it is empty.
func (m *Matcher) repeatsAt(e *element) int32 {
	if e.parts[0].empty {
		return int32(len(m.text))
	}
	return -1
}

// complete appends the threads that go on after the text of a thread, whose element is complete.
func (m *Matcher) complete(t *thread, out []thread) []thread {
	for _, f := range t.below {
		out = m.resume(f, out)
	}
	return out
}

func (m *Matcher) resume(f *frame, out []thread) []thread {
	e := f.element
	if e == nil {
		return append(out, thread{phase: atEnd})
	}
	switch e.kind {
	case kindSequence:
		return m.startPart(e, f.index+1, f.below, out)
	case kindRepeat:
		empty := f.at == int32(len(m.text))
		if f.count >= e.least || empty {
			out = m.complete(&thread{below: f.below}, out)
		}
		if f.count < e.most && !empty {
			next := newFrame(frame{element: e, count: min(f.count+1, unbounded-1), at: m.repeatsAt(e), below: f.below})
			out = m.start(e.parts[0], next.self[:], out)
		}
		return out
	case kindObject:
		return append(out, thread{phase: afterProperty, below: f.self[:]})
	case kindArray:
		if e.array.unique {
			next := *f
			next.to = int32(len(m.text))
			f = newFrame(next)
		}
		return append(out, thread{phase: afterItem, below: f.self[:]})
	}
	return out
}

// insert returns sorted texts with one more.
func insert(sorted []string, text string) []string {
	at, _ := slices.BinarySearch(sorted, text)
	return slices.Insert(slices.Clone(sorted), at, text)
}

// stepText reads on in a lexer.
func (m *Matcher) stepText(t *thread, b byte, out []thread) []thread {
	e := t.element
	lexer := e.lexer
	if t.phase == inFreeKey {
		lexer = e.object.free[t.count].keys
	}
	if m.control && !e.control {
		return out
	}
	state := lexer.Next(t.state, b)
	if state < 0 {
		return out
	}
	next := *t
	next.state = state
	if e.most > 0 && e.kind == kindLexical {
		characters, units := lexer.Completes(t.state, state)
		next.count, next.units = t.count+characters, t.units+units
		if !lexer.Fits(state, e.most-next.units, e.least-next.count) {
			return out
		}
	}
	if next.low < next.high {
		next.low, next.high = narrowed(next.used, next.low, next.high, len(m.text)-1-int(next.from), b)
		if lexer.Words[state] <= uint32(next.high-next.low) {
			return out
		}
	}
	if lexer.Accept[state] {
		switch taken := next.low < next.high && len(next.used[next.low]) == len(m.text)-int(next.from); {
		case taken:
		case t.phase == inFreeKey:
			out = m.endFreeKey(&next, out)
		case e.labels != nil:
			out = m.start(e.then[e.labels[state]], next.below, out)
		default:
			out = m.complete(&next, out)
		}
	}
	if lexer.Ends(state) {
		return out
	}
	return append(out, next)
}

// narrowed returns which of sorted texts, that are equal in their first bytes, have a given byte next.
func narrowed(texts []string, low, high int32, at int, b byte) (int32, int32) {
	for low < high && (len(texts[low]) <= at || texts[low][at] < b) {
		low++
	}
	end := low
	for end < high && texts[end][at] == b {
		end++
	}
	return low, end
}
