package parquet

import (
	"fmt"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// kind is what a node of a schema is in JSON.
type kind int

const (
	leaf kind = iota
	object
	list // of the elements of its only child, which is repeated
	keys // an object whose keys are values of the data
)

// node is a field of a schema. A value is there where its definition level is at least def.
type node struct {
	name        string
	kind        kind
	optional    bool
	repeated    bool
	def, rep    int // levels
	first, last int // its columns: first <= c < last
	children    []*node
	typ         parquet.Type // of a leaf
}

// newSchema reads a schema.
func newSchema(s *parquet.Schema) (*node, error) {
	columns := 0
	root, err := newNode(s, "", 0, 0, 0, &columns)
	if err != nil {
		return nil, err
	}
	root.kind, root.repeated, root.optional = object, false, false
	return root, nil
}

func newNode(p parquet.Node, name string, def, rep, depth int, columns *int) (*node, error) {
	if depth > maxDepth {
		return nil, &FileError{fmt.Sprintf("has fields that are more than %d deep", maxDepth)}
	}
	n := &node{name: name, optional: p.Optional(), repeated: p.Repeated(), first: *columns}
	if n.optional || n.repeated {
		def++
	}
	if n.repeated {
		rep++
	}
	n.def, n.rep = def, rep
	if p.Leaf() {
		if *columns++; *columns > maxColumns {
			return nil, &FileError{fmt.Sprintf("has more than %d columns", maxColumns)}
		}
		n.typ, n.last = p.Type(), *columns
		return n, nil
	}
	n.kind = object
	for _, f := range p.Fields() {
		child, err := newNode(f, f.Name(), def, rep, depth+1, columns)
		if err != nil {
			return nil, err
		}
		n.children = append(n.children, child)
	}
	n.last = *columns
	if n.first == n.last && depth > 0 {
		return nil, &FileError{fmt.Sprintf("has a field %q without columns", name)}
	}
	n.recognize(p)
	return n, nil
}

// recognize makes a list or a map of a group that is marked as one.
func (n *node) recognize(p parquet.Node) {
	if len(n.children) != 1 || !n.children[0].repeated {
		return
	}
	inner := n.children[0]
	switch {
	case marked[*format.ListType](p, deprecated.List):
		n.kind = list
	case (marked[*format.MapType](p, deprecated.Map) || marked[*format.MapType](p, deprecated.MapKeyValue)) &&
		len(inner.children) == 2 && inner.children[0].kind == leaf && !inner.children[0].repeated:
		n.kind = keys
	}
}

// marked reports whether a group has a logical type, or the older form of it.
func marked[T format.LogicalTypeValue](p parquet.Node, older deprecated.ConvertedType) bool {
	t := p.Type()
	if logical := t.LogicalType(); logical != nil && logical.Value != nil {
		_, is := logical.Value.(T)
		return is
	}
	converted := t.ConvertedType()
	return converted != nil && *converted == older
}

// element is what a list has as its elements: the only field of the repeated group, or the repeated field itself, as older
// programs wrote it.
func (n *node) element() *node {
	inner := n.children[0]
	if inner.kind != object || len(inner.children) != 1 || inner.name == "array" || inner.name == n.name+"_tuple" {
		return inner
	}
	return inner.children[0]
}
