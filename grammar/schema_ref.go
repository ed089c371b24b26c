package grammar

import (
	"strconv"
	"strings"
)

// This file has references within a schema.

// find returns what a $ref refers to: a pointer such as #/$defs/item, or an anchor.
func (c *schemaCompiler) find(t term) (term, error) {
	at := t.at.field("$ref")
	var pointer string
	if err := decodeField(t.schema.fields["$ref"], at, &pointer); err != nil {
		return term{}, err
	}
	own := ""
	if c.root.kindOf("$id") == "string" {
		own = strings.TrimSuffix(c.root.fields["$id"].text, "#")
	}
	rest, ok := strings.CutPrefix(strings.TrimPrefix(pointer, own), "#")
	if pointer == own {
		rest, ok = "", true
	}
	if !ok {
		return term{}, refuse(Unsupported, at, "is %q: pointers into the schema are supported, such as #/$defs/item", shortened(pointer))
	}
	if rest != "" && rest[0] != '/' {
		if n, where := findAnchor(c.root, c.at, rest); n != nil {
			return term{n, where, false}, nil
		}
		return term{}, refuse(BadValue, at, "is %q, which the schema does not have", shortened(pointer))
	}
	n, where := c.root, c.at
	for _, step := range strings.Split(rest, "/")[1:] {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		next, to := n.fields[step], where.field(step)
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.list) {
			next, to = n.list[i], where.index(i)
		}
		if next == nil {
			return term{}, refuse(BadValue, at, "is %q, which the schema does not have", shortened(pointer))
		}
		n, where = next, to
	}
	return term{n, where, false}, nil
}

// findAnchor looks for a schema with an $anchor.
func findAnchor(n *node, at *path, name string) (*node, *path) {
	if n.kindOf("$anchor") == "string" && n.fields["$anchor"].text == name {
		return n, at
	}
	for _, key := range n.keys {
		if found, where := findAnchor(n.fields[key], at.field(key), name); found != nil {
			return found, where
		}
	}
	for i, v := range n.list {
		if found, where := findAnchor(v, at.index(i), name); found != nil {
			return found, where
		}
	}
	return nil, nil
}
