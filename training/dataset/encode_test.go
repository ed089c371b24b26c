package dataset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

func newTestEncoder(t testing.TB, change func(*EncoderOptions)) *Encoder {
	t.Helper()
	m := runtimetest.NewModel()
	o := EncoderOptions{MaxLength: 1000}
	if change != nil {
		change(&o)
	}
	return NewEncoder(m, chat.NewTemplate(m, "", func(w string) { t.Error(w) }), o)
}

// show writes an example as text, with what is learned in brackets. The last token is a label alone.
func show(m runtime.Model, x Example) string {
	var b strings.Builder
	on := false
	for i, t := range append(slices.Clone(x.Tokens), x.Labels[len(x.Labels)-1]) {
		learned := i > 0 && x.Labels[i-1] != unlabelled
		if learned && x.Labels[i-1] != t {
			fmt.Fprintf(&b, "WRONG LABEL %d ", x.Labels[i-1])
		}
		if learned != on {
			b.WriteString(map[bool]string{true: "[", false: "]"}[learned])
			on = learned
		}
		b.Write(m.Piece(t, true))
	}
	if on {
		b.WriteString("]")
	}
	return b.String()
}

// encodeLine returns the examples of a line, shown.
func encodeLine(t *testing.T, e *Encoder, line string) ([]string, error) {
	t.Helper()
	c, err := parseLine([]byte(line), Supervised)
	if err != nil {
		t.Fatal(err)
	}
	list, err := e.Encode(context.Background(), c)
	var out []string
	for _, x := range list {
		out = append(out, show(e.model, x))
	}
	return out, err
}

const twoTurns = `{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
	{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}`

func TestMaskOfTurns(t *testing.T) {
	const (
		head = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
		mid  = "\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n"
	)
	for _, tc := range []struct {
		name, line string
		all        bool
		want       string
	}{
		{"every answer and its end", twoTurns, false, head + "[b<|im_end|>]" + mid + "[d<|im_end|>]"},
		{"all but the first token", twoTurns, true, "<|im_start|>[" + strings.TrimPrefix(head, "<|im_start|>") + "b<|im_end|>" + mid + "d<|im_end|>\n]"},
		{"an answer of weight 0", strings.Replace(twoTurns, `"b"`, `"b", "weight": 0`, 1), false, head + "b<|im_end|>" + mid + "[d<|im_end|>]"},
		{"what follows the last answer", `{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]}`, false,
			"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]"},
		{"and what follows it, learned", `{"messages": [{"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]}`, true,
			"<|im_start|>[assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n]"},
		{"an empty answer", `{"prompt": "a", "completion": ""}`, false, "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[<|im_end|>]"},
		{"control tokens in an answer", `{"prompt": "a", "completion": "say <|im_end|> now"}`, false, "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[say <|im_end|> now<|im_end|>]"},
		{"a text", `{"text": "once"}`, false, "o[nce<|im_end|>]"},
		{"a text that ends itself", `{"text": "once</s>"}`, false, "o[nce</s>]"},
	} {
		e := newTestEncoder(t, func(o *EncoderOptions) { o.TrainOnInputs = tc.all })
		got, err := encodeLine(t, e, tc.line)
		if err != nil || len(got) != 1 || got[0] != tc.want {
			t.Errorf("%s:\ngot  %q, error %v\nwant %q", tc.name, got, err, tc.want)
		}
	}
}

// TestTrainAsServed wants the tokens before every answer to be those that the server makes of the same messages.
func TestTrainAsServed(t *testing.T) {
	e := newTestEncoder(t, nil)
	c, err := parseLine([]byte(twoTurns), Supervised)
	if err != nil {
		t.Fatal(err)
	}
	list, err := e.Encode(context.Background(), c)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d examples, error %v", len(list), err)
	}
	checkServed(t, e, &c, list[0])
}

// checkServed compares an example with the prompts that serving its conversation takes.
func checkServed(t *testing.T, e *Encoder, c *Conversation, x Example) {
	t.Helper()
	tokens := append(slices.Clone(x.Tokens), x.Labels[len(x.Labels)-1])
	for i, turn := range c.Turns {
		if turn.Message.Role != assistant {
			continue
		}
		prompt, err := e.template.Tokenize(c.messages()[:i], chat.Options{AddGenerationPrompt: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(prompt) >= len(tokens) || !slices.Equal(tokens[:len(prompt)], prompt) {
			t.Fatalf("before message %d training has other tokens than serving", i)
		}
		// What is learned from here on, up to the end of the answer, is what the model must sample.
		var answer []runtime.Token
		for k := len(prompt); k < len(tokens) && x.Labels[k-1] != unlabelled; k++ {
			answer = append(answer, tokens[k])
		}
		var text strings.Builder
		for _, k := range answer[:len(answer)-1] {
			text.Write(e.model.Piece(k, false))
		}
		if text.String() != turn.Message.Content || !e.model.EndOfGeneration(answer[len(answer)-1]) {
			t.Errorf("the answer learned is %q and token %d, want %q and an end", text.String(), answer[len(answer)-1], turn.Message.Content)
		}
	}
}

// withTemplate is an Encoder with another template than the fake's.
func withTemplate(t *testing.T, m runtime.Model, source string, all bool) *Encoder {
	t.Helper()
	tmpl := chat.NewTemplate(m, source, nil)
	if why, yes := tmpl.Fallback(); yes {
		t.Fatal(why)
	}
	return NewEncoder(m, tmpl, EncoderOptions{MaxLength: 1000, TrainOnInputs: all})
}

// countingModel counts the texts that it tokenizes.
type countingModel struct {
	*runtimetest.Model
	texts int
}

func (m *countingModel) Tokenize(text string, bos, special bool) ([]runtime.Token, error) {
	m.texts++
	return m.Model.Tokenize(text, bos, special)
}

func newTemplate(t *testing.T, m runtime.Model) *chat.Template {
	return chat.NewTemplate(m, "", func(w string) { t.Error(w) })
}

// A template that shows what the assistant thought in the last turn alone, as those of reasoning models do.
const thinking = `{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' and loop.last %}<think>{{ m.thought }}</think>{% endif %}{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`

// TestTemplateThatDropsReasoning wants an example for every Turn, each as serving sees it, and nothing learned twice.
func TestTemplateThatDropsReasoning(t *testing.T) {
	line := `{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "thought": "B"},
		{"role": "user", "content": "c"}, {"role": "assistant", "content": "d", "thought": "D"}]}`
	const first, second = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n"
	for _, tc := range []struct {
		all  bool
		want []string
	}{
		{false, []string{first + "[<think>B</think>b<|im_end|>]", first + "b" + second + "[<think>D</think>d<|im_end|>]"}},
		{true, []string{"<|im_start|>[" + strings.TrimPrefix(first, "<|im_start|>") + "<think>B</think>b<|im_end|>\n]",
			first + "[b" + second + "<think>D</think>d<|im_end|>\n]"}},
	} {
		got, err := encodeLine(t, withTemplate(t, runtimetest.NewModel(), thinking, tc.all), line)
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("all %v:\ngot  %q, error %v\nwant %q", tc.all, got, err, tc.want)
		}
	}
}

// TestTemplatesThatCannotBeLearned wants a reason for the line, not a wrong mask.
func TestTemplatesThatCannotBeLearned(t *testing.T) {
	for source, part := range map[string]string{
		// The prompt ends with words that the answer's turn does not have.
		`{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}Answer: {% endif %}`: "does not render message 2 as a continuation of its prompt",
		// It takes questions alone.
		`{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('no answers here') }}{% endif %}{{ m.content }}{% endfor %}`: "cannot be rendered up to message 2: the chat template cannot be rendered: no answers here",
	} {
		_, err := encodeLine(t, withTemplate(t, runtimetest.NewModel(), source, false), `{"prompt": "a", "completion": "b"}`)
		if bad := new(LineError); !errors.As(err, &bad) || !strings.Contains(bad.Reason, part) {
			t.Errorf("error %v, want %q", err, part)
		}
	}
}

// TestTemplateWithoutEnds puts the model's EOS behind a conversation whose template ends no turn.
func TestTemplateWithoutEnds(t *testing.T) {
	const source = `{% for m in messages %}{{ m.role }}: {{ m.content }}
{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}`
	got, err := encodeLine(t, withTemplate(t, runtimetest.NewModel(), source, false), twoTurns)
	want := []string{"system: S\nuser: a\nassistant:[ b\n]user: c\nassistant:[ d\n<|im_end|>]"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got  %q, error %v\nwant %q", got, err, want)
	}
}

// mergingModel is a tokenizer that joins two line breaks into one token, and like sentencepiece puts a space
// before a text where space is set.
type mergingModel struct {
	*runtimetest.Model
	space bool
}

const (
	doubleBreak runtime.Token = 1
	spaced      runtime.Token = 2 // a space at the beginning
)

func (m mergingModel) Tokenize(text string, bos, special bool) ([]runtime.Token, error) {
	plain, err := m.Model.Tokenize(text, bos, special)
	var out []runtime.Token
	if m.space && text != "" && len(plain) > 0 && plain[0] < 256 {
		out = append(out, spaced)
	}
	for _, t := range plain {
		if n := len(out); n > 0 && t == '\n' && out[n-1] == '\n' {
			out[n-1] = doubleBreak
			continue
		}
		out = append(out, t)
	}
	return out, err
}

func (m mergingModel) Piece(t runtime.Token, special bool) []byte {
	switch t {
	case doubleBreak:
		return []byte("\n\n")
	case spaced:
		return []byte(" ")
	}
	return m.Model.Piece(t, special)
}

// TestTokenizerThatJoins has an answer that begins with what the tokenizer would join with the prompt's end. The
// server tokenizes the prompt alone, and so must training.
func TestTokenizerThatJoins(t *testing.T) {
	for _, space := range []bool{false, true} {
		m := mergingModel{runtimetest.NewModel(), space}
		e := NewEncoder(m, chat.NewTemplate(m, "", nil), EncoderOptions{MaxLength: 1000})
		c, err := parseLine([]byte(`{"prompt": "a", "completion": "\nb"}`), Supervised)
		if err != nil {
			t.Fatal(err)
		}
		list, err := e.Encode(context.Background(), c)
		if err != nil || len(list) != 1 {
			t.Fatalf("space %v: %d examples, error %v", space, len(list), err)
		}
		want := "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[\nb<|im_end|>]"
		if got := show(m, list[0]); got != want {
			t.Errorf("space %v:\ngot  %q\nwant %q", space, got, want)
		}
		checkServed(t, e, &c, list[0])
	}
	// Where no way of tokenizing the answer alone gives its bytes back, the line is refused.
	e := newTestEncoder(t, nil)
	e.model = foldingModel{runtimetest.NewModel()}
	e = NewEncoder(e.model, chat.NewTemplate(e.model, "", nil), e.o)
	_, err := encodeLine(t, e, `{"prompt": "a", "completion": "ABC"}`)
	if bad := new(LineError); !errors.As(err, &bad) || !strings.Contains(bad.Reason, "the tokenizer joins the answer") {
		t.Errorf("error %v", err)
	}
}

// foldingModel loses the case of letters, and joins any letter with a line break before it.
type foldingModel struct{ *runtimetest.Model }

func (m foldingModel) Tokenize(text string, bos, special bool) ([]runtime.Token, error) {
	tokens, err := m.Model.Tokenize(strings.ToLower(text), bos, special)
	return slices.DeleteFunc(tokens, func(t runtime.Token) bool { return t == '\n' && strings.HasSuffix(text, "<|im_end|>\n") }), err
}

// TestToolsAndKwargs wants what a request may give the template to reach it from a line too.
func TestToolsAndKwargs(t *testing.T) {
	const source = `{{ tools }}{{ mood }}{% for m in messages %}{{ m.role }}{{ m.name }}:{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}`
	line := `{"messages": [{"role": "user", "content": "a", "name": "bob"}, {"role": "assistant", "content": "b"}],
		"tools": [{"x": 1}], "chat_template_kwargs": {"mood": "fine"}}`
	got, err := encodeLine(t, withTemplate(t, runtimetest.NewModel(), source, false), line)
	const instructions = "To call a tool, write nothing but this, with its name and a JSON object of its arguments:\n<tool_call>\n" +
		`{"name": "NAME", "arguments": {ARGUMENTS}}` + "\n</tool_call>\nThe next turn then has what the tool returned."
	want := "[{'x': 1}]finesystem:" + instructions + "<|im_end|>userbob:a<|im_end|>assistant:[b<|im_end|>]"
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got  %q, error %v\nwant %q", got, err, want)
	}
}

func TestTooLong(t *testing.T) {
	const line = `{"prompt": "abcdefgh", "completion": "0123456789"}` // a prompt of 27 tokens, an answer of 11
	whole, err := encodeLine(t, newTestEncoder(t, nil), line)
	if err != nil {
		t.Fatal(err)
	}
	prompt, _, _ := strings.Cut(whole[0], "[")
	for _, tc := range []struct {
		length             int
		drop               bool
		want               []string
		truncated, dropped int
	}{
		{100, false, whole, 0, 0},
		{37 - 5, false, []string{prompt + "[012345]"}, 1, 0},
		{37 - 5, true, nil, 0, 1},
		{10, false, nil, 0, 1}, // nothing of the answer is left
	} {
		e := newTestEncoder(t, func(o *EncoderOptions) { o.MaxLength, o.Drop = tc.length, tc.drop })
		got, err := encodeLine(t, e, line)
		if err != nil || !slices.Equal(got, tc.want) || e.Truncated != tc.truncated || e.Dropped != tc.dropped {
			t.Errorf("%d, drop %v: got %q (%d truncated, %d dropped), error %v; want %q", tc.length, tc.drop, got, e.Truncated, e.Dropped, err, tc.want)
		}
	}
}

func TestNothingToLearnIsCounted(t *testing.T) {
	for _, line := range []string{`{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}`} {
		e := newTestEncoder(t, nil)
		got, err := encodeLine(t, e, line)
		if err != nil || len(got) != 0 || e.Dropped != 1 {
			t.Errorf("%s: %q, %d dropped, error %v", line, got, e.Dropped, err)
		}
	}
}
