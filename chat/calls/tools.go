package calls

import (
	"encoding/json"
	"slices"
)

// Tool is one that the model may call.
type Tool struct {
	Name string
	// Parameters is the JSON schema of its arguments, of an object; nil: there are none.
	Parameters json.RawMessage
	// Param is where the schema stands in the request, for errors.
	Param string
	// Strict says that arguments must be valid under the schema: keywords that cannot be enforced are refused.
	Strict bool
}

// Set is the tools of a request, by their names.
type Set struct {
	list  []Tool
	texts map[string]map[string]bool // tool -> its parameters that are plain texts
}

// NewSet returns the set of tools with different names.
func NewSet(list []Tool) *Set {
	s := &Set{list: list, texts: make(map[string]map[string]bool, len(list))}
	for _, t := range list {
		s.texts[t.Name] = make(map[string]bool)
		for _, p := range parametersOf(t.Parameters).list {
			s.texts[t.Name][p.name] = p.text
		}
	}
	return s
}

// Has implements Tools.
func (s *Set) Has(name string) bool { return s.texts[name] != nil }

// IsText implements Tools.
func (s *Set) IsText(tool, parameter string) bool { return s.texts[tool][parameter] }

// parameter is one of a tool's.
type parameter struct {
	name     string
	schema   json.RawMessage
	required bool
	text     bool     // it is written as a text, not as JSON
	values   []string // of a text: those that it may have; nil: any
}

// parameters are a tool's, where its schema has them one by one.
type parameters struct {
	list []parameter
	free bool // they are not told one by one
}

// parametersOf reads the parameters of a schema, in its order.
func parametersOf(schema json.RawMessage) parameters {
	var root struct {
		Properties  orderedObject              `json:"properties"`
		Required    []string                   `json:"required"`
		Definitions map[string]json.RawMessage `json:"definitions"`
		Defs        map[string]json.RawMessage `json:"$defs"`
	}
	if len(schema) == 0 {
		return parameters{}
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(schema, &root) != nil || json.Unmarshal(schema, &all) != nil {
		return parameters{free: true}
	}
	for _, key := range []string{"$ref", "anyOf", "oneOf", "allOf", "enum", "const"} {
		if all[key] != nil {
			return parameters{free: true}
		}
	}
	var p parameters
	for _, entry := range root.Properties {
		one := parameter{name: entry.name, schema: entry.value, required: slices.Contains(root.Required, entry.name)}
		one.text, one.values = plainText(entry.value)
		if len(root.Defs)+len(root.Definitions) > 0 && !one.text {
			one.schema = withDefinitions(entry.value, all)
		}
		p.list = append(p.list, one)
	}
	for _, name := range root.Required {
		if !slices.ContainsFunc(p.list, func(one parameter) bool { return one.name == name }) {
			p.list = append(p.list, parameter{name: name, schema: json.RawMessage("true"), required: true})
		}
	}
	return p
}

// plainText reports whether a schema is that of a text which is bound by nothing but a list of values.
func plainText(schema json.RawMessage) (yes bool, values []string) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(schema, &fields) != nil {
		return false, nil
	}
	for key := range fields {
		if !slices.Contains([]string{"type", "title", "description", "default", "examples", "enum"}, key) {
			return false, nil
		}
	}
	if string(fields["type"]) != `"string"` {
		return false, nil
	}
	if fields["enum"] != nil && (json.Unmarshal(fields["enum"], &values) != nil || len(values) == 0) {
		return false, nil
	}
	return true, values
}

// withDefinitions gives the schema of a property what it may refer to.
func withDefinitions(schema json.RawMessage, root map[string]json.RawMessage) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(schema, &fields) != nil {
		return schema // true or false
	}
	for _, key := range []string{"$defs", "definitions"} {
		if root[key] != nil && fields[key] == nil {
			fields[key] = root[key]
		}
	}
	b, err := json.Marshal(fields)
	if err != nil {
		return schema
	}
	return b
}

// orderedObject is a JSON object whose keys keep their order.
type orderedObject []struct {
	name  string
	value json.RawMessage
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *orderedObject) UnmarshalJSON(b []byte) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(b, &values); err != nil {
		return err
	}
	names, err := keysOf(b)
	for _, name := range names {
		*o = append(*o, struct {
			name  string
			value json.RawMessage
		}{name, values[name]})
	}
	return err
}
