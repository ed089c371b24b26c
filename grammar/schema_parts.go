package grammar

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

// This file has the grammars of objects and arrays.

// property is one of an object's.
type property struct {
	pair     string // `"name": value`
	required bool
}

// object is one with the schema's properties, in their order. Where the schema names none it is any, with values
// of additionalProperties.
func (g *grammarWriter) object(o *node, at *path, depth int) (string, error) {
	list, err := g.properties(o, at, depth)
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return g.dictionary(o, at, depth)
	}
	// rest is what may follow a property, from the last to the first; begin what an object may begin with.
	rest, begin := "", ""
	for i := len(list) - 1; i >= 0; i-- {
		p := list[i]
		first, next := join(p.pair, rest), `"," space `+p.pair
		if p.required {
			begin, rest = first, join(next, rest)
		} else {
			begin, rest = g.rule(first+" | "+orEmpty(begin)), join("( "+next+" )?", rest)
		}
		if rest != "" && i > 0 {
			rest = g.rule(rest) // named, so that the text does not grow with the square of the properties
		}
	}
	return g.rule(`"{" space ` + begin + ` "}"`), nil
}

func join(a, b string) string { return strings.TrimSpace(a + " " + b) }

func orEmpty(expression string) string {
	if expression == "" {
		return `""`
	}
	return expression
}

// properties are those that the schema names, and those that it requires without naming them.
func (g *grammarWriter) properties(o *node, at *path, depth int) ([]property, error) {
	var names []string
	schemas := make(map[string]*node)
	if n := o.fields["properties"]; n != nil {
		if n.kind != "object" {
			return nil, refuse(BadType, at.field("properties"), "must be an object, not %s", jsonvalue.Article(n.kind))
		}
		names = slices.Clone(n.keys)
		maps.Copy(schemas, n.fields)
	}
	var required []string
	if o.has("required") {
		if err := decodeField(o.fields["required"], at.field("required"), &required); err != nil {
			return nil, err
		}
	}
	needed := make(map[string]bool)
	for _, name := range required {
		needed[name] = true
		switch schema, named := schemas[name]; {
		case !named:
			names = append(names, name)
			fallthrough
		case schema.kind == "null":
			schemas[name] = additional(o)
		}
	}
	list := make([]property, len(names))
	for i, name := range names {
		value, err := g.value(schemas[name], at.field("properties").field(name), depth+1)
		if err != nil {
			return nil, err
		}
		list[i] = property{keyOf(name) + ` space ":" space ` + value + " space", needed[name]}
	}
	return list, nil
}

// anyValue is the schema that all values are valid under.
var anyValue = &node{raw: json.RawMessage("true"), kind: "boolean"}

// additional is the schema of properties without a name.
func additional(o *node) *node {
	if n := o.fields["additionalProperties"]; n != nil {
		return n
	}
	return anyValue
}

// dictionary is an object whose names are free.
func (g *grammarWriter) dictionary(o *node, at *path, depth int) (string, error) {
	if string(additional(o).raw) == "false" || o.has("properties") && !o.has("additionalProperties") {
		return g.rule(`"{" space "}"`), nil
	}
	value, err := g.value(additional(o), at.field("additionalProperties"), depth+1)
	if err != nil {
		return "", err
	}
	pair := g.rule(`string space ":" space ` + value + " space")
	return g.rule(fmt.Sprintf(`"{" space ( %s ( "," space %s )* )? "}"`, pair, pair)), nil
}

// array has the items of prefixItems first, then any number of items within the bounds.
func (g *grammarWriter) array(o *node, at *path, depth int) (string, error) {
	from, to, err := g.bounds(o, "minItems", "maxItems", at)
	if err != nil {
		return "", err
	}
	if v := o.fields["uniqueItems"]; v != nil && string(v.raw) != "false" {
		return "", refuse(Unsupported, at.field("uniqueItems"), "is not supported")
	}
	var prefix []*node
	if o.has("prefixItems") {
		n := o.fields["prefixItems"]
		if n.kind != "array" {
			return "", decodeField(n, at.field("prefixItems"), &[]json.RawMessage{})
		}
		prefix = n.list
	}
	if to >= 0 && to < len(prefix) {
		prefix = prefix[:to]
	}
	var items []string
	for i, schema := range prefix {
		item, err := g.value(schema, at.field("prefixItems").index(i), depth+1)
		if err != nil {
			return "", err
		}
		items = append(items, item+" space")
	}
	body := strings.Join(items, ` "," space `)
	further, err := g.furtherItems(o, max(from-len(items), 0), to, len(items), at, depth)
	if err != nil {
		return "", err
	}
	return g.rule(join(join(`"[" space`, join(body, further)), `"]"`)), nil
}

// furtherItems are those after the first `before`, at least `from` of them, and at most `to` items in all.
func (g *grammarWriter) furtherItems(o *node, from, to, before int, at *path, depth int) (string, error) {
	schema := o.fields["items"]
	switch {
	case schema == nil && before > 0 && from == 0, schema != nil && string(schema.raw) == "false", to >= 0 && to <= before:
		if from > 0 {
			return "", refuse(BadValue, at.field("minItems"), "asks for more items than the schema has")
		}
		return "", nil // valid, and what a tuple means
	case schema == nil:
		schema = anyValue
	case schema.kind == "array":
		return "", refuse(Unsupported, at.field("items"), "is an array, prefixItems is supported instead")
	}
	item, err := g.value(schema, at.field("items"), depth+1)
	if err != nil {
		return "", err
	}
	item += " space"
	most := -1
	if to >= 0 {
		most = to - before
	}
	if before > 0 {
		return repeated(`( "," space `+item+` )`, from, most), nil
	}
	if most > 0 {
		most--
	}
	whole := item + " " + repeated(`( "," space `+item+` )`, max(from-1, 0), most)
	if from == 0 {
		return "( " + whole + " )?", nil
	}
	return whole, nil
}
