package grammar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
)

const (
	maxSchemaBytes   = 1 << 20
	maxSchemaValues  = 50_000 // of any kind, keywords' values among them
	maxSchemaNesting = 400    // of values
	maxSchemaDepth   = 64     // of schemas
	maxSchemaRepeat  = 2000   // of minLength, maxLength, minItems and maxItems: the grammar spells repetitions out
)

// unsupportedKeywords bind the answer. What is neither here nor read below is an annotation, as the standard has it.
var unsupportedKeywords = []string{
	"not", "if", "then", "else", "pattern", "patternProperties", "propertyNames", "minProperties", "maxProperties",
	"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "contains", "dependentRequired",
	"dependentSchemas", "dependencies", "$dynamicRef", "$recursiveRef",
}

// exclusiveKeywords are those that cannot stand beside $ref, const, enum, anyOf, oneOf and allOf.
var exclusiveKeywords = []string{
	"type", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "minLength",
	"maxLength", "$ref", "const", "enum", "anyOf", "oneOf", "allOf",
}

// grammarWriter collects rules. It stops when they are longer than a grammar may be.
type grammarWriter struct {
	root  *node
	at    *path // of the whole schema
	rules strings.Builder
	count int
	full  bool
	refs  map[string]string // $ref -> its rule

	prefix string // of the names of the rules
}

// FromSchema returns the GBNF grammar, with a rule named root, of the texts that are valid under a JSON schema. param is
// where the schema stands in the request: errors, which are *SchemaError, name the keyword at fault by its path from
// there. The grammar is one that Parse and Compile accept.
func FromSchema(param string, schema json.RawMessage) (string, error) {
	at := &path{step: param}
	root, err := readTree(schema, at)
	if err != nil {
		return "", err
	}
	g := &grammarWriter{root: root, at: at, refs: make(map[string]string)}
	rule, err := g.value(root, at, 0)
	if err != nil {
		return "", err
	}
	text := "root ::= " + rule + "\n" + g.rules.String() + jsonRules
	if g.full || len(text) > MaxBytes {
		return "", g.tooLong()
	}
	parsed, err := Parse(text, nil)
	if err == nil {
		_, err = parsed.Compile()
	}
	if err != nil {
		return "", refuse(BadValue, at, "makes a grammar that cannot be followed: %v", err)
	}
	return text, nil
}

func (g *grammarWriter) tooLong() error {
	return refuse(BadValue, g.at, "makes a grammar of more than %d bytes", MaxBytes)
}

// rule adds a rule and returns its name.
func (g *grammarWriter) rule(body string) string {
	g.count++
	name := g.prefix + "s" + strconv.Itoa(g.count)
	g.define(name, body)
	return name
}

func (g *grammarWriter) define(name, body string) {
	if g.full = g.full || g.rules.Len()+len(name)+len(body) > MaxBytes; !g.full {
		fmt.Fprintf(&g.rules, "%s ::= %s\n", name, body)
	}
}

// value returns a rule for the values of a schema.
func (g *grammarWriter) value(o *node, at *path, depth int) (string, error) {
	switch {
	case g.full:
		return "", g.tooLong()
	case depth > maxSchemaDepth:
		return "", refuse(BadValue, at, "is nested deeper than %d schemas", maxSchemaDepth)
	case string(o.raw) == "true":
		return "value", nil
	case o.kind != "object":
		return "", refuse(BadType, at, "must be a schema, not %s", jsonvalue.Article(o.kind))
	}
	for _, key := range unsupportedKeywords {
		if o.has(key) {
			return "", refuse(Unsupported, at.field(key), "is not supported")
		}
	}
	for _, key := range []string{"$ref", "const", "enum", "anyOf", "oneOf", "allOf"} {
		if o.has(key) {
			return g.combined(o, key, at, depth)
		}
	}
	return g.typed(o, at, depth)
}

// combined is a schema whose values another keyword than type gives.
func (g *grammarWriter) combined(o *node, key string, at *path, depth int) (string, error) {
	for _, other := range exclusiveKeywords {
		// The type of an enumeration says nothing that its values do not.
		if o.has(other) && other != key && !(other == "type" && (key == "enum" || key == "const")) {
			return "", refuse(Unsupported, at.field(other), "is not supported beside %s", key)
		}
	}
	value, at := o.fields[key], at.field(key)
	switch key {
	case "$ref":
		return g.ref(value, at, depth)
	case "const":
		return g.rule(quoted(compact(value))), nil
	}
	if value.kind != "array" {
		return "", decodeField(value, at, &[]json.RawMessage{})
	}
	list := value.list
	if len(list) == 0 {
		return "", refuse(BadValue, at, "is empty")
	}
	if key == "allOf" && len(list) > 1 {
		return "", refuse(Unsupported, at, "has %d schemas, one is supported", len(list))
	}
	if key == "enum" {
		return g.rule(g.oneOf(list)), nil
	}
	choices := make([]string, len(list))
	for i, entry := range list {
		var err error
		if choices[i], err = g.value(entry, at.index(i), depth+1); err != nil {
			return "", err
		}
	}
	return g.rule(strings.Join(choices, " | ")), nil
}

// ref is the schema that a pointer into the whole one names. Its rule is made once, so that a schema may contain
// itself.
func (g *grammarWriter) ref(value *node, at *path, depth int) (string, error) {
	var pointer string
	if err := decodeField(value, at, &pointer); err != nil {
		return "", err
	}
	if name, ok := g.refs[pointer]; ok {
		return name, nil
	}
	target, err := g.find(pointer, at)
	if err != nil {
		return "", err
	}
	name := g.prefix + "ref" + strconv.Itoa(len(g.refs)+1)
	g.refs[pointer] = name
	rule, err := g.value(target, at, depth+1)
	if err != nil {
		return "", err
	}
	if rule == name {
		return "", refuse(BadValue, at, "refers to itself alone")
	}
	g.define(name, rule)
	return name, nil
}

// find follows a pointer such as #/$defs/item.
func (g *grammarWriter) find(pointer string, at *path) (*node, error) {
	rest, ok := strings.CutPrefix(pointer, "#")
	if !ok || rest != "" && rest[0] != '/' {
		return nil, refuse(Unsupported, at, "is %q: pointers into the schema are supported, such as #/$defs/item", shortened(pointer))
	}
	n := g.root
	for _, step := range strings.Split(rest, "/")[1:] {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		next := n.fields[step]
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.list) {
			next = n.list[i]
		}
		if next == nil {
			return nil, refuse(BadValue, at, "is %q, which the schema does not have", shortened(pointer))
		}
		n = next
	}
	return n, nil
}

// typed is a schema with one type, several, or none, which the other keywords then tell.
func (g *grammarWriter) typed(o *node, at *path, depth int) (string, error) {
	var types []string
	switch o.kindOf("type") {
	case "null":
		types = []string{impliedType(o)}
	case "string":
		types = []string{""}
		if err := decodeField(o.fields["type"], at.field("type"), &types[0]); err != nil {
			return "", err
		}
	default:
		if err := decodeField(o.fields["type"], at.field("type"), &types); err != nil {
			return "", err
		}
	}
	var choices []string
	for _, t := range types {
		rule, err := g.oneType(o, t, at, depth)
		if err != nil {
			return "", err
		}
		choices = append(choices, rule)
	}
	switch len(choices) {
	case 0:
		return "", refuse(BadValue, at.field("type"), "is empty")
	case 1:
		return choices[0], nil
	}
	return g.rule(strings.Join(choices, " | ")), nil
}

func impliedType(o *node) string {
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

func (g *grammarWriter) oneType(o *node, name string, at *path, depth int) (string, error) {
	switch name {
	case "object":
		return g.object(o, at, depth)
	case "array":
		return g.array(o, at, depth)
	case "string":
		return g.text(o, at)
	case "any":
		return "value", nil
	case "number", "integer", "boolean", "null":
		return name, nil
	}
	return "", refuse(BadValue, at.field("type"), "is %q, which JSON does not have", shortened(name))
}

// compact is the text of a JSON value without blanks.
func compact(n *node) string {
	var b bytes.Buffer
	if json.Compact(&b, n.raw) != nil {
		return string(n.raw) // it was decoded before: this does not happen
	}
	return b.String()
}

// maxFlatChoice is how many values of an enumeration are written one beside the other.
const maxFlatChoice = 32

// oneOf is an expression for one of several values. A matcher follows only so many alternatives at once, so that what many
// values begin with is written once, as a rule for each beginning.
func (g *grammarWriter) oneOf(values []*node) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = compact(v)
	}
	if len(texts) > maxFlatChoice {
		slices.Sort(texts)
		return g.oneOfSorted(slices.Compact(texts), 0)
	}
	for i, text := range texts {
		texts[i] = quoted(text)
	}
	return strings.Join(texts, " | ")
}

// oneOfSorted is an expression for what follows the first `from` bytes of sorted texts, in which all are equal.
func (g *grammarWriter) oneOfSorted(texts []string, from int) string {
	if len(texts) == 1 || g.full {
		return quoted(texts[0][from:])
	}
	var choices []string
	for len(texts) > 0 {
		if len(texts[0]) == from {
			choices, texts = append(choices, `""`), texts[1:]
			continue
		}
		_, size := utf8.DecodeRuneInString(texts[0][from:])
		first := texts[0][:from+size]
		n := 1
		for n < len(texts) && strings.HasPrefix(texts[n], first) {
			n++
		}
		if n == 1 {
			choices = append(choices, quoted(texts[0][from:]))
		} else {
			shared := commonPrefix(texts[0], texts[n-1]) // of all between them, as they are sorted
			choices = append(choices, quoted(texts[0][from:shared])+" "+g.rule(g.oneOfSorted(texts[:n], shared)))
		}
		texts = texts[n:]
	}
	return strings.Join(choices, " | ")
}

// commonPrefix is how many bytes two texts have in common at their beginning, up to a whole character.
func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && n < len(a) && !utf8.RuneStart(a[n]) {
		n--
	}
	return n
}

// quoted is a text as a literal of the grammar.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(text) + `"`
}

// keyOf is a property's name as a literal of the grammar.
func keyOf(name string) string { return quoted(string(jsonvalue.AppendString(nil, name))) }

// bounds reads two keywords that bound a number of repetitions; most is -1 where there is no upper one.
func (g *grammarWriter) bounds(o *node, least, most string, at *path) (from, to int, err error) {
	to = -1
	for _, k := range []struct {
		key   string
		value *int
	}{{least, &from}, {most, &to}} {
		if !o.has(k.key) {
			continue
		}
		if err := decodeField(o.fields[k.key], at.field(k.key), k.value); err != nil {
			return 0, 0, err
		}
		if *k.value < 0 || *k.value > maxSchemaRepeat {
			return 0, 0, refuse(BadValue, at.field(k.key), "is %d, it must be between 0 and %d", *k.value, maxSchemaRepeat)
		}
	}
	if to >= 0 && to < from {
		return 0, 0, refuse(BadValue, at.field(most), "is %d, less than %s", to, least)
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
func (g *grammarWriter) text(o *node, at *path) (string, error) {
	var format string
	if o.kindOf("format") == "string" {
		if err := decodeField(o.fields["format"], at.field("format"), &format); err != nil {
			return "", err
		}
	}
	from, to, err := g.bounds(o, "minLength", "maxLength", at)
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
