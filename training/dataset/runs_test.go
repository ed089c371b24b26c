package dataset

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// TestRuns encodes conversations and wants their text back, with what is learned marked: the answers and their ends.
func TestRuns(t *testing.T) {
	model := runtimetest.NewModel()
	template := chat.NewTemplate(model, "", nil)
	encode := func(line string, o EncoderOptions) Example {
		t.Helper()
		c, err := parseLine([]byte(line), o.Kind)
		if err != nil {
			t.Fatal(err)
		}
		list, err := NewEncoder(model, template, o).Encode(context.Background(), c)
		if err != nil || len(list) != 1 {
			t.Fatalf("%d examples, error %v", len(list), err)
		}
		return list[0]
	}
	const line = `{"messages": [{"role": "user", "content": "Wie groß?"}, {"role": "assistant", "content": "So groß."}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]}`
	x := encode(line, EncoderOptions{MaxLength: 1000})
	runs, whole := x.Runs(model, 1000)
	var text, learned strings.Builder
	tokens := 0
	for i, r := range runs {
		text.WriteString(r.Text)
		tokens += r.Tokens
		if r.Learned {
			learned.WriteString("[" + r.Text + "]")
		}
		if i > 0 && runs[i-1].Learned == r.Learned {
			t.Errorf("runs %d and %d are of one kind: %q, %q", i-1, i, runs[i-1].Text, r.Text)
		}
	}
	if !whole || tokens != len(x.Tokens)+1 || !strings.Contains(text.String(), "Wie groß?") {
		t.Errorf("%d tokens of %d, whole %v: %q", tokens, len(x.Tokens)+1, whole, text.String())
	}
	if got := learned.String(); !strings.HasPrefix(got, "[So groß.") || !strings.Contains(got, "][c") || strings.Contains(got, "Wie") {
		t.Errorf("learned is %q", got)
	}

	part, whole := x.Runs(model, 20)
	if whole || len(part) == 0 || len(part) >= len(runs) {
		t.Errorf("of 20 bytes there are %d runs, whole %v: %+v", len(part), whole, part)
	}
	all := encode(`{"text": "abc"}`, EncoderOptions{MaxLength: 1000})
	if runs, whole := all.Runs(model, 1000); !whole || len(runs) != 2 || runs[0].Learned || !runs[1].Learned {
		t.Errorf("of a text, all but the first token is learned: %+v", runs)
	}
	if runs, whole := (&Sequence{}).Runs(model, 10); !whole || runs != nil {
		t.Errorf("an empty sequence has %+v", runs)
	}
}

func TestKeysOfLines(t *testing.T) {
	for line, want := range map[string]struct {
		kind Kind
		keys []string
	}{
		`{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "text": "x"}`: {Supervised, []string{"messages"}},
		`{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}`:                  {Supervised, []string{"conversations"}},
		`{"prompt": "a", "completion": "b"}`:               {Supervised, []string{"prompt", "completion"}},
		`{"instruction": "a", "input": "", "output": "b"}`: {Supervised, []string{"instruction", "output"}},
		`{"text": "a"}`: {Supervised, []string{"text"}},
		`{"prompt": "a", "chosen": "b", "rejected": "c"}`:   {Preference, []string{"chosen", "rejected"}},
		`{"prompt": "a", "completion": "b", "label": true}`: {UnpairedPreference, []string{"prompt", "completion", "label"}},
		`{"prompt": "a", "answer": "b"}`:                    {PromptOnly, []string{"prompt"}},
		`{"messages": [{"role": "user", "content": "a"}]}`:  {PromptOnly, []string{"messages"}},
		`{"instruction": "a", "output": "b"}`:               {PromptOnly, []string{"instruction"}},
	} {
		c, err := parseLine([]byte(line), want.kind)
		if err != nil || !reflect.DeepEqual(c.Keys, want.keys) {
			t.Errorf("%s: keys %q, want %q; error %v", line, c.Keys, want.keys, err)
		}
	}
}
