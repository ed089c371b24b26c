package randmodel

import (
	"path/filepath"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// Models of all types load and answer with numbers.
func TestQuantizedModels(t *testing.T) {
	types := map[string]map[string]quant.Type{
		"nf4":    {"blk.0.ffn_down.weight": quant.NF4, "output.weight": quant.Q8_0},
		"q4_0":   {"blk.0.ffn_down.weight": 2, "output.weight": quant.Q6_K},
		"q4_k_m": {"blk.0.attn_q.weight": 12, "blk.2.ffn_down.weight": quant.Q6_K, "token_embd.weight": 12, "output.weight": quant.Q6_K},
	}
	dir := t.TempDir()
	for _, typ := range QuantizedTypes {
		path, err := EnsureQuantized(dir, "tiny", typ, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		f, err := quant.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range types[typ] {
			if got, found := f.Tensor(name); !found || got.Type != want {
				t.Errorf("%s: %s is %v, want %v", typ, name, got.Type, want)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		answers(t, path)
	}
	if _, err := EnsureQuantized(filepath.Join(dir, "none"), "huge", "nf4", func(string) {}); err == nil {
		t.Error("a shape that there is not is made")
	}
}

// answers decodes a token, which ends with an error where a weight or a logit is not a number.
func answers(t *testing.T, path string) {
	t.Helper()
	m, err := llama.Load(llama.Options{Path: path, CheckTensors: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	d, err := llama.NewDevice(m, llama.DeviceOptions{Sequences: 1, Cells: 256, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	greedy, err := m.NewSampler(runtime.Sampling{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer greedy.Close()
	if _, err := d.Decode([]runtime.Row{{Token: 5, Sampler: greedy, Top: -1}}); err != nil {
		t.Errorf("%s: %v", path, err)
	}
}
