package adapters

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// testFacts is a llama of two layers: width 16, 4 query heads and 2 key/value heads of 4, 24 wide inside.
func testFacts() *runtime.Facts {
	f := &runtime.Facts{Name: "tiny", Architecture: "llama", Fingerprint: "tiny-1", Layers: 2, Embedding: 16,
		Heads: 4, KVHeads: 2, HeadSize: 4, RopeNorm: true, Targets: map[string]runtime.Shape{},
		Refused: map[string]string{"token_embd.weight": "lookups cannot be adapted"}}
	for l := range 2 {
		for name, s := range map[string]runtime.Shape{
			"attn_q": {In: 16, Out: 16}, "attn_k": {In: 16, Out: 8}, "attn_v": {In: 16, Out: 8}, "attn_output": {In: 16, Out: 16},
			"ffn_gate": {In: 16, Out: 24}, "ffn_up": {In: 16, Out: 24}, "ffn_down": {In: 24, Out: 16},
		} {
			f.Targets[fmt.Sprintf("blk.%d.%s.weight", l, name)] = s
		}
	}
	f.Targets["output.weight"] = runtime.Shape{In: 16, Out: 32}
	return f
}

// peftFiles is a PEFT adapter that a test changes before it is encoded.
type peftFiles struct {
	config  map[string]any
	tensors map[string]Tensor
}

// newPEFT makes an adapter of rank 4 and alpha 8 on all linears of testFacts, its values drawn from seed.
func newPEFT(seed uint64) *peftFiles {
	p := &peftFiles{tensors: make(map[string]Tensor), config: map[string]any{
		"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "bias": "none",
		"target_modules": []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
	}}
	rng := rand.New(rand.NewPCG(seed, 0))
	f := testFacts()
	for _, tensor := range slices.Sorted(maps.Keys(f.Targets)) {
		if path, _ := peftModule(tensor); path != headModule {
			p.add(rng, path, 4, f.Targets[tensor])
		}
	}
	return p
}

// add puts a random LoRA on the module.
func (p *peftFiles) add(rng *rand.Rand, path string, rank int, s runtime.Shape) {
	for _, m := range []struct {
		name       string
		rows, cols int
	}{{".lora_A.weight", rank, s.In}, {".lora_B.weight", s.Out, rank}} {
		v := make([]float32, m.rows*m.cols)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		name := "base_model.model." + path + m.name
		p.tensors[name] = NewTensor(name, []int64{int64(m.rows), int64(m.cols)}, v)
	}
}

// rename gives tensors other names.
func (p *peftFiles) rename(change func(string) string) {
	old := p.tensors
	p.tensors = make(map[string]Tensor)
	for _, t := range old {
		t.Name = change(t.Name)
		p.tensors[t.Name] = t
	}
}

func (p *peftFiles) encode(t testing.TB) (config, tensors []byte) {
	t.Helper()
	config, err := json.Marshal(p.config)
	if err != nil {
		t.Fatal(err)
	}
	var list []Tensor
	for _, name := range slices.Sorted(maps.Keys(p.tensors)) {
		list = append(list, p.tensors[name])
	}
	var b bytes.Buffer
	if err := WriteTensors(&b, list); err != nil {
		t.Fatal(err)
	}
	return config, b.Bytes()
}

// parts is the upload of the two files.
func (p *peftFiles) parts(t testing.TB) []Part {
	c, w := p.encode(t)
	return []Part{part(configFile, c), part(tensorsFile, w)}
}

// folder writes the two files into dir, which it makes.
func (p *peftFiles) folder(t testing.TB, dir string) {
	t.Helper()
	c, w := p.encode(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, tensorsFile), w)
	write(t, filepath.Join(dir, configFile), c)
}

func part(name string, data []byte) Part {
	return Part{Name: name, Body: bytes.NewReader(data), Size: int64(len(data))}
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// openStore opens a store in dir, or in a new folder where dir is "".
func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	s, err := Open(Options{Dir: dir, Facts: testFacts(), Warn: func(w string) { t.Log("store:", w) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustPut(t testing.TB, s *Store, name string, p *peftFiles) Info {
	t.Helper()
	info, err := s.PutUpload(name, p.parts(t), Note{Origin: Origin{Kind: FromUpload}})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// wantError checks that err wraps want and that its text has all of the parts.
func wantError(t testing.TB, err, want error, parts ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want one that wraps %q", err, want)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Fatalf("error %q does not name %q", err, p)
		}
	}
}
