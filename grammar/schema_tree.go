package grammar

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// This file reads a schema once into a tree, so that no part of it is decoded again for each place that refers to it.

// node is a JSON value.
type node struct {
	id     int // of its own
	raw    json.RawMessage
	kind   string           // as jsonvalue.Kind has it
	text   string           // of a string
	keys   []string         // of an object, in their order
	fields map[string]*node // of an object; of a key that stands twice the last value
	list   []*node          // of an array
}

// has reports whether there is a keyword. Some libraries write null for those they leave out.
func (n *node) has(key string) bool {
	value := n.fields[key]
	return value != nil && (key == "const" || value.kind != "null")
}

// kindOf is the type of a keyword's value, null where there is none.
func (n *node) kindOf(key string) string {
	if value := n.fields[key]; value != nil {
		return value.kind
	}
	return "null"
}

// path is where a node stands. It is written out only where it is needed, for an error.
type path struct {
	above *path
	step  string // with the dot or the brackets before it
}

func (p *path) field(name string) *path { return &path{p, "." + name} }
func (p *path) index(i int) *path       { return &path{p, "[" + strconv.Itoa(i) + "]"} }

// String writes the path. Of a long name only the beginning is shown.
func (p *path) String() string {
	var steps []string
	for ; p != nil; p = p.above {
		steps = append(steps, shortened(p.step))
	}
	var b strings.Builder
	for i := len(steps) - 1; i >= 0; i-- {
		b.WriteString(steps[i])
	}
	return b.String()
}

// maxShownName is how many characters of a name an error shows.
const maxShownName = 80

// shortened is the beginning of a long name.
func shortened(name string) string {
	if runes := []rune(name); len(runes) > maxShownName {
		return string(runes[:maxShownName]) + "..."
	}
	return name
}

// treeReader reads values one after the other. It goes over the text once.
type treeReader struct {
	text   []byte
	tokens *json.Decoder
	values int // that were read
}

// readTree reads a schema, which is at most maxSchemaBytes long.
func readTree(text json.RawMessage, at *path) (*node, error) {
	if len(text) > maxSchemaBytes {
		return nil, refuse(BadValue, at, "has %d bytes, at most %d are read", len(text), maxSchemaBytes)
	}
	r := &treeReader{text: text, tokens: json.NewDecoder(bytes.NewReader(text))}
	r.tokens.UseNumber()
	n, err := r.value(at, 0)
	if err != nil {
		return nil, err
	}
	if _, err := r.tokens.Token(); !errors.Is(err, io.EOF) {
		return nil, refuse(BadType, at, "is not one JSON value")
	}
	return n, nil
}

func (r *treeReader) value(at *path, depth int) (*node, error) {
	if r.values++; r.values > maxSchemaValues {
		return nil, refuse(BadValue, at, "and what stands before it are more than %d values", maxSchemaValues)
	}
	if depth > maxSchemaNesting {
		return nil, refuse(BadValue, at, "is nested deeper than %d values", maxSchemaNesting)
	}
	before := r.tokens.InputOffset()
	token, err := r.tokens.Token()
	if err != nil {
		return nil, refuse(BadType, at, "cannot be read: %v", err)
	}
	n := &node{id: firstID + r.values, kind: jsonvalue.Kind(bytes.TrimLeft(r.text[before:r.tokens.InputOffset()], " \t\r\n,:"))}
	n.text, _ = token.(string)
	switch token {
	case json.Delim('{'):
		err = r.object(n, at, depth)
	case json.Delim('['):
		err = r.array(n, at, depth)
	}
	n.raw = bytes.TrimLeft(r.text[before:r.tokens.InputOffset()], " \t\r\n,:")
	return n, err
}

func (r *treeReader) object(n *node, at *path, depth int) error {
	n.fields = make(map[string]*node)
	for r.tokens.More() {
		token, err := r.tokens.Token()
		if err != nil {
			return refuse(BadType, at, "cannot be read: %v", err)
		}
		name, _ := token.(string) // the decoder admits no other keys
		value, err := r.value(at.field(name), depth+1)
		if err != nil {
			return err
		}
		if _, twice := n.fields[name]; !twice {
			n.keys = append(n.keys, name)
		}
		n.fields[name] = value
	}
	return r.end(at)
}

func (r *treeReader) array(n *node, at *path, depth int) error {
	for i := 0; r.tokens.More(); i++ {
		value, err := r.value(at.index(i), depth+1)
		if err != nil {
			return err
		}
		n.list = append(n.list, value)
	}
	return r.end(at)
}

// end reads the bracket that closes an object or an array.
func (r *treeReader) end(at *path) error {
	if _, err := r.tokens.Token(); err != nil {
		return refuse(BadType, at, "cannot be read: %v", err)
	}
	return nil
}
