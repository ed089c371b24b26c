package grammar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

const (
	maxSchemaDepth  = 64
	maxSchemaRepeat = 2000 // of minLength, maxLength, minItems and maxItems: the grammar spells repetitions out
)

// unsupportedKeywords bind the answer. What is neither here nor read below is an annotation, as the standard has it.
var unsupportedKeywords = []string{
	"not", "if", "then", "else", "pattern", "patternProperties", "propertyNames", "minProperties", "maxProperties",
	"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "contains", "dependentRequired",
	"dependentSchemas", "dependencies", "$dynamicRef", "$recursiveRef",
}

// binding are the keywords that cannot stand beside $ref, const, enum, anyOf, oneOf and allOf.
var binding = []string{
	"type", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "minLength",
	"maxLength", "$ref", "const", "enum", "anyOf", "oneOf", "allOf",
}

// object is a JSON object whose keys keep their order.
type object struct {
	keys   []string
	fields map[string]json.RawMessage
}

func readObject(raw json.RawMessage) (*object, error) {
	o := &object{fields: make(map[string]json.RawMessage)}
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		name, _ := key.(string)
		if _, twice := o.fields[name]; !twice {
			o.keys = append(o.keys, name)
		}
		o.fields[name] = value
	}
	return o, nil
}

// has reports whether there is a keyword. Some libraries write null for those they leave out.
func (o *object) has(key string) bool {
	return o.fields[key] != nil && (key == "const" || jsonvalue.Kind(o.fields[key]) != "null")
}

// grammarWriter collects rules.
type grammarWriter struct {
	root  json.RawMessage
	rules strings.Builder
	count int
	refs  map[string]string // $ref -> its rule
}

// FromSchema returns the GBNF grammar, with a rule named root, of the texts that are valid under a JSON schema. param is
// where the schema stands in the request: errors, which are *SchemaError, name the keyword at fault by its path from there.
func FromSchema(param string, schema json.RawMessage) (string, error) {
	g := &grammarWriter{root: schema, refs: make(map[string]string)}
	rule, err := g.value(schema, param, 0)
	if err != nil {
		return "", err
	}
	text := "root ::= " + rule + "\n" + g.rules.String() + jsonRules
	if len(text) > MaxBytes {
		return "", refuse(BadValue, param, "makes a grammar of %d bytes, at most %d are read", len(text), MaxBytes)
	}
	return text, nil
}

// rule adds a rule and returns its name.
func (g *grammarWriter) rule(body string) string {
	g.count++
	name := "s" + strconv.Itoa(g.count)
	fmt.Fprintf(&g.rules, "%s ::= %s\n", name, body)
	return name
}

// value returns a rule for the values of a schema.
func (g *grammarWriter) value(raw json.RawMessage, param string, depth int) (string, error) {
	switch kind := jsonvalue.Kind(raw); {
	case depth > maxSchemaDepth:
		return "", refuse(BadValue, param, "is nested deeper than %d schemas", maxSchemaDepth)
	case kind == "boolean" && raw[0] == 't':
		return "value", nil
	case kind != "object":
		return "", refuse(BadType, param, "must be a schema, not %s", jsonvalue.Article(kind))
	}
	o, err := readObject(raw)
	if err != nil {
		return "", err
	}
	for _, key := range unsupportedKeywords {
		if o.has(key) {
			return "", refuse(Unsupported, param+"."+key, "is not supported")
		}
	}
	for _, key := range []string{"$ref", "const", "enum", "anyOf", "oneOf", "allOf"} {
		if o.has(key) {
			return g.combined(o, key, param, depth)
		}
	}
	return g.typed(o, param, depth)
}

// combined is a schema whose values another keyword than type gives.
func (g *grammarWriter) combined(o *object, key, param string, depth int) (string, error) {
	for _, other := range binding {
		// The type of an enumeration says nothing that its values do not.
		if o.has(other) && other != key && !(other == "type" && (key == "enum" || key == "const")) {
			return "", refuse(Unsupported, param+"."+other, "is not supported beside %s", key)
		}
	}
	raw, param := o.fields[key], param+"."+key
	switch key {
	case "$ref":
		return g.ref(raw, param, depth)
	case "const":
		return g.rule(literalOf(raw)), nil
	}
	var list []json.RawMessage
	if err := decodeField(raw, param, &list); err != nil {
		return "", err
	}
	if len(list) == 0 {
		return "", refuse(BadValue, param, "is empty")
	}
	if key == "allOf" && len(list) > 1 {
		return "", refuse(Unsupported, param, "has %d schemas, one is supported", len(list))
	}
	choices := make([]string, len(list))
	for i, entry := range list {
		if key == "enum" {
			choices[i] = literalOf(entry)
			continue
		}
		var err error
		if choices[i], err = g.value(entry, fmt.Sprintf("%s[%d]", param, i), depth+1); err != nil {
			return "", err
		}
	}
	return g.rule(strings.Join(choices, " | ")), nil
}

// ref is the schema that a pointer into the whole one names. Its rule is made once, so that a schema may contain
// itself.
func (g *grammarWriter) ref(raw json.RawMessage, param string, depth int) (string, error) {
	var pointer string
	if err := decodeField(raw, param, &pointer); err != nil {
		return "", err
	}
	if name, ok := g.refs[pointer]; ok {
		return name, nil
	}
	target, err := g.find(pointer, param)
	if err != nil {
		return "", err
	}
	name := "ref" + strconv.Itoa(len(g.refs)+1)
	g.refs[pointer] = name
	rule, err := g.value(target, param, depth+1)
	if err != nil {
		return "", err
	}
	if rule == name {
		return "", refuse(BadValue, param, "refers to itself alone")
	}
	fmt.Fprintf(&g.rules, "%s ::= %s\n", name, rule)
	return name, nil
}

// find follows a pointer such as #/$defs/item.
func (g *grammarWriter) find(pointer, param string) (json.RawMessage, error) {
	rest, ok := strings.CutPrefix(pointer, "#")
	if !ok || rest != "" && rest[0] != '/' {
		return nil, refuse(Unsupported, param, "is %q: pointers into the schema are supported, such as #/$defs/item", pointer)
	}
	at := g.root
	for _, step := range strings.Split(rest, "/")[1:] {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		var next json.RawMessage
		switch jsonvalue.Kind(at) {
		case "object":
			o, err := readObject(at)
			if err != nil {
				return nil, err
			}
			next = o.fields[step]
		case "array":
			var list []json.RawMessage
			if i, err := strconv.Atoi(step); err == nil && json.Unmarshal(at, &list) == nil && i >= 0 && i < len(list) {
				next = list[i]
			}
		}
		if next == nil {
			return nil, refuse(BadValue, param, "is %q, which the schema does not have", pointer)
		}
		at = next
	}
	return at, nil
}

// typed is a schema with one type, several, or none, which the other keywords then tell.
func (g *grammarWriter) typed(o *object, param string, depth int) (string, error) {
	var types []string
	switch jsonvalue.Kind(o.fields["type"]) {
	case "null":
		types = []string{impliedType(o)}
	case "string":
		types = []string{""}
		if err := decodeField(o.fields["type"], param+".type", &types[0]); err != nil {
			return "", err
		}
	default:
		if err := decodeField(o.fields["type"], param+".type", &types); err != nil {
			return "", err
		}
	}
	var choices []string
	for _, t := range types {
		rule, err := g.oneType(o, t, param, depth)
		if err != nil {
			return "", err
		}
		choices = append(choices, rule)
	}
	switch len(choices) {
	case 0:
		return "", refuse(BadValue, param+".type", "is empty")
	case 1:
		return choices[0], nil
	}
	return g.rule(strings.Join(choices, " | ")), nil
}

func impliedType(o *object) string {
	switch {
	case o.has("properties"), o.has("required"), o.has("additionalProperties"):
		return "object"
	case o.has("items"), o.has("prefixItems"), o.has("minItems"), o.has("maxItems"):
		return "array"
	case o.has("minLength"), o.has("maxLength"):
		return "string"
	}
	return "any"
}

func (g *grammarWriter) oneType(o *object, name, param string, depth int) (string, error) {
	switch name {
	case "object":
		return g.object(o, param, depth)
	case "array":
		return g.array(o, param, depth)
	case "string":
		return g.text(o, param)
	case "any":
		return "value", nil
	case "number", "integer", "boolean", "null":
		return name, nil
	}
	return "", refuse(BadValue, param+".type", "is %q, which JSON does not have", name)
}

// literalOf is a JSON value as a literal of the grammar.
func literalOf(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		b.Reset()
		b.Write(raw) // it was decoded before: this does not happen
	}
	return quoted(b.String())
}

// quoted is a text as a literal of the grammar.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(text) + `"`
}

// keyOf is a property's name as a literal of the grammar.
func keyOf(name string) string { return quoted(string(jsonvalue.AppendString(nil, name))) }

// bounds reads two keywords that bound a number of repetitions; most is -1 where there is no upper one.
func (g *grammarWriter) bounds(o *object, least, most, param string) (from, to int, err error) {
	to = -1
	for _, k := range []struct {
		key   string
		value *int
	}{{least, &from}, {most, &to}} {
		if !o.has(k.key) {
			continue
		}
		if err := decodeField(o.fields[k.key], param+"."+k.key, k.value); err != nil {
			return 0, 0, err
		}
		if *k.value < 0 || *k.value > maxSchemaRepeat {
			return 0, 0, refuse(BadValue, param+"."+k.key, "is %d, it must be between 0 and %d", *k.value, maxSchemaRepeat)
		}
	}
	if to >= 0 && to < from {
		return 0, 0, refuse(BadValue, param+"."+most, "is %d, less than %s", to, least)
	}
	return from, to, nil
}

// repeated is an expression that many times; to is -1 for any number.
func repeated(expression string, from, to int) string {
	if to < 0 {
		return fmt.Sprintf("%s{%d,}", expression, from)
	}
	return fmt.Sprintf("%s{%d,%d}", expression, from, to)
}

// text is a string.
func (g *grammarWriter) text(o *object, param string) (string, error) {
	var format string
	if jsonvalue.Kind(o.fields["format"]) == "string" {
		if err := decodeField(o.fields["format"], param+".format", &format); err != nil {
			return "", err
		}
	}
	from, to, err := g.bounds(o, "minLength", "maxLength", param)
	switch {
	case err != nil:
		return "", err
	case from == 0 && to < 0:
		if slices.Contains([]string{"date", "time", "date-time", "uuid"}, format) {
			return g.rule(`"\"" ` + format + ` "\""`), nil
		}
		return "string", nil
	}
	return g.rule(`"\"" ` + repeated("char", from, to) + ` "\""`), nil
}
