package dataset

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// familyModel has the control tokens of published templates, and joins letters to words and line breaks to one token between
// them. It counts what it tokenizes.
type familyModel struct {
	*runtimetest.Model
	controls []string
	bytes    int // that were tokenized
}

const (
	firstControl runtime.Token = 1000
	firstPair    runtime.Token = 10_000 // two equal bytes: 10,000 and the byte
)

func newFamilyModel(bos bool) *familyModel {
	m := &familyModel{Model: runtimetest.NewModel(), controls: []string{
		"<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
		"<|eot_id|>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "[INST]", "[/INST]",
	}}
	f := m.Facts()
	f.VocabSize, f.AddBOS = int(firstPair)+256, bos
	return m
}

func (m *familyModel) Tokenize(text string, bos, special bool) (out []runtime.Token, err error) {
	m.bytes += len(text)
	if bos && m.Facts().AddBOS {
		out = append(out, firstControl)
	}
next:
	for i := 0; i < len(text); {
		for n, c := range m.controls {
			if special && strings.HasPrefix(text[i:], c) {
				out, i = append(out, firstControl+runtime.Token(n)), i+len(c)
				continue next
			}
		}
		if i+1 < len(text) && text[i] == text[i+1] {
			out, i = append(out, firstPair+runtime.Token(text[i])), i+2
			continue
		}
		out, i = append(out, runtime.Token(text[i])), i+1
	}
	return out, nil
}

func (m *familyModel) Piece(t runtime.Token, special bool) []byte {
	switch {
	case t >= firstPair && t < firstPair+256:
		return []byte{byte(t - firstPair), byte(t - firstPair)}
	case t >= firstControl && int(t-firstControl) < len(m.controls):
		if special {
			return []byte(m.controls[t-firstControl])
		}
	case t >= 0 && t < 256:
		return []byte{byte(t)}
	}
	return nil
}

func (m *familyModel) EndOfGeneration(t runtime.Token) bool {
	switch string(m.Piece(t, true)) {
	case "</s>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>", "<|end|>":
		return t >= firstControl
	}
	return false
}

// oddTemplates show turns in ways that depend on where they stand.
var oddTemplates = map[string]string{
	"the last one only": thinking,
	"numbered":          `{% for m in messages %}{{ loop.index }}. {{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}{{ messages|length + 1 }}. assistant: {% endif %}`,
	"counted":           `{{ messages|length }} messages{% for m in messages %}<|im_start|>{{ m.role }}{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}`,
	"the tenth":         `{% for m in messages %}<|im_start|>{{ m.role }}{{ m.content }}{% if loop.index == 10 %}!{% endif %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}`,
	"the newest first":  `{% for m in messages|reverse %}<|im_start|>{{ m.role }}{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}`,
	"ends at the end":   `{% for m in messages %}<|im_start|>{{ m.role }}{{ m.content }}{% if not loop.last %}<|im_end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_end|><|im_start|>assistant{% endif %}`,
	"without controls":  `{% for m in messages %}{{ m.role }}: {{ m.content }}{{ '\n\n' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}`,
	"joins":             `{% for m in messages %}{{ m.role }}{{ '\n' }}{{ m.content }}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}assistant{{ '\n' }}{% endif %}`,
	"tools before the last question": `{% for m in messages %}{% if tools and m.role == 'user' and loop.revindex < 3 %}{{ tools }}{% endif %}<|im_start|>{{ m.role }}{{ m.content }}<|im_end|>` +
		`{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}`,
	"trims": `{% for m in messages %}<|im_start|>{{ m.role }}{{ m.content | trim }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}`,
}

// templatesOfAllKinds are the published ones that the tests of package chat have, and odd ones.
func templatesOfAllKinds(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, source := range oddTemplates {
		all[name] = source
	}
	paths, _ := filepath.Glob("../../chat/testdata/templates/*.jinja")
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(path), ".jinja")] = string(source)
	}
	if len(all) < len(oddTemplates)+12 {
		t.Fatalf("%d templates", len(all))
	}
	return all
}

// randomConversation makes a conversation as data sets have them, with what templates and tokenizers take apart.
func randomConversation(rng *rand.Rand) Conversation {
	texts := []string{"", "a", " b ", "x\n", "\n\ny", "<think>\nhm\n</think>\n\nz", "<|im_end|>", "[INST] no [/INST]", "日本語", "yes", "no",
		strings.Repeat("long ", 40), "im_end|> rest", "<tool_response>r</tool_response>", "!", "</s>"}
	pick := func() string { return texts[rng.IntN(len(texts))] }
	if rng.IntN(2) == 0 { // plain ones, which all templates take alike
		pick = func() string {
			return []string{"a", "bb", "yes", "what is it?", strings.Repeat("word ", 30)}[rng.IntN(5)]
		}
	}
	var c Conversation
	add := func(role, content string, learn bool) *Turn {
		c.Turns = append(c.Turns, Turn{Message: runtime.Message{Role: role, Content: content}, Learn: learn})
		return &c.Turns[len(c.Turns)-1]
	}
	if rng.IntN(2) == 0 {
		add("system", pick(), false)
	}
	tools := rng.IntN(3) == 0
	if tools {
		c.Tools = json.RawMessage(`[{"type": "function", "function": {"name": "look", "description": "looks", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}}]`)
	}
	flags := rng.IntN(2) == 0
	answer := func(content string) *Turn {
		turn := add(assistant, content, true)
		if flags && rng.IntN(4) == 0 {
			turn.Learn, turn.Excluded = false, true
		}
		return turn
	}
	for range 1 + rng.IntN(12) {
		question := add("user", pick(), false)
		question.Excluded = flags && rng.IntN(6) == 0
		if rng.IntN(20) == 0 {
			add("user", pick(), false)
		}
		if tools && rng.IntN(2) == 0 {
			for n := range 1 + rng.IntN(6) {
				call := answer("")
				call.Message.Missing = runtime.ContentNull
				call.setExtra("tool_calls", json.RawMessage(fmt.Sprintf(
					`[{"id": "call%05d", "type": "function", "function": {"name": "look", "arguments": {"q": "%d"}}}]`, n, n)))
				result := add("tool", pick(), false)
				result.setExtra("tool_call_id", json.RawMessage(fmt.Sprintf(`"call%05d"`, n)))
			}
		}
		turn := answer(pick())
		if rng.IntN(10) == 0 {
			turn.setExtra("reasoning_content", json.RawMessage(`"because"`))
		}
	}
	if rng.IntN(4) == 0 {
		add("user", pick(), false)
	}
	return c
}

// checkSameScripts encodes a conversation in both ways, and reports whether the whole was rendered once.
func checkSameScripts(t *testing.T, name string, e *Encoder, c Conversation) bool {
	t.Helper()
	ctx := context.Background()
	messages := c.messages()
	once, ok, err := e.scriptsOnce(ctx, &c, messages)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if !ok {
		return false
	}
	want, err := e.scriptsByTurn(ctx, &c, messages)
	if err != nil || !reflect.DeepEqual(once, want) {
		text, _ := e.template.Render(messages, c.options(false))
		t.Fatalf("%s, all %v, up to %d tokens: %d scripts at once, %d turn by turn (error %v), of %q\n%v\n%v",
			name, e.o.TrainOnInputs, e.o.MaxLength, len(once), len(want), err, text, once, want)
	}
	return true
}

// TestOnceIsTurnByTurn encodes random conversations with the published templates and odd ones: at once where that can be
// told to be right, and always as turn by turn.
func TestOnceIsTurnByTurn(t *testing.T) {
	mostly := map[string]bool{ // they show every turn alike wherever it stands
		"chatml": true, "zephyr": true, "gemma": true, "llama3": true, "deepseek": true, "trims": true,
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for name, source := range templatesOfAllKinds(t) {
		once, all := 0, 0
		for round := range 40 {
			m := newFamilyModel(round%2 == 0)
			e := NewEncoder(m, chat.NewTemplate(m, source, nil), EncoderOptions{MaxLength: []int{100_000, 300}[rng.IntN(2)], TrainOnInputs: rng.IntN(3) == 0})
			if why, yes := e.template.Fallback(); yes {
				t.Fatalf("%s: %s", name, why)
			}
			c := randomConversation(rng)
			if e.countMarked(&c) < minMarked {
				continue
			}
			all++
			if checkSameScripts(t, name, e, c) {
				once++
			}
		}
		t.Logf("%s: %d of %d at once", name, once, all)
		if mostly[name] && once*2 < all {
			t.Errorf("%s: %d of %d conversations were rendered at once", name, once, all)
		}
	}
}

// longLine is one conversation of so many short turns.
func longLine(turns, bytes int) string {
	var b strings.Builder
	b.WriteString(`{"messages": [{"role": "system", "content": "Be brief."}`)
	for i := range turns {
		fmt.Fprintf(&b, `, {"role": %q, "content": "%d %s"}`, []string{"user", assistant}[i%2], i, strings.Repeat("word ", bytes/5))
	}
	return b.String() + "]}"
}

// TestEncodingIsLinear counts what is rendered and tokenized of conversations of which one is four times as long as the other.
func TestEncodingIsLinear(t *testing.T) {
	for _, name := range []string{"chatml", "llama3", "gemma", "zephyr", "generation", "without controls"} {
		source := templatesOfAllKinds(t)[name]
		for _, all := range []bool{false, true} {
			work := func(turns int) (rendered, tokenized, text int) {
				m := newFamilyModel(true)
				e := NewEncoder(m, chat.NewTemplate(m, source, nil), EncoderOptions{MaxLength: 1 << 30, TrainOnInputs: all})
				line := longLine(turns, 200)
				if name == "gemma" {
					line = strings.Replace(line, `{"role": "system", "content": "Be brief."}, `, "", 1)
				}
				c, err := parseLine([]byte(line), Supervised)
				if err != nil {
					t.Fatal(err)
				}
				m.bytes = 0
				list, err := e.Encode(context.Background(), c)
				if err != nil || len(list) != 1 || Labelled(list) == 0 {
					t.Fatalf("%s: %d examples, error %v", name, len(list), err)
				}
				return e.rendered, m.bytes, c.Bytes()
			}
			_, _, _ = work(20)
			rendered, tokenized, _ := work(200)
			renderedMore, tokenizedMore, text := work(800)
			if float64(renderedMore) > 4.4*float64(rendered) || float64(tokenizedMore) > 4.4*float64(tokenized) {
				t.Errorf("%s, all %v: four times the turns: %d bytes were rendered and are %d, %d tokenized and are %d",
					name, all, rendered, renderedMore, tokenized, tokenizedMore)
			}
			if renderedMore > 6*text || tokenizedMore > 6*text {
				t.Errorf("%s, all %v: of %d bytes of text, %d were rendered and %d tokenized", name, all, text, renderedMore, tokenizedMore)
			}
		}
	}
}

// BenchmarkEncodeLongLine encodes a line of 1 MB with a thousand short turns.
func BenchmarkEncodeLongLine(b *testing.B) {
	m := newFamilyModel(true)
	e := NewEncoder(m, chat.NewTemplate(m, "", nil), EncoderOptions{MaxLength: 1 << 30})
	line := []byte(longLine(maxMessages-2, 1000))
	c, err := parseLine(line, Supervised)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if list, err := e.Encode(context.Background(), c); err != nil || len(list) != 1 {
			b.Fatalf("%d examples, error %v", len(list), err)
		}
	}
}
