//go:build cgo && linux

package llama

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// Tests on a model that has a vocabulary: the demo base, in NF4.

func openDemo(t testing.TB) *Model {
	t.Helper()
	return openModel(t, Options{Bytes: demo.Base(), Name: "demo"})
}

func TestConformance(t *testing.T) {
	m := openDemo(t)
	open := func(backend Backend) func(t *testing.T) (runtime.Device, runtime.Model, []runtime.Packed) {
		return func(t *testing.T) (runtime.Device, runtime.Model, []runtime.Packed) {
			one := newAdapter(t, m, 1, 8, 12, isLinear)
			two := newAdapter(t, m, 2, 16, 12, func(string) bool { return true })
			for _, a := range []adapter{one, two} { // enough to change answers, not enough to make the model unsure
				for i := range a.lora.Modules {
					a.lora.Modules[i].Scale *= 0.3
				}
			}
			d := openDevice(t, m, DeviceOptions{Sequences: 4, Cells: 512, Batch: 128, UBatch: 64, Threads: 1, LoRA: backend})
			return d, m, []runtime.Packed{pack(t, m, one.lora), pack(t, m, two.lora)}
		}
	}
	runtimetest.Conformance(t, open(Fused))
}

func TestTokenizer(t *testing.T) {
	m := openDemo(t)
	for _, text := range []string{"", "Hello, world", "tabs\tand\nnewlines", "naïve café ☕ 日本語", "\xff\xfe not UTF-8", strings.Repeat("word ", 5000)} {
		tokens, err := m.Tokenize(text, false, false)
		if err != nil {
			t.Fatal(err)
		}
		var back []byte
		for _, k := range tokens {
			back = append(back, m.Piece(k, false)...)
		}
		if strings.ToValidUTF8(text, "") == text && string(back) != text {
			t.Errorf("%.40q comes back as %.40q", text, back)
		}
	}
	special := "<|im_start|>user"
	with, _ := m.Tokenize(special, false, true)
	without, _ := m.Tokenize(special, false, false)
	if len(with) >= len(without) {
		t.Errorf("a control token is %d tokens where it counts and %d where it is text", len(with), len(without))
	}
	if got := m.Piece(with[0], false); len(got) != 0 {
		t.Errorf("a control token has the bytes %q", got)
	}
	if got := string(m.Piece(with[0], true)); got != "<|im_start|>" {
		t.Errorf("with special, it has the bytes %q", got)
	}
	if got := m.Piece(1<<30, true); len(got) != 0 {
		t.Errorf("a token that is none has the bytes %q", got)
	}
	if !m.EndOfGeneration(m.Facts().EOS) || m.EndOfGeneration(5) || m.EndOfGeneration(-1) {
		t.Error("EOS ends an answer, token 5 does not")
	}
}

func TestTokenizerFromManyGoroutines(t *testing.T) {
	m := openDemo(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			text := fmt.Sprintf("text number %d", g)
			for range 200 {
				tokens, err := m.Tokenize(text, false, false)
				if err != nil {
					t.Error(err)
					return
				}
				var back []byte
				for _, k := range tokens {
					back = append(back, m.Piece(k, false)...)
				}
				if string(back) != text {
					t.Errorf("%q comes back as %q", text, back)
					return
				}
			}
		}()
	}
	wg.Wait()
}

func TestKnownTemplate(t *testing.T) {
	m := openDemo(t)
	got, err := m.KnownTemplate([]runtime.Message{{Role: "system", Content: "Be brief."}, {Role: "user", Content: strings.Repeat("Hi. ", 200)}}, true)
	want := "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n" + strings.Repeat("Hi. ", 200) + "<|im_end|>\n<|im_start|>assistant\n"
	if err != nil || got != want {
		t.Errorf("the conversation is %q, %v", got, err)
	}
	plain := openModel(t, Options{Path: tiny.file(t)})
	if _, err := plain.KnownTemplate([]runtime.Message{{Role: "user", Content: "Hi"}}, true); !errors.Is(err, runtime.ErrTemplate) {
		t.Errorf("a model without a template: error %v", err)
	}
}

// generate returns the text that a sampling draws after a prompt, and the error of the choice that ended it.
func generate(t *testing.T, m *Model, d *Device, seq int, prompt string, s runtime.Sampling, most int) (string, error) {
	t.Helper()
	tokens, err := m.Tokenize(prompt, true, true)
	if err != nil {
		t.Fatal(err)
	}
	sampler, err := m.NewSampler(s, tokens)
	if err != nil {
		t.Fatal(err)
	}
	defer sampler.Close()
	var rows []runtime.Row
	for i, k := range tokens {
		rows = append(rows, runtime.Row{Token: k, Seq: seq, Pos: i, Top: -1})
	}
	rows[len(rows)-1].Sampler = sampler
	var text []byte
	for pos := len(tokens); ; pos++ {
		choices, err := d.Decode(rows)
		if err != nil {
			t.Fatal(err)
		}
		c := choices[0]
		if c.Err != nil || m.EndOfGeneration(c.Token) || pos == len(tokens)+most {
			if _, err := d.Truncate(seq, 0); err != nil {
				t.Fatal(err)
			}
			return string(text), c.Err
		}
		text = append(text, m.Piece(c.Token, false)...)
		rows = append(rows[:0], runtime.Row{Token: c.Token, Seq: seq, Pos: pos, Sampler: sampler, Top: -1})
	}
}

const question = "<|im_start|>user\nWhat colour is the sky?<|im_end|>\n<|im_start|>assistant\n"

func TestIgnoreEOS(t *testing.T) {
	m := openDemo(t)
	d := openDevice(t, m, DeviceOptions{Sequences: 1, Cells: 256, Batch: 128, Threads: 1})
	short, _ := generate(t, m, d, 0, question, runtime.Sampling{}, 60)
	long, err := generate(t, m, d, 0, question, runtime.Sampling{IgnoreEOS: true}, 60)
	if err != nil || len(long) <= len(short) || !strings.HasPrefix(long, short) {
		t.Errorf("the answer is %q, and without an end %q, %v", short, long, err)
	}
}
