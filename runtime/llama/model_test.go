//go:build cgo && linux

package llama

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/llamatest"
)

func TestLoadNamesTheCause(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.gguf")
	if err := os.WriteFile(garbage, []byte("this is not a model"), 0o600); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(tiny.file(t))
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut.gguf")
	if err := os.WriteFile(cut, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	strange, lacking := tiny, tiny
	strange.arch = "platypus"
	lacking.arch = "gemma3" // knows other tensors than these
	f := openQuant(t, tiny.file(t))
	norm, _ := f.Tensor("blk.2.ffn_norm.weight")
	broken := filepath.Join(dir, "nan.gguf")
	data := slices.Clone(whole)
	copy(data[norm.Offset+4*7:], []byte{0, 0, 0xc0, 0x7f})
	if err := os.WriteFile(broken, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, cause := range map[string]string{
		broken:                          `tensor "blk.2.ffn_norm.weight": value 7 is NaN`,
		filepath.Join(dir, "none.gguf"): "no such file",
		garbage:                         "not a valid GGUF file",
		cut:                             "not a valid GGUF file",
		strange.file(t):                 "unknown model architecture: 'platypus'",
		lacking.file(t):                 "missing tensor",
	} {
		m, err := Load(Options{Path: path})
		if err == nil {
			m.Close()
		}
		if !errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), cause) || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v, want one with %q", err, cause)
		}
	}
}

func TestStockRefusesNF4ByName(t *testing.T) {
	coded, inF32 := tiny.nf4(t)
	if err := llamatest.StockLoad(coded); err == nil || !strings.Contains(err.Error(), "llama-nf4") {
		t.Errorf("a stock load of an NF4 file: %v", err)
	}
	if err := llamatest.StockLoad(inF32); err != nil {
		t.Errorf("a stock load of the same weights in F32: %v", err)
	}
}

func TestNF4NeedsLayersItKnows(t *testing.T) {
	// An NF4 tensor outside the dense layers cannot run: here the head, tied to the embedding.
	s := tiny
	s.tied = true
	f, err := quant.Open(s.file(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	path := filepath.Join(t.TempDir(), "bad.gguf")
	writeNF4(t, f, path, func(name string) bool { return name == "token_embd.weight" })
	if _, err := Load(Options{Path: path}); err == nil || !strings.Contains(err.Error(), "token_embd.weight is NF4") {
		t.Errorf("error %v", err)
	}
}

func TestBytesAndPathAreTheSameModel(t *testing.T) {
	coded, _ := tiny.nf4(t)
	whole, err := os.ReadFile(coded)
	if err != nil {
		t.Fatal(err)
	}
	fromPath, fromBytes := openModel(t, Options{Path: coded}), openModel(t, Options{Bytes: slices.Clone(whole), Name: "embedded"})
	a, b := fromPath.Facts(), fromBytes.Facts()
	if a.Fingerprint != b.Fingerprint || a.Quantization != b.Quantization || a.Bytes != b.Bytes {
		t.Errorf("facts are %+v and %+v", a, b)
	}
	tokens := []runtime.Token{5, 6, 7}
	if d := maxDifference(lastLogits(t, fromPath, tokens), lastLogits(t, fromBytes, tokens)); d != 0 {
		t.Errorf("logits differ by %g", d)
	}
}

// lastLogits decodes tokens on a new device and returns the logits behind them.
func lastLogits(t *testing.T, m *Model, tokens []runtime.Token, mix ...runtime.Term) []float32 {
	t.Helper()
	d := openDevice(t, m, DeviceOptions{Sequences: 2, Cells: 256, Batch: 64, Threads: 1, KV: KVF32, FlashAttention: FlashOff})
	if err := d.SetAdapters(0, mix); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Decode(rowsOf(t, m, 0, 0, tokens)); err != nil {
		t.Fatal(err)
	}
	l, err := d.Logits(len(tokens) - 1)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// rowsOf are rows of a sequence from position pos on; the last has a greedy sampler.
func rowsOf(t *testing.T, m *Model, seq, pos int, tokens []runtime.Token) []runtime.Row {
	t.Helper()
	var rows []runtime.Row
	for i, k := range tokens {
		rows = append(rows, runtime.Row{Token: k, Seq: seq, Pos: pos + i, Top: -1})
	}
	rows[len(rows)-1].Sampler = greedy(t, m)
	return rows
}

func TestFacts(t *testing.T) {
	tied := tiny
	tied.arch, tied.tied = "qwen2", true
	m := openModel(t, Options{Path: tied.file(t)})
	f := m.Facts()
	if f.Architecture != "qwen2" || f.Name != "random qwen2" || f.Quantization != "F32" || f.RopeNorm || f.HeadSize != 32 ||
		f.Layers != 4 || f.Heads != 8 || f.KVHeads != 2 || f.Embedding != 256 || f.VocabSize != 1024 || f.ContextLength != 4096 ||
		f.BitsPerWeight != 32 || f.BOS != -1 || f.EOS != -1 {
		t.Errorf("facts are %+v", f)
	}
	if len(f.Targets) != 4*7+2 || len(f.Refused) != 0 {
		t.Errorf("%d targets and %d refused", len(f.Targets), len(f.Refused))
	}
	// The head is a target of its own although the file has no tensor for it.
	for name, want := range map[string]runtime.Shape{
		"output.weight": {In: 256, Out: 1024}, "token_embd.weight": {In: 256, Out: 1024},
		"blk.3.attn_k.weight": {In: 256, Out: 64}, "blk.0.ffn_down.weight": {In: 768, Out: 256},
	} {
		if f.Targets[name] != want {
			t.Errorf("%s is %v, want %v", name, f.Targets[name], want)
		}
	}
	if _, err := m.Tokenize("text", true, true); err == nil || m.HasTokenizer() {
		t.Error("a model without a vocabulary tokenizes")
	}
}

// A tied head and its embedding are one tensor in the file and two targets.
func TestTiedHeadIsItsOwnTarget(t *testing.T) {
	s := tiny
	s.tied = true
	tied := openModel(t, Options{Path: s.file(t), PackFloat32: true})
	untied := openModel(t, Options{Path: untie(t, s), PackFloat32: true})
	tokens := []runtime.Token{9, 100, 31, 7}
	for _, target := range []string{"output.weight", "token_embd.weight"} {
		a := newAdapter(t, tied, 3, 8, 16, func(n string) bool { return n == target })
		got := lastLogits(t, tied, tokens, runtime.Term{Packed: pack(t, tied, a.lora), Scale: 1})
		want := lastLogits(t, untied, tokens, runtime.Term{Packed: pack(t, untied, a.lora), Scale: 1})
		if d := maxDifference(got, want); !(d <= 1e-5) {
			t.Errorf("%s: logits differ by %g from those of an untied copy", target, d)
		}
		if d := maxDifference(got, lastLogits(t, tied, tokens)); d < 1e-3 {
			t.Errorf("%s: the adapter changes nothing", target)
		}
	}
}

// A head that is packed for our kernels is in memory once, whether its file is mapped or its layers were repacked.
func TestHeadIsInMemoryOnce(t *testing.T) {
	for _, typ := range []string{"q4_0", "q4_k_m", "q8_0"} {
		path := filepath.Join(t.TempDir(), typ+".gguf")
		if err := Quantize(t.Context(), tiny.file(t), path, typ, 1, nil); err != nil {
			t.Fatal(err)
		}
		f := openModel(t, Options{Path: path}).Facts()
		if ratio := float64(f.Resident) / float64(f.Bytes); ratio > 1.01 {
			t.Errorf("%s: %d bytes in memory, %d in the file", typ, f.Resident, f.Bytes)
		}
	}
}

func TestExpertsAreRefusedByName(t *testing.T) {
	s := tiny
	s.experts = 4
	m := openModel(t, Options{Path: s.file(t)})
	const name = "blk.2.ffn_up_exps.weight"
	if reason := m.Facts().Refused[name]; !strings.Contains(reason, "mixture-of-experts") {
		t.Errorf("%s: %q", name, reason)
	}
	_, err := m.Pack(&runtime.LoRA{Modules: []runtime.LoRAModule{{Tensor: name, Rank: 1, In: 256, Out: 768, A: make([]float32, 256), B: make([]float32, 768)}}})
	if !errors.Is(err, runtime.ErrAdapter) || !strings.Contains(err.Error(), name) {
		t.Errorf("error %v", err)
	}
	// Attention is dense in such a model, and its adapters work.
	a := newAdapter(t, m, 1, 8, 16, isAttention)
	tokens := []runtime.Token{1, 2, 3}
	got := lastLogits(t, m, tokens, runtime.Term{Packed: pack(t, m, a.lora), Scale: 1})
	r, err := newReference(m, 256, 1, KVF32, FlashOff)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Add(a.path, 1); err != nil {
		t.Fatal(err)
	}
	want, err := r.Decode(tokens)
	if err != nil {
		t.Fatal(err)
	}
	if d := maxDifference(got, want[2]); !(d <= 1e-4) {
		t.Errorf("logits differ by %g", d)
	}
}

func TestOtherArchitecturesRefuseAdapters(t *testing.T) {
	s := tiny
	s.arch, s.tied = "gemma", true
	m := openModel(t, Options{Path: s.file(t)})
	if f := m.Facts(); len(f.Targets) != 0 || !strings.Contains(f.Refused["blk.0.attn_q.weight"], "gemma") {
		t.Errorf("targets %v, refused %v", f.Targets, f.Refused)
	}
	if l := lastLogits(t, m, []runtime.Token{1, 2, 3}); math.IsNaN(float64(l[0])) {
		t.Error("it does not decode")
	}
}

func TestPackNamesWhatDoesNotFit(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	good := func() runtime.LoRAModule {
		return runtime.LoRAModule{Tensor: "blk.1.attn_k.weight", Rank: 2, In: 256, Out: 64, Scale: 1, A: make([]float32, 512), B: make([]float32, 128)}
	}
	for name, c := range map[string]struct {
		change func(*runtime.LoRAModule)
		cause  string
	}{
		"fits":         {func(*runtime.LoRAModule) {}, ""},
		"unknown":      {func(l *runtime.LoRAModule) { l.Tensor = "blk.9.attn_k.weight" }, "blk.9.attn_k.weight"},
		"a norm":       {func(l *runtime.LoRAModule) { l.Tensor = "blk.1.attn_norm.weight" }, "blk.1.attn_norm.weight"},
		"wrong shape":  {func(l *runtime.LoRAModule) { l.Out = 65 }, "blk.1.attn_k.weight"},
		"wrong A":      {func(l *runtime.LoRAModule) { l.A = l.A[1:] }, "blk.1.attn_k.weight"},
		"no rank":      {func(l *runtime.LoRAModule) { l.Rank, l.A, l.B = 0, nil, nil }, "blk.1.attn_k.weight"},
		"too much":     {func(l *runtime.LoRAModule) { l.Rank, l.A, l.B = 513, make([]float32, 513*256), make([]float32, 513*64) }, "rank 513"},
		"not a number": {func(l *runtime.LoRAModule) { l.A[7] = float32(math.NaN()) }, "lora_a"},
		"infinite":     {func(l *runtime.LoRAModule) { l.B[7] = float32(math.Inf(-1)) }, "lora_b"},
		"odd scale":    {func(l *runtime.LoRAModule) { l.Scale = float32(math.Inf(1)) }, "scale"},
	} {
		module := good()
		c.change(&module)
		p, err := m.Pack(&runtime.LoRA{Modules: []runtime.LoRAModule{module}})
		if c.cause == "" {
			if err != nil || p.Bytes() < 512*2 {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, runtime.ErrAdapter) || !strings.Contains(err.Error(), c.cause) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.cause)
		}
	}
	twice := &runtime.LoRA{Modules: []runtime.LoRAModule{good(), good()}}
	if _, err := m.Pack(twice); !errors.Is(err, runtime.ErrAdapter) {
		t.Errorf("a tensor twice: error %v", err)
	}
}

func TestProgressAndLog(t *testing.T) {
	var lines []string
	last := -1.0
	m, err := Load(Options{
		Path:     tiny.file(t),
		Progress: func(done float64) { last = max(last, done) },
		Log:      func(_ slog.Level, text string) { lines = append(lines, text) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if last != 1 {
		t.Errorf("progress ends at %g", last)
	}
	if !slices.ContainsFunc(lines, func(s string) bool { return strings.Contains(s, "random llama") }) {
		t.Errorf("%d lines of log, none with the model's name", len(lines))
	}
	for _, line := range lines {
		if strings.Contains(line, "\n") {
			t.Errorf("%q is not a line", line)
		}
	}
}

func TestQuantize(t *testing.T) {
	in, dir := tiny.file(t), t.TempDir()
	for _, typ := range []string{"q4_0", "q8_0", "q4_k_m", "iq4_nl", "f16"} {
		out, last := filepath.Join(dir, typ+".gguf"), 0.0
		if err := Quantize(t.Context(), in, out, typ, 1, func(done float64) { last = done }); err != nil {
			t.Fatal(err)
		}
		if last != 1 {
			t.Errorf("%s: progress ends at %g", typ, last)
		}
		m := openModel(t, Options{Path: out})
		if l := lastLogits(t, m, []runtime.Token{1, 2, 3}); math.IsNaN(float64(l[0])) {
			t.Errorf("%s: the logits are not numbers", typ)
		}
	}
	coded, _ := tiny.nf4(t)
	for _, c := range []struct{ in, typ, cause string }{
		{in, "q3", "unknown type"}, {filepath.Join(dir, "none"), "q4_0", "none"}, {coded, "q4_0", "llama-nf4"},
	} {
		out := filepath.Join(dir, "failed.gguf")
		err := Quantize(t.Context(), c.in, out, c.typ, 1, nil)
		if !errors.Is(err, ErrQuantize) || !strings.Contains(err.Error(), c.cause) {
			t.Errorf("error %v, want one with %q", err, c.cause)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "failed*")); len(left) != 0 {
		t.Errorf("failed runs left %v", left)
	}
}
