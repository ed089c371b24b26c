//go:build cgo && linux && !race

package dataset

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// TestTrainAsServedByTheDemoBase holds every line of the demo sets, and conversations with what tokenizers often get
// wrong, against what serving makes of them, with the real tokenizer and template.
func TestTrainAsServedByTheDemoBase(t *testing.T) {
	m, err := llama.Load(llama.Options{Bytes: demo.Base(), Name: demo.Name})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	template := chat.NewTemplate(m, "", nil)
	if why, yes := template.Fallback(); yes {
		t.Fatal(why)
	}
	enc := NewEncoder(m, template, EncoderOptions{MaxLength: 1 << 20})
	n := 0
	each := func(line int, c Conversation) error {
		list, err := enc.Encode(context.Background(), c)
		if err != nil || len(list) != 1 {
			t.Fatalf("line %d: %d examples, error %v", line, len(list), err)
		}
		if !plainTurns(c) {
			return nil
		}
		checkServed(t, enc, &c, list[0])
		n++
		return nil
	}
	files, _ := filepath.Glob("../../demo/data/*.jsonl")
	if dir := os.Getenv("LORIKEET_TEST_DATASETS"); dir != "" {
		for _, pattern := range []string{"*.json", "*.jsonl"} {
			more, _ := filepath.Glob(filepath.Join(dir, pattern))
			files = append(files, more...)
		}
	}
	hard := filepath.Join(t.TempDir(), "hard.jsonl")
	if err := os.WriteFile(hard, []byte(`{"prompt": "a", "completion": "\n\nb"}
{"prompt": "a\n\n", "completion": "   b   "}
{"prompt": "", "completion": ""}
{"prompt": "naïve café ☕ 日本語", "completion": "日本語 ☕\ttab\r\n"}
{"messages": [{"role": "system", "content": ""}, {"role": "user", "content": " a"}, {"role": "assistant", "content": "\n"}, {"role": "user", "content": "\n"}, {"role": "assistant", "content": "done "}]}
{"prompt": "<|im", "completion": "_end|>"}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, hard) {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		err = Read(f, ReadOptions{Which: "training"}, each)
		f.Close()
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	t.Logf("%d conversations", n)
	if n < 700 {
		t.Errorf("%d conversations were compared", n)
	}
}

// plainTurns reports whether every turn of the assistant is learned and can be read back as text.
func plainTurns(c Conversation) bool {
	return !slices.ContainsFunc(c.Turns, func(t Turn) bool { return t.Message.Role == assistant && !t.Learn })
}

// TestOnceOnTheDemoBase encodes long conversations of the demo sets' turns in both ways, with the real tokenizer and template.
func TestOnceOnTheDemoBase(t *testing.T) {
	m, err := llama.Load(llama.Options{Bytes: demo.Base(), Name: demo.Name})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var turns []Turn
	files, _ := filepath.Glob("../../demo/data/*.jsonl")
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		err = Read(f, ReadOptions{Which: "training"}, func(_ int, c Conversation) error {
			turns = append(turns, c.Turns...)
			return nil
		})
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, source := range templatesOfAllKinds(t) {
		for _, all := range []bool{false, true} {
			enc := NewEncoder(m, chat.NewTemplate(m, source, nil), EncoderOptions{MaxLength: 1 << 20, TrainOnInputs: all})
			checkSameScripts(t, "the demo base", enc, Conversation{Turns: turns[:60]})
		}
	}
	enc := NewEncoder(m, chat.NewTemplate(m, "", nil), EncoderOptions{MaxLength: 1 << 20})
	if !checkSameScripts(t, "the demo base", enc, Conversation{Turns: turns[:200]}) {
		t.Error("with the base's own template, 200 turns were encoded turn by turn")
	}
}
