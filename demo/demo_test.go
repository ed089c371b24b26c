package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
)

const source = "demo-base.f16.gguf"

func read(t *testing.T) *quant.File {
	t.Helper()
	f, err := quant.Read(bytes.NewReader(Base()), int64(len(Base())))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestBaseIsFresh holds the embedded file against what "go generate ./demo" makes today.
func TestBaseIsFresh(t *testing.T) {
	out := filepath.Join(t.TempDir(), "fresh.gguf")
	report, err := quant.Quantize(context.Background(), source, out, quant.Options{Type: "nf4"})
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(fresh, Base()) {
		t.Error(`demo-base.nf4.gguf is not what the quantizer makes of demo-base.f16.gguf: run "go generate ./demo"`)
	}
	t.Logf("%+v", report)
}

// TestBaseIsWhatItSays checks the facts that the README and other packages rely on.
func TestBaseIsWhatItSays(t *testing.T) {
	f := read(t)
	if !f.NF4() || f.Architecture() != "llama-nf4" {
		t.Errorf("the architecture is %q", f.Architecture())
	}
	for key, want := range map[string]uint64{
		"llama.context_length": 512, "llama.embedding_length": 256, "llama.block_count": 6,
		"llama.feed_forward_length": 768, "llama.attention.head_count": 8, "llama.attention.head_count_kv": 4,
		"llama.vocab_size": 2048, "tokenizer.ggml.bos_token_id": 2045, "tokenizer.ggml.eos_token_id": 2047,
	} {
		if got, ok := f.Metadata.Uint(key); got != want || !ok {
			t.Errorf("%s is %d, want %d", key, got, want)
		}
	}
	if tokens, _ := f.Metadata.Strings("tokenizer.ggml.tokens"); len(tokens) != 2048 {
		t.Errorf("%d tokens", len(tokens))
	}
	if template, _ := f.Metadata.String("tokenizer.chat_template"); !strings.Contains(template, "<|im_start|>") {
		t.Errorf("the chat template is %q", template)
	}
	count := map[quant.Type]int{}
	for _, tensor := range f.Tensors {
		count[tensor.Type]++
	}
	// 7 linear layers and 2 norms in each of 6 blocks, the last norm, and the embeddings, which are tied.
	if count[quant.NF4] != 42 || count[quant.F32] != 13 || count[quant.Q8_0] != 1 {
		t.Errorf("tensors by type: %v", count)
	}
}

// TestBaseIsClose measures what quantization did to the weights: relative to the root mean square of a
// tensor, NF4 is off by about a tenth, Q8_0 by less than a hundredth.
func TestBaseIsClose(t *testing.T) {
	original, err := quant.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer original.Close()
	f := read(t)
	limit := map[quant.Type]float64{quant.F32: 0, quant.Q8_0: 0.01, quant.NF4: 0.1}
	worst := map[quant.Type]float64{}
	for _, tensor := range f.Tensors {
		want, err := original.ReadF32(tensor.Name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.ReadF32(tensor.Name)
		if err != nil {
			t.Fatal(err)
		}
		var e, power float64
		for i := range want {
			d := float64(got[i]) - float64(want[i])
			e += d * d
			power += float64(want[i]) * float64(want[i])
		}
		relative := math.Sqrt(e / power)
		worst[tensor.Type] = max(worst[tensor.Type], relative)
		if relative > limit[tensor.Type] {
			t.Errorf("%s (%s): relative error %.4f", tensor.Name, tensor.Type, relative)
		}
	}
	t.Logf("worst relative errors by type: %v", worst)
}

// TestGoldenCoversTheAdapters checks that the adapters and the recorded answers belong together.
func TestGoldenCoversTheAdapters(t *testing.T) {
	b, err := os.ReadFile("golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string][]struct{ Prompt, Answer string }
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	folders, err := os.ReadDir("adapters")
	if err != nil {
		t.Fatal(err)
	}
	if len(golden) != len(folders)+1 || len(golden["base"]) == 0 {
		t.Errorf("%d sets of answers for %d adapters and the base", len(golden), len(folders))
	}
	for _, folder := range folders {
		answers := golden[folder.Name()]
		if len(answers) != len(golden["base"]) {
			t.Errorf("%d answers for adapter %s, %d for the base", len(answers), folder.Name(), len(golden["base"]))
		}
		for i, a := range answers {
			if a.Prompt != golden["base"][i].Prompt || a.Answer == "" {
				t.Errorf("adapter %s: prompt %q, answer %q", folder.Name(), a.Prompt, a.Answer)
			}
		}
		for _, name := range []string{"adapter_config.json", "adapter_model.safetensors"} {
			if _, err := os.Stat(filepath.Join("adapters", folder.Name(), name)); err != nil {
				t.Error(err)
			}
		}
	}
}
