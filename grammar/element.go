package grammar

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
)

// unbounded stands for a number without an upper bound.
const unbounded = math.MaxInt32

// elementKind says what an element is.
type elementKind uint8

const (
	kindLexical  elementKind = iota // a text of lexer
	kindSequence                    // its parts, one after the other
	kindChoice                      // one of its parts
	kindRepeat                      // its part, least to most times
	kindObject                      // a JSON object
	kindArray                       // a JSON array
)

// element is a part as matchers follow it. Schemas that refer to themselves make cycles of elements. After prepare() it
// never changes.
type element struct {
	kind  elementKind
	parts []*element
	least int32 // of kindRepeat; of kindLexical the characters of a JSON string
	most  int32 // the same; 0 for a kindLexical without bounds

	lexer   *automaton.Lexer
	control bool       // control tokens may spell it
	mayEnd  bool       // the answer may end within
	labels  []int32    // of accepting states: which of then follows; nil: nothing does
	then    []*element // free text goes on with one of these
	forced  *element   // takes the place of a free text, in the same state, once the answer has so many tokens; nil: nothing does
	tokens  int

	object *objectRules
	array  *arrayRules

	// Of what unique items are made of: how many texts there are at least, and whether white space is left out, so that
	// every value has one text.
	capacity uint32
	compact  bool

	once  sync.Once
	id    int64
	first [4]uint64 // the bytes that it can begin with
	empty bool      // whether it can be the empty text
}

// objectRules are what the properties of an object may be.
type objectRules struct {
	names        []propertyRule // in the order in which they come
	sorted       []int32        // their numbers in the order of their keys
	nextRequired []int32        // (names + 1) the first required one at i or later; len(names) for none
	requiredFrom []int32        // (names + 1) how many are required at i or later
	free         []freeRule     // what may follow them, any number of times
	least, most  int32          // properties
}

type propertyRule struct {
	key      string // its JSON text without the first quote
	value    *element
	required bool
}

// freeRule is for properties that no name is given for. Each has infinitely many keys, so that there is always one left.
type freeRule struct {
	keys  *automaton.Lexer
	value *element
}

// arrayRules are what the items of an array may be.
type arrayRules struct {
	prefix      []*element
	rest        *element // nil: there are no more
	least, most int32
	unique      bool // items have one text for each value, and there are enough of them
	nested      bool // and some of them are objects or arrays
}

func (a *arrayRules) item(i int32) *element {
	if int(i) < len(a.prefix) {
		return a.prefix[i]
	}
	return a.rest
}

// each calls f for an element and all below it, once for each.
func (e *element) each(f func(*element)) {
	seen := map[*element]bool{}
	var visit func(e *element)
	visit = func(e *element) {
		if e == nil || seen[e] {
			return
		}
		seen[e] = true
		f(e)
		for _, p := range slices.Concat(e.parts, e.then) {
			visit(p)
		}
		visit(e.forced)
		if e.object != nil {
			for _, n := range e.object.names {
				visit(n.value)
			}
			for _, r := range e.object.free {
				visit(r.value)
			}
		}
		if e.array != nil {
			for _, p := range e.array.prefix {
				visit(p)
			}
			visit(e.array.rest)
		}
	}
	visit(e)
}

// lastElement is the id of the last element.
var lastElement atomic.Int64

// prepare computes what an element and all below it can begin with.
func (e *element) prepare() {
	known, empty := map[*element][4]uint64{}, map[*element]bool{}
	e.each(func(e *element) {
		e.once.Do(func() { e.id, e.first, e.empty = lastElement.Add(1), e.beginnings(known), e.mayBeEmpty(empty) })
	})
}

// mayBeEmpty reports whether an element can be the empty text. known are the elements for which that has been found.
func (e *element) mayBeEmpty(known map[*element]bool) (out bool) {
	if found, ok := known[e]; ok {
		return found
	}
	defer func() { known[e] = out }()
	part := func(p *element) bool { return p.mayBeEmpty(known) }
	switch e.kind {
	case kindLexical:
		return e.lexer.Accept[0]
	case kindSequence:
		return !slices.ContainsFunc(e.parts, func(p *element) bool { return !part(p) })
	case kindChoice:
		return slices.ContainsFunc(e.parts, part)
	case kindRepeat:
		return e.least == 0 || part(e.parts[0])
	}
	return false
}

// beginnings returns the bytes that an element can begin with. A value never begins with itself: schemas that refer to
// themselves alone are refused. known has those of elements that were asked before: they may be parts of many.
func (e *element) beginnings(known map[*element][4]uint64) (out [4]uint64) {
	if out, ok := known[e]; ok {
		return out
	}
	switch e.kind {
	case kindObject:
		out['{'/64] |= 1 << ('{' % 64)
	case kindArray:
		out['['/64] |= 1 << ('[' % 64)
	case kindLexical:
		for b := range 256 {
			if e.lexer.Begins(byte(b)) {
				out[b/64] |= 1 << (b % 64)
			}
		}
	default: // of a sequence, all parts: those before may be empty
		for _, p := range e.parts {
			for i, bits := range p.beginnings(known) {
				out[i] |= bits
			}
		}
	}
	known[e] = out
	return out
}

func (e *element) begins(b byte) bool { return e.first[b/64]>>(b%64)&1 != 0 }
