package grammar

import (
	"math"
	"slices"
	"strings"
)

// This file has unevaluatedProperties and unevaluatedItems: what a schema says about properties and items that neither it
// nor the schemas which it is put together from have looked at. Of these schemas, each alternative of an expansion has
// taken some: what others may have looked at, too, is left to the keyword, so that an answer is valid in either case.

// applicators are keywords of schemas that apply to the same value, and may have looked at parts of it.
var applicators = []string{"$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "if", "not", "dependentSchemas", "dependencies"}

// unevaluated returns the schema of such a keyword; ok is false where it says nothing. alone are keywords beside which
// there is nothing left to say.
func unevaluated(t term, key string, alone ...string) (u term, ok bool, err error) {
	n := t.schema.fields[key]
	if !t.schema.has(key) || string(n.raw) == "true" {
		return u, false, nil
	}
	for _, other := range alone {
		if t.schema.has(other) {
			return u, false, nil
		}
	}
	u = term{n, t.at.field(key), false}
	for _, other := range applicators {
		if t.not && t.schema.has(other) {
			return u, false, refuse(Unsupported, u.at, "is not supported beside %s where it is negated", other)
		}
	}
	return u, !t.not, nil
}

// lastProperties holds the properties that no part of objects has looked at to unevaluatedProperties.
func (c *schemaCompiler) lastProperties(t term, list []objectSet) ([]objectSet, error) {
	u, ok, err := unevaluated(t, "unevaluatedProperties", "additionalProperties")
	if err != nil {
		return nil, err
	}
	if t.not {
		for i := range list {
			list[i].parts = unseen(list[i].parts)
		}
	}
	if !ok {
		return list, nil
	}
	var out []objectSet
	for _, s := range list {
		rest, all := objectPart{named: make(map[string]term), others: &u, evaluates: true}, false
		for _, p := range s.parts {
			if !p.evaluates {
				continue
			}
			all = all || p.others != nil
			for name := range p.named {
				rest.named[name] = term{anySchema, u.at, false}
			}
			for _, k := range p.patterns {
				rest.patterns = append(rest.patterns, keyPattern{k.keys, term{anySchema, u.at, false}})
			}
		}
		if all {
			out = append(out, s)
		} else if both, ok := c.meetObjects(s, objectSet{parts: []*objectPart{&rest}}); ok {
			out = append(out, both)
		}
	}
	return out, nil
}

// unseen returns parts without what they have looked at: a schema that is negated has looked at nothing.
func unseen(parts []*objectPart) []*objectPart {
	out := slices.Clone(parts)
	for i, p := range out {
		if p.evaluates {
			blind := *p
			blind.evaluates = false
			out[i] = &blind
		}
	}
	return out
}

// allItems stands for the number of all items.
const allItems = math.MaxInt

// lastItems holds the items that no part of arrays has looked at to unevaluatedItems.
func lastItems(t term, list []arraySet) ([]arraySet, error) {
	rest := "items"
	if t.schema.kindOf("items") == "array" {
		rest = "additionalItems"
	}
	u, ok, err := unevaluated(t, "unevaluatedItems", rest)
	if err != nil {
		return nil, err
	}
	if t.not && u.schema != nil && t.schema.has("contains") {
		return nil, refuse(Unsupported, u.at, "is not supported beside contains where it is negated")
	}
	if t.not {
		for i := range list {
			list[i].evaluated = 0
		}
	}
	if !ok {
		return list, nil
	}
	var out []arraySet
	for _, s := range list {
		if s.evaluated == allItems {
			out = append(out, s)
			continue
		}
		last := arraySet{prefix: make([][]term, s.evaluated), rest: []term{u}, evaluated: allItems}
		if both, ok := meetArrays(s, last); ok {
			out = append(out, both)
		}
	}
	return out, nil
}

// containsEvaluates reports whether contains has looked at the items that are under it: in drafts since 2020-12.
func (c *schemaCompiler) containsEvaluates() bool {
	return c.root.kindOf("$schema") != "string" || !strings.Contains(c.root.fields["$schema"].text, "2019-09")
}
