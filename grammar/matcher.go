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
	owner   *owner // of the states that are found first
	text    []byte // of the answer so far, and of the token that is tried
	read    int    // tokens of the answer so far
	forces  bool   // some texts are forced to their end
	steps   int
	control bool // whether a control token is tried

	levels  [][]thread // threads after each byte of the tokens that are tried
	again   []int32    // tokens that are tried one by one for a mask
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
	m := &Matcher{tokens: t, levels: make([][]thread, t.longest+2), tried: -1, forces: c.forces, owner: c.owner}
	root := newFrame(frame{at: -1})
	m.threads = m.start(c.root, root.self[:], nil)
	m.share()
	m.force()
	return m
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
	if m.state = m.tokens.states.find(m.threads, m.owner); m.state != nil {
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
	if len(m.tokens.pieces[token]) == 0 {
		return nil, nil
	}
	if token == m.tried {
		return m.after, nil
	}
	threads := m.readToken(m.threads, token)
	if len(threads) > maxThreads {
		return nil, ErrCost
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	m.tried, m.after = token, threads
	return threads, nil
}

// readToken returns what threads become by a token, in memory that the next one uses again.
func (m *Matcher) readToken(threads []thread, token int32) []thread {
	m.control = m.tokens.isControl[token]
	length := len(m.text)
	for i, b := range m.tokens.pieces[token] {
		threads = m.advance(threads, b, i)
		if len(threads) == 0 || m.steps > maxWork {
			break
		}
	}
	m.text, m.control = m.text[:length], false
	return threads
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
