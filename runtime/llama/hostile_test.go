//go:build cgo && linux

package llama

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// hostileRange tells a child process which damaged models to load: "17:400" for the numbers 17 to 399.
const hostileRange = "LORIKEET_TEST_HOSTILE"

// TestDamagedModels loads models that were damaged in one or two places, and decodes with those that load. The loads run
// in a child process: it must end each with an error or a success, and never crash. Every number gives the same model.
func TestDamagedModels(t *testing.T) {
	n := 4000
	if testing.Short() {
		n = 400
	}
	if r := os.Getenv(hostileRange); r != "" {
		from, to, _ := strings.Cut(r, ":")
		first, err := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		loadDamaged(t, first, last)
		return
	}
	loaded := 0
	for next := 0; next < n; {
		at, more, output, err := runDamaged(next, n)
		loaded += more
		if err == nil {
			break
		}
		t.Errorf("model %d, %s: the process died: %v\n%s", at, damage(at).what, err, output)
		if next = at + 1; t.Failed() && at-next > n/2 {
			break
		}
	}
	t.Logf("%d of %d damagedModel models were loaded and decoded", loaded, n)
	if loaded == 0 || loaded == n {
		t.Errorf("%d of %d models loaded: the test damages too much or too little", loaded, n)
	}
}

// runDamaged runs a child over the numbers from next to n. It returns the last number that the child began, how many
// models it could load, the end of what it wrote, and an error where it crashed or took too long.
func runDamaged(next, n int) (at, loaded int, output string, err error) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestDamagedModels$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d:%d", hostileRange, next, n))
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return next, 0, "", err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return next, 0, "", err
	}
	const limit = time.Minute // for one model; the machine may be busy
	watchdog := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	at = next
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		watchdog.Reset(limit)
		if number, ok := strings.CutPrefix(lines.Text(), "model "); ok {
			at, _ = strconv.Atoi(number)
		}
		if lines.Text() == "loaded" {
			loaded++
		}
	}
	err = cmd.Wait()
	watchdog.Stop()
	text := stderr.String()
	return at, loaded, text[:min(len(text), 2000)], err
}

// loadDamaged is the child.
func loadDamaged(t *testing.T, first, last int) {
	for i := first; i < last; i++ {
		fmt.Println("model", i)
		data, err := damage(i).encode()
		if err != nil {
			continue // our writer refuses it
		}
		m, err := Load(Options{Bytes: data})
		if err != nil {
			if !errors.Is(err, ErrLoad) {
				t.Errorf("model %d: %v", i, err)
			}
			continue
		}
		if err := decodeSome(m); err != nil && !errors.Is(err, runtime.ErrDecode) && !errors.Is(err, runtime.ErrLogits) && !errors.Is(err, ErrLoad) {
			t.Logf("model %d: %v", i, err)
		}
		fmt.Println("loaded")
		m.Close()
	}
}

// decodeSome uses the model as a request does.
func decodeSome(m *Model) error {
	if m.HasTokenizer() {
		if _, err := m.Tokenize("abax cx\n", true, true); err != nil {
			return err
		}
	}
	d, err := NewDevice(m, DeviceOptions{Sequences: 2, Cells: 64, Batch: 8, Threads: 1})
	if err != nil {
		return err
	}
	defer d.Close()
	s, err := m.NewSampler(runtime.Sampling{}, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	rows := []runtime.Row{{Token: 0}, {Token: 1, Pos: 1}, {Token: 2, Pos: 2, Sampler: s}}
	choices, err := d.Decode(rows)
	if err != nil {
		return err
	}
	for _, c := range choices {
		m.Piece(c.Token, true)
	}
	return nil
}

// damagedModel is a small model, and what was done to it.
type damagedModel struct {
	metadata quant.Metadata
	tensors  []quant.Tensor
	flips    [][2]int // bytes of the encoded header: place and value
	what     string
}

func (s *damagedModel) encode() ([]byte, error) {
	var b bytes.Buffer
	r := rand.New(rand.NewPCG(1, 2))
	err := quant.Encode(&b, &s.metadata, s.tensors, func(i int, w io.Writer) error {
		size, err := s.tensors[i].Type.Size(s.tensors[i].Dims)
		if err != nil || size > 1<<20 {
			return fmt.Errorf("too large: %w", err)
		}
		if s.tensors[i].Type == quant.F32 {
			x := make([]float32, size/4)
			for k := range x {
				x[k] = float32(r.NormFloat64() / 8)
			}
			return writeF32(w, x)
		}
		_, err = w.Write(make([]byte, size))
		return err
	})
	if err != nil {
		return nil, err
	}
	data := b.Bytes()
	for _, f := range s.flips {
		data[f[0]%min(len(data), 4000)] = byte(f[1])
	}
	return data, nil
}

// damage makes model i.
func damage(i int) *damagedModel {
	r := rand.New(rand.NewPCG(uint64(i), 77))
	s := soundModel([]string{"llama", "qwen2", "qwen3"}[i%3])
	for range 1 + r.IntN(2) {
		switch r.IntN(8) {
		case 0:
			s.flips = append(s.flips, [2]int{r.IntN(1 << 16), r.IntN(256)})
			s.what += "a byte; "
		case 1, 2:
			s.damageTensor(r)
		default:
			s.damageKey(r)
		}
	}
	return s
}

func (s *damagedModel) damageTensor(r *rand.Rand) {
	t := &s.tensors[r.IntN(len(s.tensors))]
	s.what += "tensor " + t.Name
	switch r.IntN(5) {
	case 0:
		t.Type = quant.Type(r.IntN(42))
		s.what += " type " + t.Type.String()
	case 1:
		t.Dims[r.IntN(len(t.Dims))] = []int64{1, 2, 16, 32, 64, 96, 128, 4096}[r.IntN(8)]
		s.what += fmt.Sprint(" dims ", t.Dims)
	case 2:
		t.Dims = append(t.Dims, int64(1+r.IntN(3)))
		s.what += fmt.Sprint(" dims ", t.Dims)
	case 3:
		t.Name = strings.Replace(t.Name, ".0.", "."+strconv.Itoa(r.IntN(600))+".", 1)
		s.what += " is now " + t.Name
	case 4:
		t.Name = []string{"blk.0.attn_q.bias", "blk.1.attn_output.bias", "rope_freqs.weight", "output.bias", "blk.0.ffn_gate_exps.weight", "x"}[r.IntN(6)]
		s.what += " is now " + t.Name
	}
	s.what += "; "
}

func (s *damagedModel) damageKey(r *rand.Rand) {
	architecture, _ := s.metadata.String("general.architecture")
	var keys []string
	for key := range s.metadata.All() {
		keys = append(keys, key)
	}
	for _, suffix := range []string{
		"expert_count", "expert_used_count", "expert_group_count", "attention.key_length", "attention.value_length", "rope.freq_base",
		"rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length", "attention.causal", "pooling_type",
		"attention.sliding_window", "expert_gating_func", "rope.dimension_sections", "classifier.output_labels",
	} {
		keys = append(keys, architecture+"."+suffix)
	}
	for _, suffix := range []string{
		"unknown_token_id", "eot_token_id", "padding_token_id", "mask_token_id", "add_bos_token", "add_eos_token", "add_space_prefix",
		"precompiled_charsmap", "eos_token_ids",
	} {
		keys = append(keys, "tokenizer.ggml."+suffix)
	}
	key := keys[r.IntN(len(keys))]
	if r.IntN(12) == 0 {
		s.metadata.Delete(key)
		s.what += key + " is gone; "
		return
	}
	old, _ := s.metadata.Get(key)
	value := otherValue(r, old)
	s.metadata.Set(key, value)
	s.what += fmt.Sprintf("%s is %.60s; ", key, fmt.Sprintf("%T %v", value, value))
}

// otherValue returns a value that is a little, or altogether, different from the old one.
func otherValue(r *rand.Rand, old any) any {
	switch v := old.(type) {
	case uint32:
		if r.IntN(4) > 0 {
			return []uint32{0, 1, 2, 3, v - 1, v + 1, v / 2, v * 2, 5, 11, 511, 513, 65536, 1 << 31, math.MaxUint32}[r.IntN(15)]
		}
	case []string:
		out := append([]string(nil), v...)
		switch r.IntN(6) {
		case 0:
			out[r.IntN(len(out))] = out[r.IntN(len(out))]
		case 1:
			out[r.IntN(len(out))] = []string{"", "\x00", "<0x0A>", "a\x00b", "\xff\xfe", strings.Repeat("z", 5000), "[EMPTY_3]", " "}[r.IntN(8)]
		case 2:
			return out[:r.IntN(len(out))]
		case 3:
			return append(out, "one more")
		case 4:
			return make([]int32, len(out))
		default:
			return []string{}
		}
		return out
	case []int32:
		switch r.IntN(3) {
		case 0:
			return v[:r.IntN(len(v))]
		case 1:
			out := append([]int32(nil), v...)
			out[r.IntN(len(out))] = []int32{-1, 0, 2, 3, 4, 5, 6, 7, math.MaxInt32}[r.IntN(9)]
			return out
		}
	}
	return []any{
		uint32(r.IntN(70)), uint32(0), int32(-1), uint64(1 << 40), uint8(7), true, false, float32(-1), float32(0), float32(math.NaN()),
		float32(math.Inf(1)), float32(1e-5), float64(1), "", "linear", "yarn", "longrope", "llama", "none", "bert", "t5", "rwkv", "gpt2",
		"glm4", "gemma2", "mamba", "deci", "phi3", []int32{4, 4}, []int32{1, 2, 3, 4}, []uint32{2, 0}, []float32{1, 2}, []string{"a", "b"},
		[]uint8{4, 0, 0, 0, 9}, []uint64{1}, []int8{}, int64(3), uint16(2), []bool{true, false},
	}[r.IntN(39)]
}

// soundModel is a model of 32 tokens.
func soundModel(architecture string) *damagedModel {
	small := sizes{arch: architecture, embedding: 64, feedForward: 96, layers: 2, vocab: 32, heads: 4, kvHeads: 2}
	s := &damagedModel{tensors: small.tensors()}
	s.metadata = small.metadata()
	texts, kinds := make([]string, small.vocab), make([]int32, small.vocab)
	for i := range texts {
		texts[i], kinds[i] = string(rune('a'+i%26))+strings.Repeat("x", i/26), 1
	}
	kinds[30], kinds[31] = 3, 3
	s.metadata.Set("tokenizer.ggml.model", "gpt2")
	s.metadata.Set("tokenizer.ggml.pre", "gpt-2")
	s.metadata.Set("tokenizer.ggml.tokens", texts)
	s.metadata.Set("tokenizer.ggml.token_type", kinds)
	s.metadata.Set("tokenizer.ggml.scores", make([]float32, small.vocab))
	s.metadata.Set("tokenizer.ggml.merges", []string{"a x", "b x"})
	s.metadata.Set("tokenizer.ggml.bos_token_id", uint32(30))
	s.metadata.Set("tokenizer.ggml.eos_token_id", uint32(31))
	return s
}
