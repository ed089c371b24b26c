package calls

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/lorikeet-ai/lorikeet/grammar"
)

// A literal is constrained as the model would write it where its schema has nothing but what this file knows, and as JSON,
// which is read as well, where it has more.

// The limits of literals that are not written as JSON; what is beyond them is.
const (
	maxLiteralDepth = 8    // lists, objects and references inside one another
	maxLiteralParts = 2000 // of one tool
)

// literals makes the constraints of the values of a tool's parameters.
type literals struct {
	*Parameters
	tool  Tool
	root  map[string]json.RawMessage // the schema of the arguments, which has the definitions that others refer to
	depth int
	left  int                     // how many further parts there may be
	known map[string]grammar.Part // by depth and schema: types are referred to again and again
}

func (p *Parameters) newLiterals(t Tool) *literals {
	return &literals{Parameters: p, tool: t, root: fieldsOf(t.Parameters), left: maxLiteralParts, known: map[string]grammar.Part{}}
}

// annotations are the keywords that bound nothing.
var annotations = []string{"type", "title", "description", "default", "examples", "$defs", "definitions"}

// only reports whether a schema has no keywords but annotations and some others.
func only(fields map[string]json.RawMessage, others ...string) bool {
	for key := range fields {
		if !slices.Contains(annotations, key) && !slices.Contains(others, key) {
			return false
		}
	}
	return true
}

// parameter is the value of a parameter.
func (l *literals) parameter(param string, one parameter, strict bool) (grammar.Part, error) {
	whole, err := grammar.Schema(param, one.schema)
	if !strict && unsupported(err) {
		return grammar.Choice(l.anyText(), grammar.Value()), nil
	}
	if err == nil {
		if part, ok := l.native(one.schema); ok {
			return part, nil
		}
	}
	return whole, err
}

// value is a literal as the model writes it where it can be, and else JSON.
func (l *literals) value(schema json.RawMessage) (part grammar.Part, ok bool) {
	key := strconv.Itoa(l.depth) + string(schema)
	if part, ok = l.known[key]; ok {
		return part, true
	}
	l.depth++
	part, ok = l.native(schema)
	l.depth--
	if !ok {
		json := "json" + string(schema)
		if part, ok = l.known[json]; !ok {
			var err error
			part, err = grammar.Schema(l.tool.Param, withDefinitions(schema, l.root))
			ok, l.known[json] = err == nil, part
		}
	}
	if ok {
		l.known[key] = part
	}
	return part, ok
}

func fieldsOf(schema json.RawMessage) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(schema, &fields) != nil {
		return nil // true or false
	}
	return fields
}

// native is the literal as the model writes it; ok says whether there is one.
func (l *literals) native(schema json.RawMessage) (part grammar.Part, ok bool) {
	fields := fieldsOf(schema)
	if l.left--; fields == nil || l.depth > maxLiteralDepth || l.left < 0 {
		return part, false
	}
	var kind string
	if fields["type"] != nil && json.Unmarshal(fields["type"], &kind) != nil {
		return part, false // several
	}
	switch {
	case l.Python && kind == "boolean" && only(fields):
		return grammar.Choice(grammar.Literal("True"), grammar.Literal("False")), true
	case l.Python && kind == "null" && only(fields):
		return grammar.Literal("None"), true
	case fields["anyOf"] != nil && kind == "" && only(fields, "anyOf"):
		return l.anyOf(fields["anyOf"])
	case escaped(l.Quotes.Close): // texts are JSON, and so is what is made of them
		return part, false
	case fields["$ref"] != nil && kind == "" && only(fields, "$ref"):
		if target := definition(fields["$ref"], l.root); target != nil {
			return l.value(target)
		}
	case kind == "string" && only(fields, "enum"):
		return l.quoted(fields["enum"])
	case kind == "array" && only(fields, "items", "minItems", "maxItems"):
		return l.list(fields)
	case kind == "object" && only(fields, "properties", "required", "additionalProperties"):
		return l.object(schema, fields)
	}
	return part, false
}

// anyOf is one of several schemas.
func (l *literals) anyOf(schemas json.RawMessage) (grammar.Part, bool) {
	var list []json.RawMessage
	if json.Unmarshal(schemas, &list) != nil || len(list) == 0 {
		return grammar.Part{}, false
	}
	parts := make([]grammar.Part, len(list))
	for i, one := range list {
		var ok bool
		if parts[i], ok = l.value(one); !ok {
			return grammar.Part{}, false
		}
	}
	return grammar.Choice(parts...), true
}

// definition is what a reference refers to, where that is a definition of the root.
func definition(ref json.RawMessage, root map[string]json.RawMessage) json.RawMessage {
	var path string
	if json.Unmarshal(ref, &path) != nil {
		return nil
	}
	for _, key := range []string{"$defs", "definitions"} {
		if name, ok := strings.CutPrefix(path, "#/"+key+"/"); ok {
			return fieldsOf(root[key])[name]
		}
	}
	return nil
}

// quoted is any text in quotes, or one of those of an enumeration.
func (l *literals) quoted(values json.RawMessage) (grammar.Part, bool) {
	if values == nil {
		return l.anyText(), true
	}
	var texts []string
	if json.Unmarshal(values, &texts) != nil {
		return grammar.Part{}, false
	}
	choices := make([]grammar.Part, len(texts))
	for i, text := range texts {
		if strings.Contains(text, l.Quotes.Close) {
			return grammar.Part{}, false
		}
		choices[i] = grammar.Literal(text)
	}
	return grammar.Sequence(grammar.Literal(l.Quotes.Open), grammar.Choice(choices...), grammar.Literal(l.Quotes.Close)), true
}

// list is an array.
func (l *literals) list(fields map[string]json.RawMessage) (grammar.Part, bool) {
	item, ok := fields["items"], false
	if item == nil {
		item = json.RawMessage("true")
	}
	least, most := 0, -1
	for key, bound := range map[string]*int{"minItems": &least, "maxItems": &most} {
		if raw := fields[key]; raw != nil {
			n, err := strconv.ParseInt(string(raw), 10, 32)
			if err != nil {
				return grammar.Part{}, false // written as 1e3, for example
			}
			*bound = int(n)
		}
	}
	if most == 0 {
		return grammar.Literal("[]"), true
	}
	var one grammar.Part
	if one, ok = l.value(item); !ok {
		return grammar.Part{}, false
	}
	further := grammar.Sequence(one, grammar.Repeat(grammar.Sequence(grammar.Literal(","), one), max(least-1, 0), max(most-1, -1)))
	if least == 0 {
		further = grammar.Repeat(further, 0, 1)
	}
	return grammar.Sequence(grammar.Literal("["), further, grammar.Literal("]")), true
}

// object is an object of some properties.
func (l *literals) object(schema json.RawMessage, fields map[string]json.RawMessage) (grammar.Part, bool) {
	all := parametersOf(schema)
	if all.free || len(all.list) == 0 || fields["additionalProperties"] != nil && string(fields["additionalProperties"]) != "false" {
		return grammar.Part{}, false
	}
	list := make([]member, len(all.list))
	for i, one := range all.list {
		if !IsName(one.name) {
			return grammar.Part{}, false
		}
		value, ok := l.value(one.schema)
		if !ok {
			return grammar.Part{}, false
		}
		list[i] = member{grammar.Sequence(grammar.Literal(one.name+":"), value), one.required}
	}
	return grammar.Sequence(grammar.Literal("{"), members(list, grammar.Literal(",")), grammar.Literal("}")), true
}
