package calls

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/lorikeet-ai/lorikeet/grammar"
)

// byteTokens is a vocabulary of bytes and some words, whose last token ends an answer.
func byteTokens(words ...string) (*grammar.Tokens, []string) {
	var pieces []string
	for b := range 256 {
		pieces = append(pieces, string([]byte{byte(b)}))
	}
	pieces = append(append(pieces, words...), "")
	return grammar.NewTokens(len(pieces), func(t int32) ([]byte, bool) { return []byte(pieces[t]), false },
		func(t int32) bool { return int(t) == len(pieces)-1 }), pieces
}

// randomAnswer draws an answer at random of what a constraint admits, texts of ASCII mostly; whole says that it came to an end.
func randomAnswer(t *testing.T, c *grammar.Constraint, tokens *grammar.Tokens, pieces []string, r *rand.Rand) (answer string, whole bool) {
	t.Helper()
	m := c.NewMatcher(tokens)
	bits := make([]uint64, tokens.Words())
	for range 600 {
		if err := m.Mask(bits); err != nil {
			t.Fatal(err)
		}
		var admitted []int32
		for i := range pieces {
			if bits[i/64]>>(i%64)&1 == 1 && (i < 127 && i >= 32 || i >= 256 || i == '\n' || r.IntN(50) == 0) {
				admitted = append(admitted, int32(i))
			}
		}
		if m.CanEnd() && (len(admitted) == 0 || r.IntN(4) == 0) {
			return answer, true
		}
		if len(admitted) == 0 {
			continue
		}
		token := admitted[r.IntN(len(admitted))]
		if likely := slices.DeleteFunc(slices.Clone(admitted), func(i int32) bool { return i < 256 && !strings.ContainsRune(`"}]<`, i) }); len(likely) > 0 && r.IntN(3) > 0 {
			token = likely[r.IntN(len(likely))]
		}
		if int(token) == len(pieces)-1 {
			return answer, true
		}
		if err := m.Accept(token); err != nil {
			t.Fatalf("%q after %q: %v", pieces[token], answer, err)
		}
		answer += pieces[token]
	}
	return answer, false
}

// constrainedTools are the tools of the test below, and validCall says whether a call of them is valid.
var constrainedTools = []Tool{
	{Name: "get_weather", Param: "t", Parameters: json.RawMessage(`{"type": "object", "properties": {"text": {"type": "string"}, "unit": {"type": "string", "enum": ["C", "F"]}, "n": {"type": "integer"}, "list": {"type": "array", "items": {"$ref": "#/$defs/b"}, "maxItems": 2}}, "required": ["text", "n"], "additionalProperties": false, "$defs": {"b": {"type": "boolean"}}}`)},
	{Name: "get", Param: "u"},
}

func validCall(name, arguments string) bool {
	var o map[string]any
	if json.Unmarshal([]byte(arguments), &o) != nil {
		return false
	}
	if name == "get" {
		return len(o) == 0
	}
	for key, v := range o {
		switch v := v.(type) {
		case string:
			if key != "text" && (key != "unit" || v != "C" && v != "F") {
				return false
			}
		case float64:
			if key != "n" || v != float64(int64(v)) {
				return false
			}
		case []any:
			if key != "list" || len(v) > 2 || slices.ContainsFunc(v, func(e any) bool { _, is := e.(bool); return !is }) {
				return false
			}
		default:
			return false
		}
	}
	_, text := o["text"].(string)
	_, n := o["n"].(float64)
	return name == "get_weather" && text && n
}

// Every answer that is admitted is read as it is meant: calls of the tools that there are, with arguments that are valid.
func TestAdmittedAnswersAreRead(t *testing.T) {
	booleans := json.RawMessage(`{"type": "array", "maxItems": 2, "items": {"type": "boolean"}}`)
	for name, f := range map[string]*Format{"hermes": &hermes, "mistral": &mistral, "coder": &coder, "llama": &llama, "channels": &oss, "prefixed": &prefixed,
		"gemma": &gemma, "lfm": &lfm, "dsml": &dsml, "minicpm": &minicpm} {
		for mode, c := range map[string]Constraint{
			"auto": {Parallel: true}, "required": {Required: true, Parallel: true}, "one": {Required: true},
			"thinking": {Required: true, Thinking: true}, "thinks": {Thinks: true, Parallel: true},
			"thinks, schema": {Thinks: true, Schema: booleans, Param: "s"}, "thinking, then a schema": {Thinking: true, Schema: booleans, Param: "s"},
			"schema":           {Schema: booleans, Param: "s"},
			"thinking, budget": {Required: true, Thinking: true, Thinks: true, Budget: new(3)}, "thinks, budget": {Thinks: true, Parallel: true, Budget: new(9)},
			"thinking, budget, no tools": {Thinking: true, Thinks: true, Budget: new(0), Schema: booleans, Param: "s"},
		} {
			if f.Think.Open == "" && strings.HasPrefix(mode, "think") || f.Channels && c.Thinking {
				continue
			}
			t.Run(name+", "+mode, func(t *testing.T) { testAdmitted(t, f, c) })
		}
	}
}

// testAdmitted draws answers and reads them.
func testAdmitted(t *testing.T, f *Format, c Constraint) {
	tokens, pieces := byteTokens("<tool_call>", "<tool", "[TOOL_CALLS]", `{"`, `"name": "`, "</think>", "</parameter>", "</function>", "get_weather", "arguments", "\n</",
		"<|python_tag|>", "<|channel|>", "<|message|>", "<|end|>", "analysis", ">>>", "all\n",
		"<|tool_call>", "<tool_call|>", `<|"|>`, "call:", "<channel|>", "<|tool_call_start|>", "<｜DSML｜", "</｜DSML｜", "parameter", "invoke", "｜", "</｜DSML｜parameter>", "]]>", "</param>")
	r := rand.New(rand.NewPCG(5, 6))
	c.Tools = constrainedTools
	part, err := f.Part(c)
	if err != nil {
		t.Fatal(err)
	}
	constraint := grammar.New(part)
	ended, called := 0, 0
	for range 150 {
		answer, whole := randomAnswer(t, constraint, tokens, pieces, r)
		if !whole {
			continue
		}
		ended++
		text, list := "", []*[2]string{}
		for _, p := range parse(f, NewSet(c.Tools), c.Thinking, answer) {
			switch p.Kind {
			case Call:
				list = append(list, &[2]string{p.Name, ""})
			case Arguments:
				list[p.Index][1] += p.Text
			case Text:
				text += p.Text
			}
		}
		for _, call := range list {
			if !validCall(call[0], call[1]) {
				t.Fatalf("%q calls %s with %s", answer, call[0], call[1])
			}
		}
		called += len(list)
		switch {
		case c.Required && (len(list) == 0 || strings.TrimSpace(text) != ""), !c.Parallel && len(list) > 1:
			t.Fatalf("%q has %d calls and says %q", answer, len(list), text)
		case c.Schema != nil && len(list) == 0 && !json.Valid([]byte(text)):
			t.Fatalf("%q", answer)
		}
	}
	if ended < 20 || c.Required && called < 20 {
		t.Errorf("%d of 150 answers came to an end, with %d calls", ended, called)
	}
}

// What cannot be enforced is refused where it must be, and is any object elsewhere.
func TestWhatCannotBeEnforced(t *testing.T) {
	odd := Tool{Name: "f", Param: "tools[0].parameters", Parameters: json.RawMessage(`{"type": "object", "properties": {"a": {"pattern": "(a)\\1"}}}`)}
	for _, f := range []*Format{&hermes, &coder, &gemma, &lfm, &dsml} {
		for _, c := range []struct {
			tool     Tool
			required bool
			param    string
		}{
			{odd, false, ""}, {odd, true, "tools[0].parameters.properties.a"},
			{Tool{Name: "f", Param: "p", Parameters: odd.Parameters, Strict: true}, false, "p.properties.a"},
			{Tool{Name: "f", Param: "p", Parameters: json.RawMessage(`{"type": "array"}`)}, false, "p.type"},
			{Tool{Name: "f", Param: "p", Parameters: json.RawMessage(`{"properties": {"a": {"type": "x"}}}`)}, false, "p.properties.a.type"},
		} {
			_, err := f.Part(Constraint{Tools: []Tool{c.tool}, Required: c.required})
			var e *grammar.SchemaError
			if errors.As(err, &e) != (c.param != "") || c.param != "" && !strings.HasPrefix(e.Param, c.param) {
				t.Errorf("%s, required %v: %v, want one at %q", c.tool.Parameters, c.required, err, c.param)
			}
		}
	}
}

// literalTool has what a literal may be written natively of, and what it may not.
var literalTool = Tool{Name: "make", Param: "t", Parameters: json.RawMessage(`{"type": "object", "additionalProperties": false, "required": ["tags", "deep"], "properties": {
	"zeta": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null},
	"tags": {"type": "array", "items": {"type": "string", "enum": ["a b", "c\"d", "e"]}, "minItems": 1, "maxItems": 3},
	"deep": {"type": "object", "properties": {"on": {"type": "boolean"}, "name": {"type": "string", "pattern": "^[a-c]{2}$"}, "next": {"$ref": "#/$defs/node"}}, "required": ["on"], "additionalProperties": false},
	"open": {"type": "object", "properties": {"k": {"type": "integer", "minimum": 3}}, "required": ["k"]},
	"several": {"type": ["string", "integer"]}, "none": {"type": "array", "maxItems": 0}, "set": {"type": "array", "items": {"type": "boolean"}, "uniqueItems": true}
	}, "$defs": {"node": {"type": "object", "properties": {"value": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["value", "next"], "additionalProperties": false}}}`)}

// The arguments of calls are valid under the schemas of their tools, however the model writes them down.
func TestLiteralsAreValid(t *testing.T) {
	schema, err := jsonschema.UnmarshalJSON(strings.NewReader(string(literalTool.Parameters)))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("tool.json", schema); err != nil {
		t.Fatal(err)
	}
	valid, err := compiler.Compile("tool.json")
	if err != nil {
		t.Fatal(err)
	}
	tokens, pieces := byteTokens("<|tool_call>", "call:", "make", `<|"|>`, "}<tool_call|>", "<|tool_call_start|>[", "True", "null", "tags", "deep", "<param name=\"", "</param>", "</function>", "]]>", "｜DSML｜", "</｜DSML｜parameter>\n")
	r := rand.New(rand.NewPCG(7, 8))
	for name, f := range map[string]*Format{"gemma": &gemma, "lfm": &lfm, "coder": &coder, "minicpm": &minicpm, "dsml": &dsml} {
		part, err := f.Part(Constraint{Tools: []Tool{literalTool}, Required: true})
		if err != nil {
			t.Fatal(name, err)
		}
		constraint, ended, quoted := grammar.New(part), 0, 0
		for range 200 {
			answer, whole := randomAnswer(t, constraint, tokens, pieces, r)
			if !whole {
				continue
			}
			ended++
			arguments := ""
			for _, p := range parse(f, NewSet([]Tool{literalTool}), false, answer) {
				if p.Kind == Arguments {
					arguments += p.Text
				}
			}
			v, err := jsonschema.UnmarshalJSON(strings.NewReader(arguments))
			if err == nil {
				err = valid.Validate(v)
			}
			if err != nil {
				t.Fatalf("%s: %q is read as %s: %v", name, answer, arguments, err)
			}
			if f == &gemma && strings.Contains(answer, `tags:[<|"|>`) {
				quoted++
			}
		}
		if ended < 20 || f == &gemma && quoted != ended {
			t.Errorf("%s: %d of 200 answers came to an end, %d with the model's own quotes within a list", name, ended, quoted)
		}
	}
}

// Hundreds of parameters that may be left out, and types that refer to themselves, take no more work than others.
func TestManyParameters(t *testing.T) {
	var properties []string
	for i := range 400 {
		properties = append(properties, fmt.Sprintf(`"p%d": {"$ref": "#/$defs/tree"}`, i))
	}
	tool := Tool{Name: "f", Param: "t", Parameters: json.RawMessage(`{"type": "object", "properties": {` + strings.Join(properties, ", ") + `},
		"$defs": {"tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/tree"}, "right": {"$ref": "#/$defs/tree"}, "name": {"type": "string"}}, "additionalProperties": false}}}`)}
	for name, f := range map[string]*Format{"gemma": &gemma, "lfm": &lfm, "coder": &coder} {
		start := time.Now()
		part, err := f.Part(Constraint{Tools: []Tool{tool}, Required: true})
		if err != nil {
			t.Fatal(name, err)
		}
		tokens, _ := byteTokens()
		m := grammar.New(part).NewMatcher(tokens)
		if err := m.Mask(make([]uint64, tokens.Words())); err != nil {
			t.Fatal(name, err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: took %v", name, took)
		} else {
			t.Log(name, took)
		}
	}
}
