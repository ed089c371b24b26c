package quant

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// model is what a small llama-shaped file with an oddity of every kind holds.
var model = []struct {
	Tensor
	want Type
}{
	{Tensor{Name: "token_embd.weight", Type: F16, Dims: []int64{64, 10}}, Q8_0},
	{Tensor{Name: "blk.0.attn_norm.weight", Type: F32, Dims: []int64{64}}, F32},
	{Tensor{Name: "blk.0.attn_q.weight", Type: F16, Dims: []int64{64, 6}}, NF4},
	{Tensor{Name: "blk.0.attn_q.bias", Type: F32, Dims: []int64{6}}, F32},
	{Tensor{Name: "blk.0.attn_k.weight", Type: BF16, Dims: []int64{64, 3}}, NF4},
	{Tensor{Name: "blk.0.attn_v.weight", Type: F32, Dims: []int64{32, 3}}, NF4},
	{Tensor{Name: "blk.0.attn_output.weight", Type: Q8_0, Dims: []int64{64, 6}}, NF4},
	{Tensor{Name: "blk.0.ffn_up.weight", Type: F16, Dims: []int64{48, 5}}, F16},
	{Tensor{Name: "blk.0.ffn_gate_inp.weight", Type: F16, Dims: []int64{64, 4}}, F16},
	{Tensor{Name: "blk.0.ffn_up_exps.weight", Type: F16, Dims: []int64{64, 2, 3}}, F16},
	{Tensor{Name: "blk.0.ffn_down.weight", Type: F16, Dims: []int64{64, 3 * chunk / 64}}, NF4},
	{Tensor{Name: "output.weight", Type: F16, Dims: []int64{64, 10}}, Q8_0},
}

// modelFile writes model to a file and returns its path and weights.
func modelFile(t testing.TB, dir string) (string, [][]float32) {
	t.Helper()
	r := rand.New(rand.NewPCG(11, 12))
	var m Metadata
	m.Set("general.architecture", "llama")
	m.Set("llama.block_count", uint32(1))
	m.Set("general.file_type", uint32(1))
	m.Set("tokenizer.ggml.scores", []float32{1, 2})
	var tensors []Tensor
	var values [][]float32
	for _, c := range model {
		tensors = append(tensors, c.Tensor)
		values = append(values, normal(r, c.Elements(), 0.05))
	}
	return save(t, dir, encode(t, m, tensors, values)), values
}

func save(t testing.TB, dir string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, "in.gguf")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// checkWeights holds a tensor's new bytes against the codec applied to all of its weights at once.
func checkWeights(t *testing.T, in, out *File, from Tensor, want Type, values []float32) {
	t.Helper()
	old, err := in.ReadF32(from.Name)
	if err != nil {
		t.Fatal(err)
	}
	got := contents(t, out, from.Name)
	expected := contents(t, in, from.Name)
	switch {
	case want == from.Type:
	case want == NF4:
		expected = make([]byte, len(values)/nf4Weights*nf4Bytes)
		EncodeNF4(expected, old)
	case want == Q8_0:
		expected = make([]byte, len(values)/q8Weights*q8Bytes)
		EncodeQ8_0(expected, old)
	}
	if !bytes.Equal(got, expected) {
		t.Errorf("%s: the weights are not what the codec makes of them", from.Name)
	}
}

func contents(t *testing.T, f *File, name string) []byte {
	t.Helper()
	r, err := f.TensorReader(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func checkMetadata(t *testing.T, f *File) {
	t.Helper()
	if plain, nf4 := PlainArchitecture(f.Architecture()); plain != "llama" || !nf4 || !f.NF4() {
		t.Errorf("the architecture is %q", f.Architecture())
	}
	if n, ok := f.Metadata.Uint("llama.block_count"); n != 1 || !ok {
		t.Errorf("llama.block_count is %d, %v", n, ok)
	}
	if n, _ := f.Metadata.Uint("general.file_type"); n != 25 {
		t.Errorf("general.file_type is %d", n)
	}
	var keys []string
	for k := range f.Metadata.All() {
		keys = append(keys, k)
	}
	want := "general.architecture llama.block_count general.file_type tokenizer.ggml.scores general.quantization_version"
	if got := strings.Join(keys, " "); got != want {
		t.Errorf("keys %s, want %s", got, want)
	}
}
