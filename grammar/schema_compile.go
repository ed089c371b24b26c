package grammar

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/lorikeet-ai/lorikeet/grammar/automaton"
)

// Bounds of a schema.
const (
	maxSchemaBytes   = 1 << 20
	maxSchemaValues  = 50_000   // of any kind, keywords' values among them
	maxSchemaNesting = 400      // of values
	maxSchemaStates  = 120_000  // of all automata together
	maxSchemaMemory  = 32 << 20 // bytes of them
)

// anySchema and noSchema are schemas that all values, and none, are valid under.
var (
	anySchema = &node{id: 0, kind: "boolean", raw: json.RawMessage("true")}
	noSchema  = &node{id: 1, kind: "boolean", raw: json.RawMessage("false")}
)

// firstID is that of the first node of a tree, constantID is added to that of a value for the schema of that value alone.
const (
	firstID    = 2
	constantID = 1 << 20
)

// constant is a schema that a value alone is valid under.
func constant(v *node) *node {
	return &node{id: v.id + constantID, kind: "object", keys: []string{"const"}, fields: map[string]*node{"const": v}}
}

// schemaCompiler makes the elements of one schema.
type schemaCompiler struct {
	root       *node
	at         *path
	resources  *resources // nil before the first reference is followed
	patterns   map[string]*automaton.DFA
	outlines   map[*node]*outline
	shapes     map[string]*shape
	order      []*shape
	expansions int
	singles    map[*shape]*element // of unique items
	lexers     map[*automaton.Lexer]bool
	states     int // of all lexers
	bytes      int // and what they take
	started    time.Time
}

// shape is the values under some terms.
type shape struct {
	terms    []term
	at       *path
	words    wordSet // that are left out
	strings  []stringSet
	numbers  []numberSet
	scalars  []*element // of words, strings and numbers
	arrays   []*arrayShape
	objects  []*objectShape
	possible bool
	element  *element
}

type arrayShape struct {
	set    arraySet
	prefix []*shape
	rest   *shape
}

type objectShape struct {
	names       []nameShape
	free        []freeShape
	least, most int32
}

type nameShape struct {
	name     string
	value    *shape
	required bool
}

type freeShape struct {
	keys  *automaton.DFA
	value *shape
}

// compileSchema returns the element of the values under a schema.
func compileSchema(param string, schema json.RawMessage) (*element, error) {
	at := &path{step: param}
	root, err := readTree(schema, at)
	if err != nil {
		return nil, err
	}
	c := &schemaCompiler{started: time.Now(), root: root, at: at, patterns: make(map[string]*automaton.DFA),
		outlines: make(map[*node]*outline), lexers: make(map[*automaton.Lexer]bool), singles: make(map[*shape]*element), shapes: make(map[string]*shape)}
	top := c.shape([]term{{root, at, false}}, at)
	for i := 0; i < len(c.order); i++ {
		if len(c.order) > maxShapes {
			return nil, refuse(Unsupported, at, "has more than %d different values", maxShapes)
		}
		if err := c.expand(c.order[i]); err != nil {
			return nil, err
		}
	}
	c.findPossible()
	if !top.possible {
		return nil, refuse(BadValue, at, "admits no value")
	}
	for _, s := range c.order {
		if err := c.emit(s); err != nil {
			return nil, err
		}
	}
	return top.element, nil
}

// shape returns the shape of some terms. at is where it is needed.
func (c *schemaCompiler) shape(terms []term, at *path) *shape {
	terms = slices.DeleteFunc(slices.Clone(terms), func(t term) bool {
		return t.schema.kind == "boolean" && (string(t.schema.raw) == "true") != t.not
	})
	key := termsKey(terms)
	if s, ok := c.shapes[key]; ok {
		return s
	}
	if len(terms) > 0 {
		at = terms[0].at
	}
	s := &shape{terms: terms, at: at, element: &element{kind: kindChoice}}
	c.shapes[key] = s
	c.order = append(c.order, s)
	return s
}

func expand[S any](c *schemaCompiler, a algebra[S], terms []term) ([]S, error) {
	x := &expansion[S]{c: c, algebra: a, open: make(map[int]bool)}
	return x.all(terms)
}

// maxCompileTime ends what the other bounds let through: hundreds of automata that each are just small enough.
const maxCompileTime = 2 * time.Second

var errLate = errors.New("the schema takes too long to compile")

// late returns an error once the time for the schema has passed. It is asked before each automaton that is made.
func (c *schemaCompiler) late() error {
	if time.Since(c.started) > maxCompileTime {
		return errLate
	}
	return nil
}

// expand finds the alternatives of a shape.
func (c *schemaCompiler) expand(s *shape) error {
	if err := c.late(); err != nil {
		return c.automatonError(s.at, err)
	}
	words, err := expand(c, wordAlgebra(), s.terms)
	if err != nil {
		return err
	}
	s.words = 7
	for _, w := range words {
		s.words &= w
	}
	if s.strings, err = expand(c, c.stringAlgebra(), s.terms); err != nil {
		return err
	}
	if s.numbers, err = expand(c, c.numberAlgebra(), s.terms); err != nil {
		return err
	}
	if s.scalars, err = c.scalars(s); err != nil {
		return err
	}
	arrays, err := expand(c, c.arrayAlgebra(), s.terms)
	if err != nil {
		return err
	}
	for _, a := range arrays {
		s.arrays = append(s.arrays, c.arrayShape(a, s.at))
	}
	x := &expansion[objectSet]{c: c, algebra: c.objectAlgebra(), open: make(map[int]bool), with: withProperty, sans: sansProperty}
	objects, err := x.all(s.terms)
	if err != nil {
		return err
	}
	for _, o := range objects {
		shape, err := c.objectShape(o, s.at)
		if err != nil {
			return err
		}
		if shape != nil {
			s.objects = append(s.objects, shape)
		}
	}
	return nil
}

func (c *schemaCompiler) arrayShape(a arraySet, at *path) *arrayShape {
	out := &arrayShape{set: a}
	if a.most > 0 && len(a.prefix) >= a.most {
		a.prefix = a.prefix[:a.most-1]
	}
	for _, terms := range a.prefix {
		out.prefix = append(out.prefix, c.shape(terms, at))
	}
	if a.most == 0 || a.most-1 > len(a.prefix) {
		out.rest = c.shape(a.rest, at)
	}
	return out
}

func (a *arrayShape) item(i int) *shape {
	if i < len(a.prefix) {
		return a.prefix[i]
	}
	return a.rest
}

// objectShape returns nil where an object lacks a key that it must have.
func (c *schemaCompiler) objectShape(o objectSet, at *path) (*objectShape, error) {
	out := &objectShape{least: int32(o.least), most: unbounded}
	if o.most > 0 {
		out.most = int32(o.most - 1)
	}
	keys, err := c.keys(o.names)
	if err != nil {
		return nil, err
	}
	seen, needed := map[string]bool{}, setOf(o.required)
	add := func(name string) bool {
		if seen[name] {
			return true
		}
		seen[name] = true
		required := needed[name]
		if o.forbidden[name] || keys != nil && !keys.Accepts(name) {
			return !required
		}
		out.names = append(out.names, nameShape{name, c.shape(o.terms(name), at), required})
		return true
	}
	open := true // whether no schema names properties
	for _, p := range o.parts {
		for _, name := range p.order {
			open = false
			if !add(name) {
				return nil, nil
			}
		}
	}
	for _, name := range o.required {
		if !add(name) {
			return nil, nil
		}
	}
	for name := range o.forbidden {
		seen[name] = true
	}
	return out, c.freeShapes(o, out, keys, seen, open, at)
}

// findPossible finds the shapes that have values, from those without items and properties up.
func (c *schemaCompiler) findPossible() {
	for changed := true; changed; {
		changed = false
		for _, s := range c.order {
			if s.possible {
				continue
			}
			s.possible = len(s.scalars) > 0 || slices.ContainsFunc(s.arrays, (*arrayShape).possible) || slices.ContainsFunc(s.objects, (*objectShape).possible)
			changed = changed || s.possible
		}
	}
}

func (a *arrayShape) possible() bool {
	for i := range min(a.set.least, len(a.prefix)+1) {
		if s := a.item(i); s == nil || !s.possible {
			return false
		}
	}
	return true
}

func (o *objectShape) possible() bool {
	count, required := int32(0), int32(0)
	for _, n := range o.names {
		switch {
		case n.value.possible:
			count++
		case n.required:
			return false
		}
		if n.required {
			required++
		}
	}
	if slices.ContainsFunc(o.free, func(f freeShape) bool { return f.value.possible }) {
		count = math.MaxInt32
	}
	return count >= o.least && required <= o.most
}

// automatonError makes an error of package automaton one that names a place in the schema.
func (c *schemaCompiler) automatonError(at *path, err error) error {
	switch {
	case errors.Is(err, automaton.ErrTooLarge):
		return refuse(Unsupported, at, "%v", err)
	case errors.Is(err, errLate):
		return refuse(Unsupported, at, "and what stands before it take more than %v to compile", maxCompileTime)
	}
	return err
}
