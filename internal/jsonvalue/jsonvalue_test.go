package jsonvalue

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestScan(t *testing.T) {
	for _, c := range []struct {
		text   string
		offset int
		want   string // "": accepted
	}{
		{`{"a": [1, "x", null]}`, 0, ""},
		{`"\ud83d\ude00"`, 0, ""},
		{`"\\ud83d"`, 0, ""},
		{`"\u00e9 \" \\"`, 0, ""},
		{`{"a":"\ud83d"}`, 6, `\ud83d, half of a surrogate pair`},
		{`{"a":"x\ude00"}`, 7, `\ude00, half`},
		{`"\uD83D\u0041"`, 1, `\ud83d, half`},
		{`"\ud83d\ud83d\ude00"`, 1, `half`},
		{"{\"\\ud83d\":1}", 2, "half"},
		{"\"\xff\"", 1, "not UTF-8"},
		{strings.Repeat("[", 129), 128, "max depth"},
		{strings.Repeat("[", 128) + strings.Repeat("]", 128), 0, ""},
		{`["` + strings.Repeat("[", 200) + `"]`, 0, ""},
		{`"unfinished`, 0, ""},
		{`"unfinished\`, 0, ""},
		{`"unfinished\ud8`, 0, ""},
	} {
		f := AsFault(Scan([]byte(c.text), Limits{}))
		switch {
		case f == nil && c.want != "":
			t.Errorf("%s is accepted", c.text)
		case f != nil && (c.want == "" || !strings.Contains(f.Reason, c.want) || f.Offset != c.offset):
			t.Errorf("%s: %q at %d, want %q at %d", c.text, f.Reason, f.Offset, c.want, c.offset)
		}
	}
	many := []byte("[" + strings.Repeat("0,", 99) + "0]")
	if err := Scan(many, Limits{Values: 101}); err != nil {
		t.Error(err)
	}
	if f := AsFault(Scan(many, Limits{Values: 50})); f == nil || !strings.Contains(f.Reason, "more than 50 values") {
		t.Errorf("too many values: %v", f)
	}
}

type inner struct {
	Weight *float32 `json:"weight,omitempty"`
}

type embedded struct {
	MaxTokens *int `json:"max_tokens,omitempty"`
}

type request struct {
	embedded
	From    []inner                    `json:"from"`
	Options *struct{ Include bool }    `json:"options,omitempty"`
	Raw     json.RawMessage            `json:"raw,omitempty"`
	Free    map[string]json.RawMessage `json:"free,omitempty"`
	Named   map[string]inner           `json:"named,omitempty"`
	hidden  int
}

func TestDecodeMatchesKeysExactly(t *testing.T) {
	var r request
	err := Decode([]byte(`{"Max_Tokens": 7, "MAX_TOKENS": 8, "From": 1, "raw": {"b":1, "a":2}, "free": {"X": 1, "x": 2},
		"options": {"Include": true, "include": false}, "named": {"k": {"weight": 2, "Weight": 3}}, "hidden": 5}`), &r)
	if err != nil {
		t.Fatal(err)
	}
	if r.MaxTokens != nil || r.From != nil || string(r.Raw) != `{"b":1, "a":2}` || len(r.Free) != 2 || !r.Options.Include || *r.Named["k"].Weight != 2 || r.hidden != 0 {
		t.Errorf("got %+v", r)
	}
	r = request{}
	if err := Decode([]byte(`{"max_tokens": 1, "max_tokens": 2, "from": [{"weight": 1}, {"weight": null}], "options": null}`), &r); err != nil {
		t.Fatal(err)
	}
	if *r.MaxTokens != 2 || len(r.From) != 2 || *r.From[0].Weight != 1 || r.From[1].Weight != nil || r.Options != nil {
		t.Errorf("got %+v", r)
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, c := range []struct {
		text, field string
		kind        reflect.Kind
	}{
		{`{"max_tokens": "x"}`, "max_tokens", reflect.Int},
		{`{"from": [{"weight": 1}, {"weight": "x"}]}`, "from[1].weight", reflect.Float32},
		{`{"from": {}}`, "from", reflect.Slice},
		{`{"from": [7]}`, "from[0]", reflect.Struct},
		{`{"options": {"Include": 1}}`, "options.Include", reflect.Bool},
		{`{"named": {"k": {"weight": []}}}`, "named.k.weight", reflect.Float32},
		{`[]`, "", reflect.Struct},
	} {
		var typed *json.UnmarshalTypeError
		err := Decode([]byte(c.text), &request{})
		if !errors.As(err, &typed) || typed.Field != c.field || typed.Type.Kind() != c.kind {
			t.Errorf("%s: %v (%+v), want %s of kind %s", c.text, err, typed, c.field, c.kind)
		}
	}
	for text, field := range map[string]string{`{"tokens": [1, null]}`: "tokens[1]", `{"words": [null]}`: "words[0]", `{"words": ["null"], "tokens": null}`: "", `{"raw": [null]}`: ""} {
		var lists struct {
			Tokens []int32         `json:"tokens"`
			Words  *[]string       `json:"words"`
			Raw    json.RawMessage `json:"raw"`
		}
		var typed *json.UnmarshalTypeError
		if err := Decode([]byte(text), &lists); (field == "") != (err == nil) || err != nil && (!errors.As(err, &typed) || typed.Field != field) {
			t.Errorf("%s: %v, want an error at %q", text, err, field)
		}
	}
	var syntax *json.SyntaxError
	for _, text := range []string{``, `{`, `nul`, `{"from": [}`, `{} {}`, `{"a": 01}`} {
		if err := Decode([]byte(text), &request{}); !errors.As(err, &syntax) {
			t.Errorf("%q: %v is no syntax error", text, err)
		}
	}
}

func TestUnknown(t *testing.T) {
	for text, want := range map[string]string{
		`{"max_tokens": 1, "from": [{"weight": 1}], "free": {"X": 1}, "raw": {"b": 1}}`: "",
		`{"max_token": 1}`: "max_token", `{"max_token": null}`: "", `{"from": [{"weight": 1}, {"scale": 1}]}`: "from[1].scale",
		`{"options": {"include": true}}`: "options.include", `[1]`: "", `{`: "", `{"from": 7}`: "",
	} {
		if got := Unknown([]byte(text), &request{}); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// Whatever is accepted has no replacement character that was not written as one.
func FuzzScan(f *testing.F) {
	for _, s := range []string{`{"a":"\ud83d"}`, `"\ud83d\ude00"`, `[[["\\u"]]]`, `"\u`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if Scan([]byte(text), Limits{}) != nil || strings.Contains(text, "\uFFFD") || strings.Contains(strings.ToLower(text), `\ufffd`) {
			return
		}
		var v any
		if json.Unmarshal([]byte(text), &v) != nil {
			return
		}
		var r request
		_ = Decode([]byte(text), &r) // must not panic
		if s, ok := v.(string); ok && strings.ContainsRune(s, utf8.RuneError) {
			t.Errorf("%q decodes to %q", text, s)
		}
	})
}
