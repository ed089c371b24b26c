package dataset

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// TestFlagsOfMessages wants an answer that any program's flag leaves out not to be learned, and the others to be.
func TestFlagsOfMessages(t *testing.T) {
	const line = `{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "BAD", %s}, {"role": "user", "content": "q2"}, {"role": "assistant", "content": "good"}]}`
	for _, flag := range []string{
		`"weight": 0`, `"weight": 0.0`, `"weight": false`, `"loss_weight": 0`, `"loss": false`, `"train": false`, `"training": false`,
		`"trainable": false`, `"loss_scale": 0`, `"learn": false`, `"is_trainable": false`, `"train_on": 0`, `"calculate_loss": false`, `"step_loss_mask": 0`, `"ignore": true`, `"skip": 1`, `"no_loss": true`, `"output_with_loss": false`, `"weight": 1, "train": false`,
	} {
		for _, all := range []bool{false, true} {
			e := newTestEncoder(t, func(o *EncoderOptions) { o.TrainOnInputs = all })
			got, err := encodeLine(t, e, fmt.Sprintf(line, flag))
			if err != nil || len(got) != 1 || !strings.Contains(got[0], "good") {
				t.Fatalf("%s: %q, error %v", flag, got, err)
			}
			for _, learned := range learnedParts(got[0]) {
				if strings.Contains(learned, "BAD") {
					t.Errorf("%s, all %v: it is learned: %q", flag, all, got)
				}
			}
		}
	}
	for _, flag := range []string{`"weight": 1`, `"train": true`, `"loss": true`, `"weight": null`, `"Weight": 0`} {
		got, err := encodeLine(t, newTestEncoder(t, nil), fmt.Sprintf(line, flag))
		if err != nil || len(got) != 1 || !strings.Contains(got[0], "[BAD<|im_end|>]") {
			t.Errorf("%s: it is not learned: %q, error %v", flag, got, err)
		}
	}
	for flag, want := range map[string]string{
		`"loss": 0.5`:            "has a loss of 0.5: 0 or 1, or false or true, is expected",
		`"train": "no"`:          `has a train of "no"`,
		`"skip": "yes"`:          `has a skip of "yes": 0 or 1, or false or true, is expected`,
		`"mask": true`:           "has a mask of true: whether a masked message is learned differs",
		`"train_detail": [1, 2]`: "has a train_detail of [1, 2]: parts of a message cannot be left out",
	} {
		_, err := read(fmt.Sprintf(line, flag))
		wantError(t, err, ErrInvalid, "messages[1] "+want)
	}
}

// learnedParts returns what an example that show wrote learns.
func learnedParts(shown string) []string {
	var out []string
	for _, part := range strings.Split(shown, "[")[1:] {
		learned, _, _ := strings.Cut(part, "]")
		out = append(out, learned)
	}
	return out
}

// TestExcludedInputs leaves a question out where every token is learned, as its own flag says.
func TestExcludedInputs(t *testing.T) {
	e := newTestEncoder(t, func(o *EncoderOptions) { o.TrainOnInputs = true })
	got, err := encodeLine(t, e, `{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q", "weight": 0}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "end", "weight": 0}]}`)
	want := "<|im_start|>[system\ns<|im_end|>\n]<|im_start|>user\nq<|im_end|>\n[<|im_start|>assistant\na<|im_end|>\n]"
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got  %q, error %v\nwant %q", got, err, want)
	}
}

// TestFlagsOfLines wants a line that says so to be left out whole, and other columns of the same names not to matter.
func TestFlagsOfLines(t *testing.T) {
	for _, format := range []string{`"prompt": "q", "completion": "a"`, `"text": "once"`} {
		for _, flag := range []string{`"weight": 0`, `"train": false`, `"sample_weight": 0`, `"loss": false`, `"skip": true`, `"train": 0`, `"trainable": "False"`, `"loss": "false"`} {
			e := newTestEncoder(t, func(o *EncoderOptions) { o.TrainOnInputs = true })
			got, err := encodeLine(t, e, "{"+format+", "+flag+"}")
			if err != nil || len(got) != 0 || e.Dropped != 1 {
				t.Errorf("%s: %q, %d dropped, error %v", flag, got, e.Dropped, err)
			}
		}
		for _, flag := range []string{`"weight": 1`, `"loss": 2.31`, `"train": "part 3"`, `"label": 3`, `"label": "good"`, `"skip": false`, `"ignore": 1`, `"loss": 0`, `"train": 1`, `"learn": "true"`} {
			got, err := encodeLine(t, newTestEncoder(t, nil), "{"+format+", "+flag+"}")
			if err != nil || len(got) != 1 {
				t.Errorf("%s: %q, error %v", flag, got, err)
			}
		}
	}
	for line, want := range map[string]string{
		`{"prompt": "q", "completion": "a", "weight": 0.5}`:           "has a weight of 0.5: 0 or 1 is expected",
		`{"prompt": "q", "completion": "a", "label": false}`:          "is preference data (label)",
		`{"prompt": "q", "completion": "a", "label": true}`:           "is preference data (label)",
		`{"prompt": "q", "completion": "a", "label": "False"}`:        "is preference data (label)",
		`{"prompt": "q", "completion": "a", "kto_tag": true}`:         "is preference data (kto_tag)",
		`{"prompt": "q", "completion": "a", "rejected_response": ""}`: "is preference data (rejected_response)",
	} {
		_, err := read(line)
		wantError(t, err, ErrInvalid, want)
	}
}

// TestFlagsOfParts wants a part that is not to be learned refused, since a message is learned as a whole, and others read.
func TestFlagsOfParts(t *testing.T) {
	const line = `{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"type": "text", "text": "BAD", %s}, {"type": "text", "text": "good"}]}]}`
	for _, flag := range []string{`"weight": 0`, `"train": false`, `"loss": false`, `"skip": true`, `"mask": true`, `"weight": 0.5`, `"loss_mask": [0]`} {
		_, err := read(fmt.Sprintf(line, flag))
		wantError(t, err, ErrInvalid, "messages[1] content[0] has a "+strings.Split(flag, `"`)[1])
		wantError(t, err, ErrInvalid, "parts of a message cannot be left out")
	}
	for _, flag := range []string{`"weight": 1`, `"train": true`, `"skip": false`, `"loss": null`, `"id": 0`} {
		got, err := encodeLine(t, newTestEncoder(t, nil), fmt.Sprintf(line, flag))
		if err != nil || len(got) != 1 || !strings.Contains(got[0], "[BADgood<|im_end|>]") {
			t.Errorf("%s: it is not learned: %q, error %v", flag, got, err)
		}
	}
}

// TestMediaIsRefused wants a line with pictures or sounds refused by the name of the field: the answer would be learned
// without them. Empty columns do not matter.
func TestMediaIsRefused(t *testing.T) {
	for line, want := range map[string]string{
		`{"messages": [{"role": "user", "content": "<image>q"}, {"role": "assistant", "content": "a"}], "images": ["x.png"]}`: "line 1 has images: only text can be learned",
		`{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "image_path": "x.png"}`:      "line 1 has image_path: only text can be learned",
		`{"messages": [{"role": "user", "content": "q", "audio_url": "x.wav"}, {"role": "assistant", "content": "a"}]}`:       "messages[0] has audio_url: only text",
		`{"conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a"}], "image": "x.png"}`:         "has image: only text",
		`{"prompt": "q", "completion": "a", "audios": [{"path": "x.wav"}]}`:                                                   "has audios: only text",
		`{"messages": [{"role": "user", "content": "q", "images": ["x.png"]}, {"role": "assistant", "content": "a"}]}`:        "messages[0] has images: only text",
		`{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "audio": {"id": "audio_1"}}]}`: "messages[1] has audio: only text",
	} {
		_, err := read(line)
		wantError(t, err, ErrInvalid, want)
	}
	for _, columns := range []string{`"images": []`, `"image": ""`, `"videos": null`, `"audio": {}`, `"image": 12`} {
		if got, err := read(`{"prompt": "q", "completion": "a", ` + columns + `}`); err != nil || len(got) != 1 {
			t.Errorf("%s: %q, error %v", columns, got, err)
		}
	}
}

// TestToolData reads calls and tools in all the forms that people have.
func TestToolData(t *testing.T) {
	const call = `[{"type": "function", "function": {"name": "f", "arguments": {"n": 1}}}]`
	const user, rest = `{"role": "user", "content": "q"}`, `{"role": "tool", "content": "r"}, {"role": "assistant", "content": "a"}`
	want := `1: user "q" assistant* "" map[tool_calls:` + call + `] tool "r" assistant* "a"`
	for name, line := range map[string]string{
		"OpenAI":              `{"messages": [` + user + `, {"role": "assistant", "content": null, "tool_calls": ` + call + `}, ` + rest + `]}`,
		"OpenAI, before":      `{"messages": [` + user + `, {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": {"n": 1}}}, {"role": "function", "content": "r"}, {"role": "assistant", "content": "a"}]}`,
		"ShareGPT":            `{"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"n\": 1}}"}, {"from": "observation", "value": "r"}, {"from": "gpt", "value": "a"}]}`,
		"ShareGPT, an object": `{"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": {"name": "f", "arguments": {"n": 1}}}, {"from": "observation", "value": "r"}, {"from": "gpt", "value": "a"}]}`,
		"the function itself": `{"messages": [` + user + `, {"role": "assistant", "content": null, "tool_calls": [{"name": "f", "arguments": {"n": 1}}]}, ` + rest + `]}`,
		"parts":               `{"messages": [` + user + `, {"role": "assistant", "content": [{"type": "tool_call", "value": "{\"name\": \"f\", \"arguments\": {\"n\": 1}}"}]}, ` + rest + `]}`,
		"parts with names":    `{"messages": [` + user + `, {"role": "assistant", "content": [{"type": "tool_call", "name": "f", "arguments": {"n": 1}}]}, ` + rest + `]}`,
	} {
		got, err := read(line)
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s:\ngot  %q, error %v\nwant %q", name, got, err, want)
		}
	}
	got, err := read(`{"messages": [` + user + `, {"role": "assistant", "content": [{"type": "reasoning", "value": "hm"}, {"type": "text", "text": "a"}]}], "functions": [{"name": "f"}]}`)
	if want := `[1: user "q" assistant* "a" map[reasoning_content:"hm"] tools [{"type": "function", "function": {"name": "f"}}]]`; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got  %s, error %v\nwant %s", got, err, want)
	}
	for line, want := range map[string]string{
		`{"messages": [{"role": "assistant", "content": "a", "tool_calls": 3}]}`:                                                               "messages[0] has tool_calls that are not a list",
		`{"messages": [{"role": "assistant", "content": "a", "tool_calls": [{"function": {}}]}]}`:                                              "messages[0] has tool_calls[0].function, which is not an object with the name",
		`{"messages": [{"role": "assistant", "content": "a", "function_call": "x"}]}`:                                                          "messages[0] has a function_call that is not an object with the name",
		`{"messages": [{"role": "assistant", "content": [{"type": "tool_call", "arguments": {}}]}]}`:                                           "content[0] has no name of a function",
		`{"messages": [{"role": "assistant", "content": [{"type": "tool_call", "value": "[]"}]}]}`:                                             "content[0] has a value that has no call",
		`{"messages": [{"role": "assistant", "content": null, "tool_calls": [{"type": "custom", "custom": {"name": "f", "input": "x"}}]}]}`:    "messages[0] has tool_calls[0] without a function",
		`{"messages": [{"role": "assistant", "content": null, "tool_calls": [null]}]}`:                                                         "messages[0] has tool_calls that are not a list of objects",
		`{"messages": [{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\":"}}]}]}`:          `has arguments whose text is not a JSON object: {"a":`,
		`{"messages": [{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "5"}}]}]}`:                "has arguments whose text is not a JSON object: 5",
		`{"messages": [{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]}]}`:                "has arguments that are not an object: [1]",
		`{"messages": [{"role": "assistant", "content": null, "function_call": {"name": "f"}, "tool_calls": [{"function": {"name": "g"}}]}]}`:  "has both tool_calls and function_call",
		`{"messages": [{"role": "user", "content": "q", "tool_calls": [{"function": {"name": "f"}}]}, {"role": "assistant", "content": "a"}]}`: "messages[0] has tool_calls and is the user's",
		`{"messages": [{"role": "user", "content": "q", "function_call": {"name": "f"}}, {"role": "assistant", "content": "a"}]}`:              "messages[0] has a function_call and is the user's",
		`{"messages": [{"role": "human", "content": "q"}, {"role": "gpt", "content": "a"}]}`:                                                   "has no message of the assistant to learn from: its roles are human, gpt",
		`{"conversations": [{"from": "function_call", "value": {"name": 3}}]}`:                                                                 "conversations[0] is a function_call whose value is not an object with the name",
		`{"messages": [{"role": "assistant", "content": "a"}], "tools": "{"}`:                                                                  "has tools whose value is a text that is not JSON",
		`{"messages": [{"role": "assistant", "content": "a"}], "tools": [3]}`:                                                                  "has tools that are not a list of objects",
		`{"instruction": "a", "output": "b", "history": [["q"]]}`:                                                                              "has a history that is not a list of pairs",
		`{"messages": [{"role": "assistant", "content": [{"type": "text", "TEXT": "a"}]}]}`:                                                    "content[0] has no text",
		`{"Messages": [{"role": "assistant", "content": "a"}]}`:                                                                                "has the keys Messages: messages, conversations",
		`{"messages": [` + strings.Repeat(user+",", maxMessages) + user + `]}`:                                                                 "has 1025 messages: at most 1024 can be learned",
	} {
		_, err := read(line)
		wantError(t, err, ErrInvalid, want)
	}
}

// TestHalfCharacters wants half of a surrogate pair refused with its place, wherever in a line it is, and pairs to be read.
func TestHalfCharacters(t *testing.T) {
	for line, want := range map[string]string{
		`{"text": "a\ud83d"}`:      `line 2 has a string with \ud83d, half of a surrogate pair, which is no character by itself at byte 12`,
		`{"text": "\ude00\ud83d"}`: `\ude00`,
		`{"te\ud83dxt": "a"}`:      `\ud83d`,
		`{"messages": [{"role": "assistant", "content": "a"}], "tools": "[{\"d\": \"\\ud83d\"}]"}`:                                                 `has tools whose value is a text that has a string with \ud83d`,
		`{"messages": [{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\": \"\\ud83d\"}"}}]}]}`: `has arguments whose text has a string with \ud83d`,
		`{"conversations": [{"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"a\": \"\\udc00\"}}"}]}`:                        `is a text that has a string with \udc00`,
		`{"text": ` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`:                                                                    "exceeded max depth",
	} {
		_, err := read(conversations(1) + line)
		wantError(t, err, ErrInvalid, want)
	}
	got, err := read(`{"text": "a\ud83d\ude00 \\ud83d"}`)
	if want := `[1: text "a😀 \\ud83d"]`; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %s, error %v; want %s", got, err, want)
	}
}

// printsAll is a template that prints tools, calls and reasoning.
const printsAll = `{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}` +
	`{% if m.reasoning_content and loop.last %}({{ m.reasoning_content }}){% endif %}` +
	`{% if m.tool_calls %}{% for c in m.tool_calls %}{{ c | tojson }}{% endfor %}{% endif %}<|im_end|>{% endfor %}` +
	`{% if add_generation_prompt %}<assistant>{% endif %}`

// TestMissingContent wants a template to see whether a call's message had a content, an empty one, or none.
func TestMissingContent(t *testing.T) {
	const source = `{% for m in messages %}<{{ m.role }}>{% if m.content is undefined %}absent{% elif m.content is none %}null{% else %}"{{ m.content }}"{% endif %}` +
		`{% if m.tool_calls %}{{ m.tool_calls[0].function.name }}{% endif %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}`
	for message, want := range map[string]string{
		`{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]}`: "[nullf<|im_end|>]",
		`{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]}`:   `[""f<|im_end|>]`,
		`{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}`:                  "[absentf<|im_end|>]",
		`{"from": "function_call", "value": "{\"name\": \"f\"}"}`:                             "[nullf<|im_end|>]",
		`{"role": "assistant", "content": [{"type": "tool_call", "name": "f"}]}`:              "[nullf<|im_end|>]",
		`{"role": "assistant", "content": [{"type": "text", "text": "a"}]}`:                   `["a"<|im_end|>]`,
	} {
		line := `{"messages": [{"role": "user", "content": "q"}, ` + message + `]}`
		got, err := encodeLine(t, withTemplate(t, runtimetest.NewModel(), source, false), line)
		if err != nil || len(got) != 1 || !strings.HasSuffix(got[0], "<assistant>"+want) {
			t.Errorf("%s: %q, error %v, want %q at the end", message, got, err, want)
		}
	}
}

// TestUnknownRoles wants a role that no template names refused, where a template would render it as another's.
func TestUnknownRoles(t *testing.T) {
	_, err := encodeLine(t, newTestEncoder(t, nil), `{"messages": [{"role": "user", "content": "q"}, {"role": "asistant", "content": "a"}, {"role": "assistant", "content": "b"}]}`)
	if bad := new(LineError); !errors.As(err, &bad) || !strings.Contains(bad.Reason, `has a message 2 of the role "asistant"`) {
		t.Errorf("error %v", err)
	}
}

// TestNumbersKeepTheirDigits wants numbers to come to the template with the digits of the line.
func TestNumbersKeepTheirDigits(t *testing.T) {
	const big = "98765432109876543210"
	line := `{"tools": [{"type": "function", "function": {"name": "f", "maximum": ` + big + `}}], "messages": [{"role": "user", "content": "q"},
		{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"n": ` + big + `}}}]}]}`
	c, err := parseLine([]byte(line), Supervised)
	if err != nil || !strings.Contains(string(c.Tools), big) || !strings.Contains(string(c.Turns[1].extra("tool_calls")), big) {
		t.Errorf("%+v, error %v", c, err)
	}
}

// TestToolsOfAPlainTemplate wants tools, calls and results, which the template does not print, in the generic format, and
// calls learned in it.
func TestToolsOfAPlainTemplate(t *testing.T) {
	line := `{"tools": [{"type": "function", "function": {"name": "f"}}], "messages": [{"role": "user", "content": "q"},
		{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\": 1}"}}]},
		{"role": "tool", "content": "r"}, {"role": "assistant", "content": "a"}]}`
	const source = `{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}`
	got, err := encodeLine(t, withTemplate(t, runtimetest.NewModel(), source, false), line)
	const call = "<assistant>[<tool_call>\n" + `{"name": "f", "arguments": {"a":1}}` + "\n</tool_call><|im_end|>]"
	const result = "<user><tool_response>\nr\n</tool_response><|im_end|><assistant>[a<|im_end|>]"
	if err != nil || len(got) != 1 || !strings.HasPrefix(got[0], "<system>You can call tools.") || !strings.HasSuffix(got[0], "<user>q<|im_end|>"+call+result) {
		t.Errorf("%q, error %v", got, err)
	}
}

// TestWhatIsNotPrintedIsRefused wants no reasoning or message to be left out in silence.
func TestWhatIsNotPrintedIsRefused(t *testing.T) {
	const content = `{% for m in messages %}{% if m.role in ['user', 'assistant'] %}<{{ m.role }}>{{ m.content or '' }}<|im_end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}`
	const user, answer = `{"role": "user", "content": "q"}`, `{"role": "assistant", "content": "a"}`
	for name, tc := range map[string]struct{ line, want string }{
		"reasoning": {`{"messages": [` + user + `, {"role": "assistant", "content": "a", "reasoning_content": "hm"}]}`, "has a message 2 with reasoning_content, which"},
		"a system":  {`{"messages": [{"role": "system", "content": "s"}, ` + user + "," + answer + `]}`, "has a message 1 of the role system, which"},
	} {
		_, err := encodeLine(t, withTemplate(t, runtimetest.NewModel(), content, false), tc.line)
		if bad := new(LineError); !errors.As(err, &bad) || !strings.Contains(bad.Reason, tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
		got, err := encodeLine(t, withTemplate(t, runtimetest.NewModel(), printsAll, false), tc.line)
		if err != nil || len(got) == 0 {
			t.Errorf("%s: %q, error %v", name, got, err)
		}
	}
	// An empty list or text says nothing.
	line := `{"messages": [` + user + `, {"role": "assistant", "content": "a", "tool_calls": [], "reasoning_content": ""}], "tools": []}`
	if got, err := encodeLine(t, withTemplate(t, runtimetest.NewModel(), content, false), line); err != nil || len(got) != 1 {
		t.Errorf("%q, error %v", got, err)
	}
}

// TestEncodingEnds has a conversation of which most cannot fit: it is not rendered to its end, and a context ends it.
func TestEncodingEnds(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"messages": [`)
	for i := range maxMessages {
		fmt.Fprintf(&b, `{"role": %q, "content": "%s"},`, []string{"user", "assistant"}[i%2], strings.Repeat("x", 100))
	}
	c, err := parseLine([]byte(strings.TrimSuffix(b.String(), ",")+"]}"), Supervised)
	if err != nil {
		t.Fatal(err)
	}
	counting := &countingModel{Model: runtimetest.NewModel()}
	e := NewEncoder(counting, newTemplate(t, counting), EncoderOptions{MaxLength: 1000})
	list, err := e.Encode(context.Background(), c)
	if err != nil || len(list) != 1 || e.Truncated != 1 || counting.texts > 50 {
		t.Errorf("%d examples, %d truncated, %d texts tokenized, error %v", len(list), e.Truncated, counting.texts, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := e.Encode(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
