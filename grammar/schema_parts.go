package grammar

import (
	"encoding/json"
	"fmt"
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
func (g *grammarWriter) object(o *object, param string, depth int) (string, error) {
	list, err := g.properties(o, param, depth)
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return g.dictionary(o, param, depth)
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
func (g *grammarWriter) properties(o *object, param string, depth int) ([]property, error) {
	var required []string
	if o.has("required") {
		if err := decodeField(o.fields["required"], param+".required", &required); err != nil {
			return nil, err
		}
	}
	named := &object{fields: map[string]json.RawMessage{}}
	if raw := o.fields["properties"]; raw != nil {
		if kind := jsonvalue.Kind(raw); kind != "object" {
			return nil, refuse(BadType, param+".properties", "must be an object, not %s", jsonvalue.Article(kind))
		}
		var err error
		if named, err = readObject(raw); err != nil {
			return nil, err
		}
	}
	for _, name := range required {
		if !named.has(name) {
			named.keys = append(named.keys, name)
			named.fields[name] = others(o)
		}
	}
	list := make([]property, len(named.keys))
	for i, name := range named.keys {
		value, err := g.value(named.fields[name], param+".properties."+name, depth+1)
		if err != nil {
			return nil, err
		}
		list[i] = property{keyOf(name) + ` space ":" space ` + value + " space", slices.Contains(required, name)}
	}
	return list, nil
}

// others is the schema of properties without a name.
func others(o *object) json.RawMessage {
	if raw := o.fields["additionalProperties"]; raw != nil {
		return raw
	}
	return json.RawMessage("true")
}

// dictionary is an object whose names are free.
func (g *grammarWriter) dictionary(o *object, param string, depth int) (string, error) {
	if string(others(o)) == "false" || o.has("properties") && !o.has("additionalProperties") {
		return g.rule(`"{" space "}"`), nil
	}
	value, err := g.value(others(o), param+".additionalProperties", depth+1)
	if err != nil {
		return "", err
	}
	pair := g.rule(`string space ":" space ` + value + " space")
	return g.rule(fmt.Sprintf(`"{" space ( %s ( "," space %s )* )? "}"`, pair, pair)), nil
}

// array has the items of prefixItems first, then any number of items within the bounds.
func (g *grammarWriter) array(o *object, param string, depth int) (string, error) {
	from, to, err := g.bounds(o, "minItems", "maxItems", param)
	if err != nil {
		return "", err
	}
	if v := o.fields["uniqueItems"]; v != nil && string(v) != "false" {
		return "", refuse(Unsupported, param+".uniqueItems", "is not supported")
	}
	var prefix []json.RawMessage
	if o.has("prefixItems") {
		if err := decodeField(o.fields["prefixItems"], param+".prefixItems", &prefix); err != nil {
			return "", err
		}
	}
	if to >= 0 && to < len(prefix) {
		prefix = prefix[:to]
	}
	var items []string
	for i, raw := range prefix {
		item, err := g.value(raw, fmt.Sprintf("%s.prefixItems[%d]", param, i), depth+1)
		if err != nil {
			return "", err
		}
		items = append(items, item+" space")
	}
	body := strings.Join(items, ` "," space `)
	further, err := g.further(o, max(from-len(items), 0), to, len(items), param, depth)
	if err != nil {
		return "", err
	}
	return g.rule(join(join(`"[" space`, join(body, further)), `"]"`)), nil
}

// further are the items after the first `before`, at least `from` of them, and at most `to` items in all.
func (g *grammarWriter) further(o *object, from, to, before int, param string, depth int) (string, error) {
	raw := o.fields["items"]
	switch {
	case raw == nil && before > 0 && from == 0, string(raw) == "false", to >= 0 && to <= before:
		if from > 0 {
			return "", refuse(BadValue, param+".minItems", "asks for more items than the schema has")
		}
		return "", nil // valid, and what a tuple means
	case raw == nil:
		raw = json.RawMessage("true")
	case jsonvalue.Kind(raw) == "array":
		return "", refuse(Unsupported, param+".items", "is an array, prefixItems is supported instead")
	}
	item, err := g.value(raw, param+".items", depth+1)
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
