//go:build cgo && linux

package llama

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/merge"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// served is an adapter of a sum and its weight.
type served struct {
	lora   *runtime.LoRA
	weight float32
}

// mergeInto writes base with the adapters merged in, of its own types or in F32, and returns the file and what a
// device places for the same sum.
func mergeInto(t *testing.T, base string, plain bool, paths map[string]float32) (out string, terms []served) {
	t.Helper()
	file, err := quant.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := peft.FactsOf(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	sum := merge.NewSum(facts)
	for path, weight := range paths {
		a, err := adapters.OpenPath(facts, path)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if err := sum.Add(a, weight); err != nil {
			t.Fatal(err)
		}
		l, err := a.LoRA()
		if err != nil {
			t.Fatal(err)
		}
		terms = append(terms, served{l, weight})
	}
	out = filepath.Join(t.TempDir(), "merged.gguf")
	err = quant.Rewrite(context.Background(), base, out, quant.Rewriting{
		Prepare: sum.Prepare, Change: sum.Change, Changes: sum.Changes, Copies: sum.Untied(), Plain: plain, Codec: Codec,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, terms
}

// heldOut are conversations that the demo base was not trained on, as tokens.
func heldOut(t *testing.T, m *Model, n int) [][]runtime.Token {
	t.Helper()
	f, err := os.Open("../../demo/eval.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out [][]runtime.Token
	for lines := bufio.NewScanner(f); lines.Scan() && len(out) < n; {
		var c struct {
			Messages []struct{ Role, Content string }
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, m := range c.Messages {
			text += "<|im_start|>" + m.Role + "\n" + m.Content + "<|im_end|>\n"
		}
		tokens, err := m.Tokenize(text, true, true)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, tokens)
	}
	return out
}

// mergedAnswers is how the merged model answers beside the served sum.
type mergedAnswers struct {
	positions, other int     // other: the likeliest token is another
	margin           float64 // most that the served one was ahead by where it is
	kl               float64 // of the merged from the served, mean
	moved            float64 // of the base from the served, mean
}

// compareMerged decodes the same texts with the sum on the base, with the base, and with the merged model.
func compareMerged(t *testing.T, base, merged string, terms []served, texts func(*Model) [][]runtime.Token) (c mergedAnswers) {
	t.Helper()
	options := DeviceOptions{Threads: 1, KV: KVF32, FlashAttention: FlashOff, Cells: 512, Batch: 256, UBatch: 256}
	m, n := openModel(t, Options{Path: base, PackFloat32: true, NF4: NF4Float}), openModel(t, Options{Path: merged, NF4: NF4Float})
	d, e := openDevice(t, m, options), openDevice(t, n, options)
	for _, tokens := range texts(m) {
		served, plain := sumLogits(t, m, d, tokens, terms), sumLogits(t, m, d, tokens, nil)
		got := sumLogits(t, n, e, tokens, nil)
		for i := range tokens {
			c.positions++
			if a, b := argmaxOf(served[i]), argmaxOf(got[i]); a != b {
				c.other++
				c.margin = max(c.margin, float64(served[i][a]-served[i][b]))
			}
			c.kl += divergence(served[i], got[i])
			c.moved += divergence(served[i], plain[i])
		}
	}
	c.kl /= float64(c.positions)
	c.moved /= float64(c.positions)
	return c
}

// sumLogits decodes a text from its start on sequence 0.
func sumLogits(t *testing.T, m *Model, d *Device, tokens []runtime.Token, terms []served) [][]float32 {
	t.Helper()
	if _, err := d.Truncate(0, 0); err != nil {
		t.Fatal(err)
	}
	var mix []runtime.Term
	for _, l := range terms {
		mix = append(mix, runtime.Term{Packed: pack(t, m, l.lora), Scale: l.weight})
	}
	if err := d.SetAdapters(0, mix); err != nil {
		t.Fatal(err)
	}
	sampler := greedy(t, m)
	rows := make([]runtime.Row, len(tokens))
	for i, token := range tokens {
		rows[i] = runtime.Row{Token: token, Pos: i, Sampler: sampler, Top: -1}
	}
	if _, err := d.Decode(rows); err != nil {
		t.Fatal(err)
	}
	out := make([][]float32, len(tokens))
	for i := range tokens {
		var err error
		if out[i], err = d.Logits(i); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// divergence is KL(p || q) of two rows of logits, in nats.
func divergence(p, q []float32) float64 {
	zp, zq := logSum(p), logSum(q)
	sum := 0.0
	for i := range p {
		lp, lq := float64(p[i])-zp, float64(q[i])-zq
		sum += math.Exp(lp) * (lp - lq)
	}
	return sum
}

func logSum(x []float32) float64 {
	most := float64(x[argmaxOf(x)])
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - most)
	}
	return most + math.Log(sum)
}

var demoSum = map[string]float32{"../../demo/adapters/pirate": 0.7, "../../demo/adapters/json": 0.3}

// The merged F16 model says what the served sum says; the merged NF4 model comes as near as NF4 allows.
func TestMergedModelAnswersAsTheServedSum(t *testing.T) {
	texts := func(m *Model) [][]runtime.Token { return heldOut(t, m, 40) }
	f16, nf4 := "../../demo/demo-base.f16.gguf", "../../demo/demo-base.nf4.gguf"
	merged, terms := mergeInto(t, f16, false, demoSum)
	c := compareMerged(t, f16, merged, terms, texts)
	t.Logf("F16: %+v", c)
	// Where the two likeliest tokens are almost equal, the rounding of W' to F16 may choose the other.
	if c.margin > 0.05 || c.other*500 > c.positions || c.kl > 1e-4 || c.moved < 0.1 {
		t.Errorf("F16: %+v", c)
	}
	merged, terms = mergeInto(t, nf4, false, demoSum)
	c = compareMerged(t, nf4, merged, terms, texts)
	t.Logf("NF4: %+v", c)
	if c.kl > 0.1 || c.kl*5 > c.moved {
		t.Errorf("NF4: %+v", c)
	}
	merged, terms = mergeInto(t, nf4, true, demoSum)
	c = compareMerged(t, nf4, merged, terms, texts)
	t.Logf("NF4 to F32: %+v", c)
	if c.margin > 0.05 || c.kl > 1e-4 { // the base's Q8_0 head rounds activations to 8 bits, an F32 head does not
		t.Errorf("NF4 to F32: %+v", c)
	}
}

// Embeddings and head too, tied or not: a tied head becomes a tensor of its own. So with DoRA, whose gain is that of
// the adapter alone.
func TestMergeOfEveryTensor(t *testing.T) {
	for _, c := range []struct{ tied, dora bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		tied := c.tied
		s := tiny
		s.tied = tied
		base := s.file(t)
		m := openModel(t, Options{Path: base})
		store, err := adapters.Open(adapters.Options{Dir: t.TempDir(), Facts: m.Facts()})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		a := oddAdapter(m, 4)
		for i := range a.Modules {
			if x := &a.Modules[i]; c.dora {
				x.Magnitude = make([]float32, x.MagnitudeSize())
				for k := range x.Magnitude {
					x.Magnitude[k] = 0.8 + float32(k%5)*0.1
				}
			}
		}
		if _, err := store.PutLoRA("all", a, adapters.Note{}); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		out, err := os.Create(filepath.Join(dir, "all.zip"))
		if err != nil {
			t.Fatal(err)
		}
		e, err := store.Export(t.Context(), adapters.Ref{Name: "all", Scale: 1}, adapters.PEFT)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.ReadFrom(e); err != nil {
			t.Fatal(err)
		}
		e.Close()
		out.Close()
		merged, terms := mergeInto(t, base, false, map[string]float32{out.Name(): 0.5})
		got := compareMerged(t, base, merged, terms, func(*Model) [][]runtime.Token {
			tokens := make([]runtime.Token, 30)
			for i := range tokens {
				tokens[i] = runtime.Token((i*7919 + 3) % s.vocab)
			}
			return [][]runtime.Token{tokens}
		})
		if got.other > 0 || got.kl > 1e-6 || got.moved < 1e-3 {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// Whole embeddings and norms, rows of tokens and biases, tied or not: merged they give what they do when they are served.
func TestMergeOfWholeRows(t *testing.T) {
	for _, tied := range []bool{false, true} {
		s := tiny
		s.arch, s.layers, s.vocab, s.tied = "qwen2", 2, 512, tied // qwen2 has biases, and no order of rows of its own
		base := s.file(t)
		var mix []served
		paths := map[string]float32{}
		for i, a := range savedAdapters(t, s) {
			weight := []float32{0.7, 0.5}[i]
			paths[a.path] = weight
			mix = append(mix, served{a.lora, weight})
		}
		for _, plain := range []bool{false, true} {
			merged, _ := mergeInto(t, base, plain, paths)
			got := compareMerged(t, base, merged, mix, func(*Model) [][]runtime.Token {
				tokens := make([]runtime.Token, 40)
				for i := range tokens {
					tokens[i] = runtime.Token((i*7919 + 3) % s.vocab)
				}
				return [][]runtime.Token{tokens}
			})
			t.Logf("tied %v: %+v", tied, got)
			if got.other > 0 || got.kl > 1e-6 || got.moved < 1e-3 {
				t.Errorf("tied %v, plain %v: %+v", tied, plain, got)
			}
		}
	}
}

// savedAdapters are a PEFT folder of whole embeddings and norms, a bias and a LoRA, and one of rows of tokens, beside what the
// server places for them.
func savedAdapters(t *testing.T, s sizes) []adapter {
	t.Helper()
	rng := rand.New(rand.NewPCG(8, 8))
	values := func(n int, scale float64) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(rng.NormFloat64() * scale)
		}
		return out
	}
	const q = "base_model.model.model.layers.0.self_attn.q_proj"
	n, tokens := s.embedding, []runtime.Token{3, 7, 500}
	a, b, bias := values(4*n, 0.06), values(4*n, 0.1), values(n, 0.1)
	table, rows := values(s.vocab*n, 0.06), values(len(tokens)*n, 0.06)
	norm, last := values(n, 1), values(n, 1)
	one := &runtime.LoRA{
		Modules: []runtime.LoRAModule{{Tensor: "blk.0.attn_q.weight", Rank: 4, In: n, Out: n, Scale: 2, A: a, B: b}},
		Biases:  []runtime.LoRABias{{Tensor: "blk.0.attn_q.weight", Values: bias, Replaces: true}},
		Rows:    []runtime.LoRARows{{Tensor: "token_embd.weight", Width: n, Values: table}},
		Norms:   []runtime.LoRANorm{{Tensor: "blk.1.attn_norm.weight", Values: norm}, {Tensor: "output_norm.weight", Values: last}},
	}
	two := &runtime.LoRA{Rows: []runtime.LoRARows{{Tensor: "token_embd.weight", Tokens: tokens, Width: n, Values: rows}}}
	if s.tied { // rows of tokens are the head's, too
		two.Rows = append(two.Rows, runtime.LoRARows{Tensor: "output.weight", Tokens: tokens, Width: n, Values: rows})
	}
	config := `{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj"],`
	return []adapter{
		{one, peftFolder(t, config+`"bias":"lora_only","modules_to_save":["embed_tokens","model.norm","layers.1.input_layernorm"]}`,
			peft.NewTensor(q+".lora_A.weight", []int64{4, int64(n)}, a), peft.NewTensor(q+".lora_B.weight", []int64{int64(n), 4}, b),
			peft.NewTensor(q+".bias", []int64{int64(n)}, bias), peft.NewTensor("base_model.model.model.norm.weight", []int64{int64(n)}, last),
			peft.NewTensor("base_model.model.model.layers.1.input_layernorm.weight", []int64{int64(n)}, norm),
			peft.NewTensor("base_model.model.model.embed_tokens.weight", []int64{int64(s.vocab), int64(n)}, table))},
		{two, peftFolder(t, config+`"trainable_token_indices":[3,7,500]}`,
			peft.NewTensor("base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta", []int64{3, int64(n)}, rows))},
	}
}

func peftFolder(t *testing.T, config string, tensors ...peft.Tensor) string {
	t.Helper()
	dir := t.TempDir()
	var b bytes.Buffer
	if err := peft.WriteTensors(&b, tensors); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"adapter_config.json": []byte(config), "adapter_model.safetensors": b.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ggml's code and quant's agree where both have some, and what is encoded decodes to about what it was.
func TestCodec(t *testing.T) {
	x := make([]float32, 1024)
	for i := range x {
		x[i] = float32(math.Sin(float64(i)*0.37)) * 0.1
	}
	for typ, tolerance := range map[quant.Type]float64{2: 0.02, 3: 0.01, 6: 0.01, 7: 0.005, quant.Q8_0: 0.001, 12: 0.01, 13: 0.006, 14: 0.003, 20: 0.02, 23: 0.02} {
		c, err := Codec(typ)
		if err != nil || c.Encode == nil {
			t.Fatalf("%s: %v", typ, err)
		}
		weights, size := typ.Block()
		raw := make([]byte, int64(len(x))/weights*size)
		c.Encode(raw, x)
		got := make([]float32, len(x))
		c.Decode(got, raw)
		sum := 0.0
		for i := range x {
			sum += math.Pow(float64(got[i]-x[i]), 2)
		}
		if rms := math.Sqrt(sum / float64(len(x))); rms > tolerance {
			t.Errorf("%s: the root of the mean square error is %g", typ, rms)
		}
		if typ == quant.Q8_0 {
			same := make([]float32, len(x))
			quant.DecodeQ8_0(same, raw)
			if maxDifference(got, same) > 0 {
				t.Error("Q8_0 is decoded in two ways")
			}
		}
	}
	if c, err := Codec(16); err != nil || c.Encode != nil { // IQ2_XXS needs an importance matrix
		t.Errorf("IQ2_XXS: %v, can be written: %v", err, c.Encode != nil)
	}
	for _, typ := range []quant.Type{24, 4, 1000} {
		if _, err := Codec(typ); err == nil {
			t.Errorf("%s has code", typ)
		}
	}
}
