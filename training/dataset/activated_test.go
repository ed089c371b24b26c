package dataset

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// invocation is what the template prints before an answer.
const invocation = "<|im_start|>assistant\n"

// activatedEncoder encodes for an adapter that acts from a text on.
func activatedEncoder(t *testing.T, text string, change func(*EncoderOptions)) *Encoder {
	tokens, err := runtimetest.NewModel().Tokenize(text, false, true)
	if err != nil {
		t.Fatal(err)
	}
	return newTestEncoder(t, func(o *EncoderOptions) {
		o.Invocation = tokens
		if change != nil {
			change(o)
		}
	})
}

// What is predicted before the last invocation is not learned; the batch says where the adapter acts.
func TestActivatedLearnsBehindTheInvocation(t *testing.T) {
	for _, c := range []struct {
		text, want string
		all        bool
		from       string // what stands where the adapter begins to act
	}{
		{invocation, "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n" +
			invocation + "[d<|im_end|>]", false, invocation + "d"},
		{"S<", "<|im_start|>system\nS<|im_end|>\n", false, ""}, // a control token is none of its characters
		{"user\na", "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n" + invocation + "[b<|im_end|>]\n<|im_start|>user\nc<|im_end|>\n" + invocation +
			"[d<|im_end|>]", false, "user\na"},
		{"c<|im_end|>", "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n" + invocation + "b<|im_end|>\n<|im_start|>user\nc[<|im_end|>\n" + invocation +
			"d<|im_end|>\n]", true, "c<|im_end|>"},
	} {
		e := activatedEncoder(t, c.text, func(o *EncoderOptions) { o.TrainOnInputs = c.all })
		conversation, err := parseLine([]byte(twoTurns), Supervised)
		if err != nil {
			t.Fatal(err)
		}
		list, err := e.Encode(context.Background(), conversation)
		if c.from == "" {
			wantError(t, err, err, "does not have the tokens", "alora_invocation_tokens")
			continue
		}
		if err != nil || len(list) != 1 || show(e.model, list[0]) != c.want {
			t.Errorf("from %q on: %v, %q, want %q", c.text, err, show(e.model, list[0]), c.want)
			continue
		}
		b := Batch(slices.Repeat(list, 2), 1)
		Activate(&b, e.o.Invocation)
		for i, from := range b.Active {
			var rest strings.Builder
			for _, token := range b.Tokens[from:b.Ends[i]] {
				rest.Write(e.model.Piece(token, true))
			}
			if !strings.HasPrefix(rest.String()+"<|im_end|>", c.from) || strings.LastIndex(rest.String(), c.text) > 0 {
				t.Errorf("in sequence %d the adapter acts on %q", i, rest.String())
			}
		}
	}
}

func TestActivatedRefusesLines(t *testing.T) {
	const line = `{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}`
	e := activatedEncoder(t, "check", nil)
	_, err := encodeLine(t, e, line)
	wantError(t, err, err, "does not have the tokens [99 104 101 99 107] of alora_invocation_tokens")
	if _, ok := err.(*LineError); !ok {
		t.Errorf("the error is %T", err)
	}
	// Behind its end nothing is learned.
	_, err = encodeLine(t, activatedEncoder(t, "go", nil), `{"messages": [{"role": "assistant", "content": "b"}, {"role": "user", "content": "go"}]}`)
	wantError(t, err, err, "does not have the tokens")
	_, err = encodeLine(t, activatedEncoder(t, "go", nil), `{"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": "b", "weight": 0}, {"role": "assistant", "content": "go"}]}`)
	if err != nil {
		t.Error(err)
	}
	// An invocation that truncation cuts off.
	_, err = encodeLine(t, activatedEncoder(t, invocation, func(o *EncoderOptions) { o.MaxLength, o.TrainOnInputs = 10, true }), line)
	wantError(t, err, err, "in the 10 tokens that are learned from (max_length is 10)")
}

// Both sequences of a pair are looked at, and a prompt that answers are sampled for needs no label.
func TestActivatedPairsAndPrompts(t *testing.T) {
	e := activatedEncoder(t, invocation, func(o *EncoderOptions) { o.Kind = Preference })
	c, err := parseLine([]byte(`{"prompt": [{"role": "user", "content": "q"}], "chosen": [{"role": "assistant", "content": "yes"}], "rejected": [{"role": "assistant", "content": "no"}]}`), Preference)
	if err != nil {
		t.Fatal(err)
	}
	list, err := e.Encode(context.Background(), c)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d examples, %v", len(list), err)
	}
	b := Batch(list, 1)
	Activate(&b, e.o.Invocation)
	if len(b.Active) != 2 || b.Active[0] >= b.Ends[0] || b.Active[1] <= b.Ends[0] || b.Active[1] >= b.Ends[1] || b.Active[1]-b.Ends[0] != b.Active[0] {
		t.Errorf("the adapter acts from %v on in sequences that end at %v", b.Active, b.Ends)
	}
	plain := b
	plain.Active = nil
	if Activate(&plain, nil); plain.Active != nil {
		t.Errorf("an adapter that acts everywhere acts from %v on", plain.Active)
	}
	b.Tokens = slices.Repeat([]runtime.Token{'x'}, len(b.Tokens))
	if Activate(&b, e.o.Invocation); !slices.Equal(b.Active, b.Ends) {
		t.Errorf("without the invocation the adapter acts from %v on", b.Active)
	}
}
