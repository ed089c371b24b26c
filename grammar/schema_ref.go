package grammar

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// This file has references within a schema: to a pointer such as #/$defs/item, to an anchor, and to a schema by its $id.

// references are the keywords that refer to a schema.
var references = []string{"$ref", "$dynamicRef", "$recursiveRef"}

// location is a schema and where it stands.
type location struct {
	schema *node
	at     *path
}

// resources are what can be referred to.
type resources struct {
	whole   location
	bases   map[*node]*url.URL  // of schemas that refer, what their references are relative to
	schemas map[string]location // those with an $id and the whole, by their URI
	anchors map[string]location // by the URI of what they are in, # and their name
	dynamic map[string]int      // how many $dynamicAnchor of a name there are
	moving  map[string]bool     // anchors that are such, by URI
	roots   map[*node]bool      // schemas with $recursiveAnchor
}

// ownBase stands for the URI of a schema without an $id.
var ownBase = &url.URL{Scheme: "schema", Path: "/"}

func newResources(root *node, at *path) *resources {
	r := &resources{whole: location{root, at}, bases: make(map[*node]*url.URL), schemas: make(map[string]location), anchors: make(map[string]location),
		dynamic: make(map[string]int), moving: make(map[string]bool), roots: make(map[*node]bool)}
	r.schemas[ownBase.String()] = r.whole
	r.read(root, at, ownBase)
	return r
}

// Where schemas stand in a schema: by name, in lists, and alone. One list is where older drafts have it.
var (
	schemasByName  = []string{"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}
	listsOfSchemas = []string{"allOf", "anyOf", "oneOf", "prefixItems", "items"}
	singleSchemas  = []string{"not", "if", "then", "else", "items", "additionalItems", "unevaluatedItems", "contains",
		"additionalProperties", "unevaluatedProperties", "propertyNames", "contentSchema"}
)

// read finds what can be referred to in a schema and below it.
func (r *resources) read(n *node, at *path, base *url.URL) {
	if n.kind != "object" {
		return
	}
	if n.kindOf("$id") == "string" {
		if u, err := base.Parse(n.fields["$id"].text); err == nil {
			base = withoutFragment(u)
			if _, twice := r.schemas[base.String()]; !twice {
				r.schemas[base.String()] = location{n, at}
			}
		}
	}
	for _, key := range []string{"$anchor", "$dynamicAnchor"} {
		if n.kindOf(key) == "string" {
			name := n.fields[key].text
			uri := base.String() + "#" + name
			r.anchors[uri] = location{n, at}
			if key == "$dynamicAnchor" {
				r.moving[uri] = true
				r.dynamic[name]++
			}
		}
	}
	if n.kindOf("$recursiveAnchor") == "boolean" && string(n.fields["$recursiveAnchor"].raw) == "true" {
		r.roots[n] = true
	}
	if slices.ContainsFunc(references, n.has) {
		r.bases[n] = base
	}
	for _, key := range n.keys {
		value, where := n.fields[key], at.field(key)
		switch {
		case value.kind == "object" && slices.Contains(schemasByName, key):
			for _, name := range value.keys {
				r.read(value.fields[name], where.field(name), base)
			}
		case value.kind == "array" && slices.Contains(listsOfSchemas, key):
			for i, s := range value.list {
				r.read(s, where.index(i), base)
			}
		case value.kind == "object" && slices.Contains(singleSchemas, key):
			r.read(value, where, base)
		}
	}
}

func withoutFragment(u *url.URL) *url.URL {
	out := *u
	out.Fragment, out.RawFragment = "", ""
	return &out
}

// find returns what a keyword of references refers to.
func (c *schemaCompiler) find(t term, key string) (term, error) {
	if c.resources == nil {
		c.resources = newResources(c.root, c.at)
	}
	r, at := c.resources, t.at.field(key)
	var text string
	if err := decodeField(t.schema.fields[key], at, &text); err != nil {
		return term{}, err
	}
	base := ownBase
	if own, ok := r.bases[t.schema]; ok {
		base = own
	}
	u, err := base.Parse(text)
	if err != nil {
		return term{}, refuse(BadValue, at, "is %q, which is no URI reference", shortened(text))
	}
	fragment := u.Fragment
	in, ok := r.schemas[withoutFragment(u).String()]
	if !ok {
		return term{}, refuse(Unsupported, at, "is %q: pointers into the schema are supported, such as #/$defs/item", shortened(text))
	}
	if key == "$recursiveRef" && r.roots[in.schema] && len(r.roots) > 1 {
		return term{}, refuse(Unsupported, at, "depends on which schema with $recursiveAnchor refers to it, which is not supported")
	}
	if fragment == "" {
		return term{in.schema, in.at, false}, nil
	}
	if fragment[0] != '/' {
		uri := withoutFragment(u).String() + "#" + fragment
		found, ok := r.anchors[uri]
		switch {
		case !ok:
			return term{}, refuse(BadValue, at, "is %q, which the schema does not have", shortened(text))
		case key == "$dynamicRef" && r.moving[uri] && r.dynamic[fragment] > 1:
			return term{}, refuse(Unsupported, at, "depends on which schema with this $dynamicAnchor refers to it, which is not supported")
		}
		return term{found.schema, found.at, false}, nil
	}
	if n, where := in.pointed(fragment); n != nil {
		return term{n, where, false}, nil
	}
	return term{}, refuse(BadValue, at, "is %q, which the schema does not have", shortened(text))
}

// pointed follows a JSON pointer; nil where it leads nowhere.
func (l location) pointed(pointer string) (*node, *path) {
	n, where := l.schema, l.at
	for _, step := range strings.Split(pointer, "/")[1:] {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		next, to := n.fields[step], where.field(step)
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.list) {
			next, to = n.list[i], where.index(i)
		}
		if next == nil {
			return nil, nil
		}
		n, where = next, to
	}
	return n, where
}
