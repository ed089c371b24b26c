package grammar

import (
	"errors"
	"fmt"
	"slices"
)

// A Matcher reads an answer byte by byte. What is left of a constraint at a place of the answer is a thread: a text that
// has been read up to some state, or what comes next in an object or an array, and below it the frames of what it is a
// part of. Where the answer so far can be read in several ways there are as many threads; threads at the same place in
// the same text are one, with all their frames, so that their number is bounded by the schema and not by the answer.
//
// No thread stands where nothing can follow: automata have no such states, counts are checked before a step, and what
// cannot be met at all was refused when the schema was compiled.

// ErrCost says that following a constraint takes too much work for one token.
var ErrCost = errors.New("following the constraint takes too much work for one token")

// maxWork is how many steps of a thread by a byte one token may take, each some 20 ns.
const maxWork = 20_000_000

// maxThreads is how many ways of reading an answer are followed.
const maxThreads = 4096

// Matcher follows one answer. One goroutine at a time.
type Matcher struct {
	tokens  *Tokens
	threads []thread
	state   *state // of the threads; nil where it is not shared
	text    []byte // of the answer so far, and of the token that is tried
	read    int    // tokens of the answer so far
	forces  bool   // some texts are forced to their end
	steps   int
	control bool // whether a control token is tried

	levels  [][]thread // threads after each byte of the tokens that are tried
	tried   int32      // the token that was tried last, -1 for none; its threads are in after
	after   []thread
	scratch []thread
}

// phase is what a thread does next.
type phase uint8

const (
	inText        phase = iota // reads on in its element's lexer
	inFreeKey                  // the same, in the key of a property without a name
	atValue                    // reads white space, then begins its element
	atEnd                      // the answer is complete
	atOpening                  // reads the bracket that opens its element
	atFirstKey                 // reads white space, then a key or the end of the object
	atKey                      // reads white space, then a key
	inKey                      // reads the key of one of the names low to high
	atColon                    // reads white space, then the colon before its element
	afterProperty              // reads white space, then a comma or the end of the object
	atFirstItem                // reads white space, then an item or the end of the array
	atItem                     // reads white space, then begins its element, an item
	afterItem                  // reads white space, then a comma or the end of the array
)

// thread is one way to read the answer so far.
type thread struct {
	phase     phase
	space     uint8 // white space so far, see spaceAfter
	element   *element
	state     int32 // of the lexer
	count     int32 // characters of a JSON string so far; bytes of a key
	units     int32 // of UTF-16, of a JSON string so far
	low, high int32 // inKey: of objectRules.sorted; inText and inFreeKey: of used
	from      int32 // where the text begins in Matcher.text, where used matters
	used      []string
	seen      *seen    // of a unique item that is an object or an array; nil where no other begins so
	below     []*frame // what the thread is a part of, in phases of objects and arrays their own
}

// frame is something that has begun. It never changes.
type frame struct {
	element *element // nil: the whole answer
	index   int32    // of a sequence, the part; of an object, the last name, -1 for none
	count   int32    // of a repetition, an object or an array: how many have begun
	at      int32    // of a repetition of what may be empty: where in the answer this one began; -1 of all others
	used    []string // sorted texts of keys without a name, or of unique items but the last
	from    int32    // where the last of unique items begins in Matcher.text; it ends at `to`, which is 0 before that
	to      int32
	below   []*frame
	self    [1]*frame
}

func newFrame(f frame) *frame {
	out := &f
	out.self[0] = out
	return out
}

// NewMatcher begins an answer.
func (c *Constraint) NewMatcher(t *Tokens) *Matcher {
	m := &Matcher{tokens: t, levels: make([][]thread, t.longest+2), tried: -1, forces: c.forces}
	root := newFrame(frame{at: -1})
	m.threads = m.start(c.root, root.self[:], nil)
	m.share()
	m.force()
	return m
}

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

// check is the error for too much work so far.
func (m *Matcher) check() error {
	if m.steps > maxWork {
		return ErrCost
	}
	return nil
}

// share makes the threads those of a state, where they have one.
func (m *Matcher) share() {
	if m.state = m.tokens.states.find(m.threads); m.state != nil {
		m.threads = m.state.threads
	}
}

// Accept reads a token. An error that is not ErrCost says that the constraint does not admit it.
func (m *Matcher) Accept(token int32) error {
	m.steps = 0
	if slices.Contains(m.tokens.ends, token) {
		return nil
	}
	if next := m.next(token); next != nil {
		m.state, m.threads = next, next.threads
	} else {
		threads, err := m.try(token)
		if err != nil {
			return err
		}
		if len(threads) == 0 {
			return fmt.Errorf("token %d is not one that the constraint admits", token)
		}
		from := m.state
		m.threads = slices.Clone(threads)
		m.share()
		if from != nil && m.state != nil {
			m.tokens.states.addStep(from, token, m.state)
		}
	}
	m.text = append(m.text, m.tokens.pieces[token]...)
	m.tried = -1
	m.read++
	m.force()
	return nil
}

// force makes texts that have had all of their tokens go on with nothing but what ends them.
func (m *Matcher) force() {
	due := func(t thread) bool { return t.phase == inText && t.element.forced != nil && m.read >= t.element.tokens }
	if !m.forces || !slices.ContainsFunc(m.threads, due) {
		return
	}
	m.threads = slices.Clone(m.threads) // they may be those of a state
	for i := range m.threads {
		if t := &m.threads[i]; due(*t) {
			t.element = t.element.forced
		}
	}
	m.share()
}

// Admits reports whether a token may come next.
func (m *Matcher) Admits(token int32) (bool, error) {
	m.steps = 0
	if slices.Contains(m.tokens.ends, token) {
		return m.CanEnd(), nil
	}
	if m.next(token) != nil {
		return true, nil
	}
	threads, err := m.try(token)
	return len(threads) > 0, err
}

// next returns the state after a token, where it is known.
func (m *Matcher) next(token int32) *state {
	if m.state == nil {
		return nil
	}
	return m.tokens.states.next(m.state, token)
}

// CanEnd reports whether the answer may end here.
func (m *Matcher) CanEnd() bool {
	return slices.ContainsFunc(m.threads, func(t thread) bool { return t.phase == atEnd || t.phase == inText && t.element.mayEnd })
}

// try returns the threads after a token. They are valid until the next call of any method.
func (m *Matcher) try(token int32) ([]thread, error) {
	if token < 0 || int(token) >= len(m.tokens.pieces) {
		return nil, nil
	}
	piece := m.tokens.pieces[token]
	if len(piece) == 0 {
		return nil, nil
	}
	if token == m.tried {
		return m.after, nil
	}
	m.control = m.tokens.isControl[token]
	length := len(m.text)
	threads := m.threads
	for i, b := range piece {
		threads = m.advance(threads, b, i)
		if len(threads) == 0 || m.steps > maxWork {
			break
		}
	}
	m.text, m.control = m.text[:length], false
	if len(threads) > maxThreads {
		return nil, ErrCost
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	m.tried, m.after = token, threads
	return threads, nil
}

// advance steps threads by a byte into the memory for a depth.
func (m *Matcher) advance(threads []thread, b byte, depth int) []thread {
	m.text, m.tried = append(m.text, b), -1
	out := m.levels[depth][:0]
	for i := range threads {
		out = m.step(&threads[i], b, out)
	}
	out = merge(out)
	m.levels[depth] = out
	return out
}
