package calls

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// formats that the tests of the parser use.
var (
	hermes  = withThink(Generic(), "<think>", "</think>")
	mistral = Format{Calls: true, Marker: "[TOOL_CALLS]", Section: Pair{"[TOOL_CALLS] [", "]"}, Begin: `{"name": "`, Middle: `", "arguments": `,
		Finish: ", \"id\": \"\x00\"}", Separator: ", ", Parallel: true}
	coder = Format{Calls: true, Marker: "<tool_call>", Begin: "<tool_call>\n<function=", Middle: ">\n", Finish: "</function>\n</tool_call>", Separator: "\n",
		Parallel: true, Parameters: &Parameters{Open: "<parameter=", Middle: ">\n", Close: "\n</parameter>\n"}}
	llama = Format{Calls: true, Begin: `{"name": "`, Middle: `", "parameters": `, Finish: "}", Tag: "<|python_tag|>"}
	oss   = harmony()
	gemma = Format{Calls: true, Marker: "<|tool_call>", Section: Pair{"", "<|tool_response>"}, Begin: "<|tool_call>call:", Middle: "{", Finish: "}<tool_call|>", Parallel: true,
		Parameters: &Parameters{Middle: ":", Separator: ",", Quotes: Pair{`<|"|>`, `<|"|>`}, Sorted: true}, Think: Pair{"<|channel>thought", "<channel|>"}}
	lfm = Format{Calls: true, Marker: "<|tool_call_start|>", Section: Pair{"<|tool_call_start|>[", "]<|tool_call_end|>"}, Middle: "(", Finish: ")", Separator: ", ", Parallel: true,
		Parameters: &Parameters{Middle: "=", Separator: ", ", Quotes: Pair{"'", "'"}, Python: true}}
	dsml = Format{Calls: true, Marker: "<｜DSML｜tool_calls>", Section: Pair{"<｜DSML｜tool_calls>\n", "</｜DSML｜tool_calls>"}, Begin: `<｜DSML｜invoke name="`, Middle: "\">\n", Finish: "</｜DSML｜invoke>\n", Parallel: true,
		Parameters: &Parameters{Open: `<｜DSML｜parameter name="`, Middle: `" string="false">`, TextMiddle: `" string="true">`, Close: "</｜DSML｜parameter>\n"}}
	minicpm = Format{Calls: true, Marker: `<function name="`, Begin: `<function name="`, Middle: `">`, Finish: "</function>", Separator: "\n", Parallel: true,
		Parameters: &Parameters{Open: `<param name="`, Middle: `">`, Close: "</param>", Wrap: Pair{"<![CDATA[", "]]>"}}}
	prefixed = Format{Calls: true, TextOpen: "all\n", Marker: ">>>", Middle: "\n", Separator: ">>>", Parallel: true}
)

func withThink(f Format, open, end string) Format {
	f.Think = Pair{open, end}
	return f
}

// testTools has f, whose parameter "text" is a text, and g.
func testTools() *Set {
	return NewSet([]Tool{{Name: "f", Parameters: json.RawMessage(`{"type": "object", "properties": {"text": {"type": "string"}, "n": {"type": "integer"}}}`)}, {Name: "g"}})
}

// show writes parts, pieces of one kind joined.
func show(parts []Part) string {
	var b strings.Builder
	last := End
	for _, p := range parts {
		if p.Kind != last {
			if b.Len() > 0 && p.Kind != Arguments {
				b.WriteString(" | ")
			}
			switch p.Kind {
			case Text:
				b.WriteString("text ")
			case Reasoning:
				b.WriteString("thought ")
			case Call:
				fmt.Fprintf(&b, "%d %s ", p.Index, p.Name)
			case Done:
				b.WriteString("done")
			}
		} else if p.Kind == Call || p.Kind == Done {
			b.WriteString(" twice")
		}
		b.WriteString(p.Text)
		last = p.Kind
	}
	return b.String()
}

// parse divides a text that comes in pieces.
func parse(f *Format, tools Tools, thinking bool, pieces ...string) []Part {
	p := NewParser(f, tools, thinking)
	var parts []Part
	for _, piece := range pieces {
		parts = p.Write(parts, piece)
	}
	return p.Close(parts)
}

// What a text is divided into, also where it does not keep to its format, and however it is cut.
func TestParser(t *testing.T) {
	for _, c := range []struct {
		name     string
		format   *Format
		thinking bool
		text     string
		want     string
	}{
		{"text", &hermes, false, " Hello\n <b> ", "text  Hello\n <b> "},
		{"nothing", &hermes, false, "", ""},
		{"white space", &hermes, false, " \n", "text  \n"},
		{"a beginning of a marker", &hermes, false, "1 <tool_", "text 1 <tool_"},
		{"a beginning of a marker, and more", &hermes, false, "<tool_box> <tool_call", "text <tool_box> <tool_call"},
		{"thought", &hermes, false, "<think>\nHm.\n\nSo.\n</think>\n\nYes. ", "thought Hm.\n\nSo. | text Yes. "},
		{"thought that the prompt opened", &hermes, true, "\nHm <think> </thin\n</think>Yes", "thought Hm <think> </thin | text Yes"},
		{"only thought", &hermes, true, "Hm \n", "thought Hm"},
		{"no thought", &hermes, false, "<think>\n\n</think>\n\nYes", "text Yes"},
		{"a mark within text", &hermes, false, "The tag <think> is", "text The tag <think> is"},
		{"thought and a call", &hermes, false, "<think>a</think>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>\n", "thought a | 0 g {} | done"},
		{"a call in thought is thought", &hermes, true, "<tool_call>\n</think>", "thought <tool_call>"},
		{"other white space", &hermes, false, "<tool_call> {\"name\":\"g\",  \"arguments\":{ \"a\": [1, {}]} }</tool_call>", "0 g { \"a\": [1, {}]} | done"},
		{"text after a call", &hermes, false, "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>\nDone.", "0 g {} | done | text Done."},
		{"calls with text between", &hermes, false, "a <tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call> b <tool_call>{\"name\": \"f\", \"arguments\": {\"n\": 1}}</tool_call>",
			"text a | 0 g {} | done | text b | 1 f {\"n\": 1} | done"},
		{"an unknown tool", &hermes, false, "<tool_call>\n{\"name\": \"rm\", \"arguments\": {}}\n</tool_call>", "text <tool_call>\n{\"name\": \"rm\", \"arguments\": {}}\n</tool_call>"},
		{"no call after all", &hermes, false, "<tool_call>!<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>", "text <tool_call>! | 0 g {} | done"},
		{"arguments that are none", &hermes, false, "<tool_call>\n{\"name\": \"g\", \"arguments\": 7}\n</tool_call>", "0 g  | done | text 7}\n</tool_call>"},
		{"cut in a name", &hermes, false, "<tool_call>\n{\"name\": \"g", "text <tool_call>\n{\"name\": \"g"},
		{"cut in arguments", &hermes, false, "<tool_call>\n{\"name\": \"g\", \"arguments\": {\"a", "0 g {\"a | done"},
		{"cut at the end of a call", &hermes, false, "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_", "0 g {} | done"},
		{"identifiers", &mistral, false, `[TOOL_CALLS] [{"name": "g", "arguments": {}, "id": "abcdEF012"}, {"name": "f", "arguments": {"n": 2}, "id": "abcdEF013"}]`, `0 g {} | done | 1 f {"n": 2} | done`},
		{"a short identifier", &mistral, false, `[TOOL_CALLS] [{"name": "g", "arguments": {}, "id": "ab"}]`, `0 g {} | done | text , "id": "ab"}]`},
		{"parameters", &coder, false, "Ok\n<tool_call>\n<function=f>\n<parameter=text>\n 12\"\n\n</parameter>\n<parameter=n>\n12\n</parameter>\n</function>\n</tool_call>",
			`text Ok | 0 f {"text": " 12\"\n", "n": 12} | done`},
		{"no parameters", &coder, false, "<tool_call>\n<function=g>\n</function>\n</tool_call>", "0 g {} | done"},
		{"parameters of other kinds", &coder, false, "<tool_call>\n<function=g>\n<parameter=a>\nTrue\n</parameter>\n<parameter=b>\nNone\n</parameter>\n<parameter=c>\nx y\n</parameter>\n</function>\n</tool_call>",
			`0 g {"a": true, "b": null, "c": "x y"} | done`},
		{"a literal of Python", &coder, false, "<tool_call>\n<function=g>\n<parameter=a>\n{'x': [1, 'it\\'s', None], \"y\": (True,)}\n</parameter>\n</function>\n</tool_call>",
			`0 g {"a": {"x": [1, "it's", null], "y": [true]}} | done`},
		{"Gemma's literals", &gemma, false, `Ok<|tool_call>call:f{text:<|"|>a "b" < <|"|>,n:12}<tool_call|><|tool_call>call:g{}<tool_call|><|tool_response>`,
			`text Ok | 0 f {"text": "a \"b\" < ", "n": 12} | done | 1 g {} | done`},
		{"Gemma's literals within literals", &gemma, false, `<|tool_call>call:g{a:[<|"|>x, ]}<|"|>,{b c:null,d:{}}, true ],e:{<|"|>k<|"|>:1.5},"h":"\u00e4\ud83d\ude00\\","i":None}<tool_call|>`,
			`0 g {"a": ["x, ]}", {"bc": null, "d": {}}, true], "e": {"k": 1.5}, "h": "ä😀\\", "i": null} | done`},
		{"Gemma's words that are no JSON", &gemma, false, `<|tool_call>call:g{a:x y,b:[1,2],c:{d},e:[}}<tool_call|>`, `0 g {"a": "x y", "b": [1, 2], "c": "{d}", "e": "[}"} | done`},
		{"cut in Gemma's text", &gemma, false, `<|tool_call>call:f{text:<|"|>ab<|"`, `0 f {"text": "ab<|\" | done`},
		{"cut in Gemma's literal", &gemma, false, `<|tool_call>call:g{a:[1,`, `0 g {"a":  | done`},
		{"cut after Gemma's literal", &gemma, false, `<|tool_call>call:g{a:[1],`, `0 g {"a": [1] | done`},
		{"Gemma thinks", &gemma, false, "<|channel>thought\nHm.\n<channel|>So", `thought Hm. | text So`},
		{"calls of Python", &lfm, false, `<|tool_call_start|>[f(text='it\'s "x"', n=-3), g(a="b\tc", d=True, e={'k': None})]<|tool_call_end|> Done`,
			`0 f {"text": "it's \"x\"", "n": -3} | done | 1 g {"a": "b\tc", "d": true, "e": {"k": null}} | done | text Done`},
		{"calls of Python without arguments", &lfm, false, `<|tool_call_start|>[g(),g( )]<|tool_call_end|>`, `0 g {} | done | 1 g {} | done`},
		{"arguments of Python without names", &lfm, false, `<|tool_call_start|>[g('a')]<|tool_call_end|>`, `0 g { | done`},
		{"attributes say what a text is", &dsml, false, "Ok\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"g\">\n<｜DSML｜parameter name=\"a\" string=\"true\">12</｜DSML｜parameter>\n<｜DSML｜parameter name=\"b\" string=\"false\">12</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"g\">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
			`text Ok | 0 g {"a": "12", "b": 12} | done | 1 g {} | done`},
		{"a wrapped text", &minicpm, false, "<function name=\"f\"><param name=\"text\"><![CDATA[a </param> ]] <b>\n]]></param><param name=\"n\">1</param></function>\n<function name=\"f\"><param name=\"text\">x ]]></param></function>",
			`0 f {"text": "a </param> ]] <b>\n", "n": 1} | done | 1 f {"text": "x ]]>"} | done`},
		{"cut in a parameter", &coder, false, "<tool_call>\n<function=f>\n<parameter=text>\nabc", `0 f {"text": "abc | done`},
		{"a call that begins the answer", &llama, false, "\n{\"name\": \"g\", \"parameters\": {}}", "0 g {} | done"},
		{"a call after a tag", &llama, false, "<|python_tag|>{\"name\": \"g\", \"parameters\": {}}", "0 g {} | done"},
		{"channels", &oss, false, "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes <b>.", "thought Hm. | text Yes <b>."},
		{"a call in a channel", &oss, false, "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.g <|constrain|>json<|message|>{\"a\": \"<|end|>\"}", `thought Hm. | 0 g {"a": "<|end|>"} | done`},
		{"a call before its channel", &oss, false, " to=functions.g<|channel|>commentary json<|message|>{}<|call|>", "0 g {} | done"},
		{"text before a call", &oss, false, "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.g <|constrain|>json<|message|>{}", "text I look. | 0 g {} | done"},
		{"text without a channel", &oss, false, `{"a": 1}`, `text {"a": 1}`},
		{"cut in a header", &oss, false, "<|channel|>analysis<|message|>Hm.<|end|><|start|>assist", "thought Hm."},
		{"text with an opening", &prefixed, false, "all\nHello > you", "text Hello > you"},
		{"calls without one", &prefixed, false, "g\n{}>>>f\n{\"n\": 1}", `0 g {} | done | 1 f {"n": 1} | done`},
		{"text and a call", &prefixed, false, "all\nI look.>>>g\n{}", "text I look. | 0 g {} | done"},
		{"JSON that is no call", &llama, false, `{"name": "x"}`, `text {"name": "x"}`},
		{"a call after text is text", &llama, false, `So {"name": "g", "parameters": {}}`, `text So {"name": "g", "parameters": {}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := func(pieces ...string) {
				if got := show(parse(c.format, testTools(), c.thinking, pieces...)); got != c.want {
					t.Fatalf("%q gives\n%s, want\n%s", pieces, got, c.want)
				}
			}
			check(c.text)
			check(strings.Split(c.text, "")...)
			for i := range c.text {
				check(c.text[:i], c.text[i:])
			}
		})
	}
}

// Nothing of a marker is sent while it may still become whole, and everything else is sent at once.
func TestParserHoldsBackNoMore(t *testing.T) {
	p := NewParser(&hermes, testTools(), false)
	for _, step := range []struct{ write, want string }{
		{"Hello", "text Hello"}, {" ", ""}, {"you", "text  you"}, {"<", ""}, {"b>", "text <b>"}, {"\n<tool_call>", ""}, {"\n{\"name\": \"", ""}, {"g", ""},
		{"\", \"arguments\": ", "0 g "}, {"{\"a\": ", `{"a": `}, {`"x`, `"x`}, {"y\"}", `y"}`}, {"}\n</tool_call>", "done"},
	} {
		if got := show(p.Write(nil, step.write)); got != step.want {
			t.Errorf("after %q there is %q, want %q", step.write, got, step.want)
		}
	}
}

// Any text, however it is cut, gives the same parts; text without a marker stays as it is.
func TestParserOfNoise(t *testing.T) {
	words := []string{"<tool_call>", "<tool_", "\n", " ", `{"name": "`, "g", "f", `", "arguments": `, "{", "}", `"`, `\`, "</tool_call>", "<think>", "</think>", "é", "[TOOL_CALLS]", " [",
		`, "id": "abcdefgh1"}`, "]", "<function=", ">", "<parameter=", "text", "</parameter>", "</function>", `", "parameters": `, "1", "<|python_tag|>", "<|channel|>", "analysis", "<|message|>", "<|end|>", "<|start|>", "assistant", "to=functions.g", ">>>", "all\n",
		"<|tool_call>", "call:", ":", `<|"|>`, ",", "}<tool_call|>", "<|tool_call_start|>[", "(", "=", "'", `\u00`, "e4", "True", ")", "]<|tool_call_end|>", "<｜DSML｜tool_calls>", `<｜DSML｜invoke name="`, "\">\n",
		`<｜DSML｜parameter name="`, `" string="`, "true\">", "</｜DSML｜", "parameter>", "invoke>", `<function name="`, `">`, `<param name="`, "</param>", "<![CDATA[", "]]>", "<channel|>"}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		f := []*Format{&hermes, &mistral, &coder, &llama, &oss, &prefixed, &gemma, &lfm, &dsml, &minicpm}[r.IntN(10)]
		var pieces []string
		for range 1 + r.IntN(12) {
			pieces = append(pieces, words[r.IntN(len(words))])
		}
		text := strings.Join(pieces, "")
		want := show(parse(f, testTools(), false, text))
		for _, cut := range [][]string{pieces, strings.Split(text, "")} {
			if got := show(parse(f, testTools(), false, cut...)); got != want {
				t.Fatalf("%q gives\n%s, and in pieces %q\n%s", text, want, cut, got)
			}
		}
		if f.Always() {
			continue
		}
		if plain := show(parse(f, nil, false, "x"+text)); plain != "text x"+text {
			t.Fatalf("%q gives %s without tools", text, plain)
		}
	}
}

// The work is linear, whatever the text.
func TestParserIsLinear(t *testing.T) {
	for name, unit := range map[string]string{
		"spaces": " ", "markers": "<tool_call>", "beginnings": "<", "quotes": `"`, "calls": "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>",
		"parameters": "<tool_call>\n<function=f>\n<parameter=text>\n", "names": "<tool_call>\n{\"name\": \"gggg", "numbers": "<tool_call>\n<function=f>\n<parameter=n>\n1",
		"literals": "<|tool_call>call:g{a:[1,", "texts": `<|tool_call>call:g{a:<|"|>x`, "calls of Python": "<|tool_call_start|>[g(a='\\n', b=[{", "attributes": "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"g\">\n<｜DSML｜parameter name=\"a\" string=\"",
	} {
		for _, f := range []*Format{&hermes, &coder, &llama, &oss, &prefixed, &gemma, &lfm, &dsml, &minicpm} {
			start := time.Now()
			p := NewParser(f, testTools(), false)
			for range 100_000 {
				p.Write(nil, unit)
			}
			p.Close(nil)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%s took %v", name, took)
			}
		}
	}
}
