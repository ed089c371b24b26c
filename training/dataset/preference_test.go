package dataset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// readKind returns what the lines of a dataset say, as short text: the turns with a star where they are learned, of a pair
// the rejected ones behind "/", the label, and the bytes of the line that is kept.
func readKind(data string, kind Kind) ([]string, error) {
	var out []string
	err := Read(strings.NewReader(data), ReadOptions{Which: "training", Kind: kind}, func(_ int, c Conversation) error {
		s := turnsText(&c)
		if c.Rejected != nil {
			s += " / " + turnsText(c.Rejected)
		}
		if kind == UnpairedPreference && c.Rejected == nil {
			s += fmt.Sprintf(" %v", c.Desirable)
		}
		if c.Line != nil {
			s += " kept " + string(c.Line)
		}
		if c.Skip {
			s += " skipped"
		}
		out = append(out, s)
		return nil
	})
	return out, err
}

func turnsText(c *Conversation) string {
	var list []string
	for _, t := range c.Turns {
		s := t.Message.Role
		if t.Learn {
			s += "*"
		}
		s += " " + t.Message.Content
		if t.Message.Extra["tool_calls"] != nil {
			s += "()"
		}
		list = append(list, s)
	}
	if c.Tools != nil {
		list = append(list, "tools "+string(c.Tools))
	}
	return strings.Join(list, ", ")
}

func TestPreferenceFormats(t *testing.T) {
	const (
		plain = "user q, assistant* a / user q, assistant* b"
		call  = `{"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}`
	)
	for _, tc := range []struct{ name, line, want string }{
		{"texts", `{"prompt": "q", "chosen": "a", "rejected": "b"}`, plain},
		{"messages", `{"prompt": [{"role": "user", "content": "q"}], "chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]}`, plain},
		{"one message", `{"prompt": [{"role": "user", "content": "q"}], "chosen": {"role": "assistant", "content": "a"}, "rejected": {"role": "assistant", "content": "b"}}`, plain},
		{"an implicit prompt", `{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}`, plain},
		{"whole conversations beside their prompt", `{"prompt": "q", "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}`, plain},
		{"OpenAI's", `{"input": {"messages": [{"role": "user", "content": "q"}], "tools": [{"x": 1}], "parallel_tool_calls": true}, "preferred_output": [{"role": "assistant", "content": "a"}], "non_preferred_output": [` + call + `]}`,
			`user q, assistant* a, tools [{"x": 1}] / user q, assistant* (), tools [{"x": 1}]`},
		{"ShareGPT's", `{"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}`, plain},
		{"ShareGPT's whole", `{"chosen": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "rejected": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "b"}]}`, plain},
		{"alpaca's", `{"instruction": "q", "input": "r", "chosen": "a", "rejected": "b"}`, "user q\nr, assistant* a / user q\nr, assistant* b"},
		{"a system and a question", `{"system": "s", "question": "q", "chosen": "a", "rejected": "b"}`, "system s, user q, assistant* a / system s, user q, assistant* b"},
		{"messages and another answer", `{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected_response": "b"}`, plain},
		{"two responses", `{"prompt": "q", "chosen_response": "a", "rejected_response": "b"}`, plain},
		{"earlier answers", `{"prompt": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": "q"}], "chosen": "a", "rejected": "b"}`,
			"user p, assistant x, user q, assistant* a / user p, assistant x, user q, assistant* b"},
		{"earlier answers in common", `{"chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
			"rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}`,
			"user p, assistant x, user q, assistant* a / user p, assistant x, user q, assistant* b"},
		{"several turns", `{"prompt": "q", "chosen": [` + call + `, {"role": "tool", "content": "r"}, {"role": "assistant", "content": "a"}], "rejected": "b"}`,
			"user q, assistant* (), tool r, assistant* a / user q, assistant* b"},
		{"equal answers", `{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}`,
			"user q, assistant* a / user q, assistant* a"},
		{"a line of weight 0", `{"prompt": "q", "chosen": "a", "rejected": "b", "weight": 0}`, plain + " skipped"},
		{"an answer of weight 0", `{"prompt": "q", "chosen": [{"role": "assistant", "content": "a", "train": false}], "rejected": "b"}`, "user q, assistant a / user q, assistant* b"},
	} {
		got, err := readKind(strings.ReplaceAll(tc.line, "\n", ""), Preference)
		if err != nil || len(got) != 1 || got[0] != tc.want {
			t.Errorf("%s:\ngot  %q, error %v\nwant %q", tc.name, got, err, tc.want)
		}
	}
}

func TestUnpairedAndPromptFormats(t *testing.T) {
	for _, tc := range []struct {
		kind       Kind
		line, want string
	}{
		{UnpairedPreference, `{"prompt": "q", "completion": "a", "label": true}`, "user q, assistant* a true"},
		{UnpairedPreference, `{"prompt": "q", "completion": "a", "label": 0}`, "user q, assistant* a false"},
		{UnpairedPreference, `{"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "label": "False"}`,
			"user p, assistant x, user q, assistant* a false"},
		{UnpairedPreference, `{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "kto_tag": true}`, "user q, assistant* a true"},
		{UnpairedPreference, `{"prompt": "q", "chosen": "a", "rejected": "b"}`, "user q, assistant* a / user q, assistant* b"},
		{PromptOnly, `{"messages": [{"role": "user", "content": "q"}], "n": 1.0}`, `user q kept {"messages": [{"role": "user", "content": "q"}], "n": 1.0}`},
		{PromptOnly, `{"prompt": "q", "answer": "a"}`, `user q kept {"prompt": "q", "answer": "a"}`},
		{PromptOnly, `{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "tools": []}`,
			`user q kept {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "tools": []}`},
	} {
		got, err := readKind(tc.line, tc.kind)
		if err != nil || len(got) != 1 || got[0] != tc.want {
			t.Errorf("%v: %s\ngot  %q, error %v\nwant %q", tc.kind, tc.line, got, err, tc.want)
		}
	}
}

func TestBadPreferenceLines(t *testing.T) {
	for _, tc := range []struct {
		kind       Kind
		line, want string
	}{
		{Preference, `{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}`, "has the keys messages: a pair of answers is expected"},
		{Preference, `{"chosen": "a", "rejected": "b"}`, "has no prompt"},
		{Preference, `{"prompt": "q", "chosen": "a", "rejected": null}`, "a pair of answers is expected"},
		{Preference, `{"prompt": "q", "chosen": 3, "rejected": "b"}`, "has chosen that are not a list"},
		{Preference, `{"prompt": "q", "chosen": [], "rejected": "b"}`, "has no chosen"},
		{Preference, `{"prompt": 3, "chosen": "a", "rejected": "b"}`, "has a prompt that is not a text"},
		{Preference, `{"prompt": "q", "chosen": "a", "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}`, "one begins with the prompt and the other one does not"},
		{Preference, `{"prompt": "other", "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}`, "does not begin with its prompt"},
		{Preference, `{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}]}`, "answer the same prompt"},
		{Preference, `{"chosen": [{"role": "user", "content": "q"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}`, "has a chosen answer that is the beginning of the other one"},
		{Preference, `{"input": "q", "preferred_output": [{"role": "assistant", "content": "a"}], "non_preferred_output": [{"role": "assistant", "content": "b"}]}`, "has an input that is not an object"},
		{Preference, `{"input": {}, "preferred_output": [{"role": "assistant", "content": "a"}], "non_preferred_output": [{"role": "assistant", "content": "b"}]}`, "has an input without messages"},
		{Preference, `{"input": {"messages": [{"role": "user", "content": "q"}], "images": ["x"]}, "preferred_output": [{"role": "assistant", "content": "a"}], "non_preferred_output": [{"role": "assistant", "content": "b"}]}`, "has images: only text"},
		{Preference, `{"prompt": "q", "chosen": "a", "rejected": "b", "images": ["x.png"]}`, "has images: only text"},
		{Preference, `{"messages": [{"role": "user", "content": "q"}], "rejected_response": "b"}`, "has messages that do not end with the chosen answer"},
		{UnpairedPreference, `{"prompt": "q", "completion": "a"}`, "has no label"},
		{UnpairedPreference, `{"prompt": "q", "completion": "a", "label": "good"}`, `has a label of "good": true or false`},
		{UnpairedPreference, `{"prompt": "q", "completion": "a", "label": 0.5}`, `has a label of 0.5`},
		{UnpairedPreference, `{"text": "q", "label": true}`, "has a text: a label needs a prompt"},
		{UnpairedPreference, `{"messages": [{"role": "user", "content": "q"}], "label": true}`, "does not end with an answer"},
		{UnpairedPreference, `{"messages": [{"role": "assistant", "content": "q"}], "label": true}`, "has no prompt before its answer"},
		{PromptOnly, `{"text": "q"}`, "has the keys text: messages or prompt are expected"},
		{PromptOnly, `{"messages": [{"role": "assistant", "content": "q"}]}`, "has no prompt"},
		{PromptOnly, `{"messages": [{"role": "user", "content": "q"}], "audio": {"x": 1}}`, "has audio: only text"},
	} {
		_, err := readKind(tc.line, tc.kind)
		var bad *Error
		if !errors.As(err, &bad) || bad.Count != 1 || !strings.Contains(bad.Bad[0].Reason, tc.want) {
			t.Errorf("%v: %s\ngot  %v\nwant %q", tc.kind, tc.line, err, tc.want)
		}
	}
}

// encodeKind returns the examples of a line.
func encodeKind(t *testing.T, line string, o EncoderOptions) (*Encoder, []Example) {
	t.Helper()
	e := newTestEncoder(t, func(to *EncoderOptions) { *to = o })
	c, err := parseLine([]byte(line), o.Kind)
	if err != nil {
		t.Fatal(err)
	}
	list, err := e.Encode(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return e, list
}

func TestEncodePairs(t *testing.T) {
	const prompt = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
	line := `{"prompt": "q", "chosen": "good", "rejected": "a bad one"}`
	e, list := encodeKind(t, line, EncoderOptions{Kind: Preference, MaxLength: 1000, TrainOnInputs: true})
	if len(list) != 1 {
		t.Fatalf("%d examples", len(list))
	}
	x := list[0]
	got := []string{show(e.model, Example{Sequence: x.Sequence}), show(e.model, Example{Sequence: x.Rejected})}
	if want := []string{prompt + "[good<|im_end|>]", prompt + "[a bad one<|im_end|>]"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if !slices.Equal(x.Tokens[:x.Prompt], x.Rejected.Tokens[:x.Prompt]) || x.Labels[x.Prompt-1] == unlabelled || x.Labels[x.Prompt-2] != unlabelled {
		t.Errorf("the prompt has %d tokens", x.Prompt)
	}
	if n := Labelled(list); n != len("good")+len("a bad one")+2 {
		t.Errorf("%d tokens are learned", n)
	}
	if b := Batch(list, 1); len(b.Ends) != 2 || b.Ends[0] != len(x.Tokens) || b.Ends[1] != x.Length() {
		t.Errorf("the batch ends at %v", b.Ends)
	}

	e, list = encodeKind(t, line, EncoderOptions{Kind: Preference, MaxLength: x.Prompt + 5})
	if len(list) != 1 || e.Truncated != 1 || len(list[0].Rejected.Tokens) != x.Prompt+5 || len(list[0].Tokens) != len(x.Tokens) {
		t.Errorf("cut to %d tokens: %d examples, %d truncated", x.Prompt+5, len(list), e.Truncated)
	}
	for name, o := range map[string]EncoderOptions{
		"left out where one is too long": {Kind: Preference, MaxLength: x.Prompt + 5, Drop: true},
		"no room for an answer":          {Kind: Preference, MaxLength: x.Prompt - 1},
	} {
		if e, list := encodeKind(t, line, o); len(list) != 0 || e.Dropped != 1 || e.Truncated != 0 || e.Excluded != 0 {
			t.Errorf("%s: %d examples, %d dropped, %d excluded", name, len(list), e.Dropped, e.Excluded)
		}
	}
	if e, list := encodeKind(t, `{"prompt": "q", "chosen": "a", "rejected": "a"}`, EncoderOptions{Kind: Preference, MaxLength: 1000}); len(list) != 0 || e.Dropped != 1 || e.Identical != 1 {
		t.Errorf("equal answers: %d examples, %d dropped, %d identical", len(list), e.Dropped, e.Identical)
	}
	excluded := `{"prompt": "q", "chosen": "a", "rejected": [{"role": "assistant", "content": "b", "weight": 0}]}`
	if e, list := encodeKind(t, excluded, EncoderOptions{Kind: Preference, MaxLength: 1000}); len(list) != 0 || e.Dropped != 1 || e.Excluded != 1 {
		t.Errorf("an excluded answer: %d examples, %d dropped, %d excluded", len(list), e.Dropped, e.Excluded)
	}
}

func TestEncodeUnpairedAndPrompts(t *testing.T) {
	const prompt = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
	e, list := encodeKind(t, `{"prompt": "q", "chosen": "good", "rejected": "bad"}`, EncoderOptions{Kind: UnpairedPreference, MaxLength: 1000})
	if len(list) != 2 || !list[0].Desirable || list[1].Desirable || show(e.model, list[0]) != prompt+"[good<|im_end|>]" ||
		show(e.model, list[1]) != prompt+"[bad<|im_end|>]" || list[0].Prompt != list[1].Prompt || len(list[0].Rejected.Tokens) != 0 {
		t.Errorf("%+v", list)
	}
	line := `{"prompt": "q", "answer": "a"}`
	e, list = encodeKind(t, line, EncoderOptions{Kind: PromptOnly, MaxLength: 1000})
	if len(list) != 1 || Labelled(list) != 0 || list[0].Prompt != len(list[0].Tokens) || string(list[0].Line) != line {
		t.Fatalf("%+v", list)
	}
	var text strings.Builder
	for _, token := range list[0].Tokens {
		text.Write(e.model.Piece(token, true))
	}
	if text.String() != prompt {
		t.Errorf("the prompt is %q", text.String())
	}
	if e, got := encodeKind(t, line, EncoderOptions{Kind: PromptOnly, MaxLength: len(list[0].Tokens)}); len(got) != 0 || e.Dropped != 1 {
		t.Errorf("a prompt without room for an answer gives %d examples, %d dropped", len(got), e.Dropped)
	}
}
