//go:build cgo && linux

package llama

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/lorikeet-ai/lorikeet/demo"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/devicetest"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// twoAdapters are two of the demo base, the second with norms of its own: enough to change answers, not enough to make the model
// unsure.
func twoAdapters(t *testing.T, m *Model) (one, two runtime.Packed) {
	first := newAdapter(t, m, 1, 8, 12, isLinear)
	second := newAdapter(t, m, 2, 16, 12, func(string) bool { return true })
	for _, a := range []adapter{first, second} {
		for i := range a.lora.Modules {
			a.lora.Modules[i].Scale *= 0.2
		}
	}
	second.lora.Norms = aFewNorms(t)
	return pack(t, m, first.lora), pack(t, m, second.lora)
}

// aFewNorms are three of the demo base's norms, a little smaller than its own.
func aFewNorms(t *testing.T) (out []runtime.LoRANorm) {
	f, err := quant.Read(bytes.NewReader(demo.Base()), int64(len(demo.Base())))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"blk.0.attn_norm.weight", "blk.3.ffn_norm.weight", "output_norm.weight"} {
		values, err := f.ReadF32(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range values {
			values[i] *= 0.9
		}
		out = append(out, runtime.LoRANorm{Tensor: name, Values: values})
	}
	return out
}

// everyDevice runs a test on the demo base, with two adapters, with all layers on a device that takes what CUDA takes, what Vulkan takes,
// or what both do, and with half of the layers there.
func everyDevice(t *testing.T, run func(t *testing.T, m *Model, o DeviceOptions, one, two runtime.Packed)) {
	for _, c := range []struct {
		name      string
		standsFor []devicetest.Backend
		layers    int
		kv        KVType
	}{
		{"cuda", []devicetest.Backend{devicetest.CUDA}, -1, KVF16}, {"vulkan", []devicetest.Backend{devicetest.Vulkan}, -1, KVF16},
		{"both", nil, -1, KVF32}, {"half", nil, 3, KVF16},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := openModel(t, Options{Bytes: demo.Base(), Name: "demo", Device: devicetest.Register(t, c.standsFor...), GPULayers: c.layers})
			one, two := twoAdapters(t, m)
			run(t, m, DeviceOptions{Sequences: 4, Cells: 512, Batch: 128, UBatch: 64, Threads: 1, KV: c.kv}, one, two)
		})
	}
}

// everyCombination runs a test on the demo base, with two adapters, for every choice of the options that select another
// code path: the type of the KV cache, flash attention, how adapters are multiplied, and how NF4 weights are.
func everyCombination(t *testing.T, run func(t *testing.T, m *Model, o DeviceOptions, one, two runtime.Packed)) {
	for _, mode := range []NF4Mode{NF4Int8, NF4Int16, NF4Float} {
		if testing.Short() && mode != NF4Int8 {
			continue
		}
		m := openModel(t, Options{Bytes: demo.Base(), Name: "demo", NF4: mode, KeepPlain: true})
		first, second := twoAdapters(t, m)
		for _, kv := range []KVType{KVF16, KVF32, KVQ8} {
			for _, flash := range []FlashAttention{FlashAuto, FlashOn, FlashOff} {
				if kv == KVQ8 && flash == FlashOff {
					continue // refused: TestDeviceOptionsAreChecked
				}
				for _, lora := range []Backend{Fused, MMID} {
					name := fmt.Sprintf("%s,kv=%s,flash=%s,lora=%s", []string{"i8", "i16", "f32"}[mode],
						[]string{"f16", "f32", "q8_0"}[kv], []string{"auto", "on", "off"}[flash], []string{"fused", "mmid"}[lora])
					t.Run(name, func(t *testing.T) {
						run(t, m, DeviceOptions{Sequences: 4, Cells: 512, Batch: 128, UBatch: 64, Threads: 1, KV: kv, FlashAttention: flash, LoRA: lora}, first, second)
					})
				}
			}
		}
	}
}

// roundsAlike reports whether a row has the same bits in every batch. ggml's attention sums in the order of the cells,
// and its products with stacked adapters by the number of rows.
func roundsAlike(m *Model, o DeviceOptions) bool {
	return m.facts.Device == "" && o.KV == KVF16 && o.FlashAttention != FlashOff && o.LoRA == Fused
}

func TestConformanceOfEveryCombination(t *testing.T) { everyCombination(t, conforms) }

func TestConformanceOfEveryDevice(t *testing.T) { everyDevice(t, conforms) }

func conforms(t *testing.T, m *Model, o DeviceOptions, one, two runtime.Packed) {
	var without []string
	if !roundsAlike(m, o) {
		without = append(without, "SeedsBesideOthers")
	}
	runtimetest.Conformance(t, func(t *testing.T) (runtime.Device, runtime.Model, []runtime.Packed) {
		return openDevice(t, m, o), m, []runtime.Packed{one, two}
	}, without...)
}

// TestEngineOnEveryCombination sends requests that share prefixes, at once and in waves, to an Engine: on the base, on
// adapters and on a mix of them. Every request is answered as it is alone: in all its bits where rows are rounded alike
// in every batch, and else with log-probabilities of the first token that agree.
func TestEngineOnEveryCombination(t *testing.T) { everyCombination(t, answersAsAlone) }

func TestEngineOnADevice(t *testing.T) {
	m := openModel(t, deviceOptions(t, Options{Bytes: demo.Base(), Name: "demo"}))
	one, two := twoAdapters(t, m)
	answersAsAlone(t, m, DeviceOptions{Sequences: 4, Cells: 512, Batch: 128, UBatch: 64, Threads: 1}.withoutFlash(), one, two)
}

func TestEngineOnEveryDevice(t *testing.T) { everyDevice(t, answersAsAlone) }

func answersAsAlone(t *testing.T, m *Model, o DeviceOptions, one, two runtime.Packed) {
	library := &runtimetest.Library{}
	library.Add("one", one, true)
	library.Add("two", two, true)
	text := strings.Repeat(sharedText, 3)
	invocation, err := m.Tokenize(text, true, false)
	if err != nil {
		t.Fatal(err)
	}
	invocation = invocation[len(invocation)-4 : len(invocation)-2] // ends of words: not cut otherwise before another text
	library.AddActivated("activated", two, true, invocation)
	open := func() *engine.Engine {
		d, err := NewDevice(m, o)
		if err != nil {
			t.Fatal(err)
		}
		e := engine.New(d, m, engine.Options{MaxQueue: 64, Chunk: 24})
		t.Cleanup(func() { e.Close() })
		return e
	}
	requests := sharedPrefixes(t, m, library)
	want := make([]answered, len(requests))
	alone := open()
	for i, r := range requests {
		r.NoReuse = true
		var err error
		if want[i], err = answerOf(alone, r); err != nil {
			t.Fatal(err)
		}
	}
	e, cached := open(), 0
	for range 2 { // the second wave finds the prefixes of the first
		var group sync.WaitGroup
		var mutex sync.Mutex
		for i, r := range requests {
			group.Go(func() {
				got, err := answerOf(e, r)
				mutex.Lock()
				defer mutex.Unlock()
				cached += got.cached
				if err != nil || roundsAlike(m, o) && got.text != want[i].text {
					t.Errorf("request %d is answered %q, %v; alone it is %q", i, got.text, err, want[i].text)
				} else if d := got.difference(want[i]); !(d <= 0.3) {
					t.Errorf("request %d: log-probabilities differ by %g: %v, alone %v", i, d, got.first, want[i].first)
				}
			})
		}
		group.Wait()
	}
	if cached == 0 {
		t.Error("no request shared a prefix")
	}
}

const sharedText = "The sky is blue and the grass is green. "

// sharedPrefixes returns requests whose prompts begin alike.
func sharedPrefixes(t *testing.T, m *Model, library *runtimetest.Library) []runtime.Request {
	t.Helper()
	var requests []runtime.Request
	mixes := []string{"", "one", "two", "one*0.5+two*0.5", "activated", "one*0.5+activated*0.5"}
	n := 2 * len(mixes)
	if namedDevice() {
		n = len(mixes)
	}
	for i := range n {
		prompt, err := m.Tokenize(strings.Repeat(sharedText, 3)+fmt.Sprint("Number ", i, ":"), true, false)
		if err != nil {
			t.Fatal(err)
		}
		a, err := library.Get(mixes[i%len(mixes)])
		if err != nil {
			t.Fatal(err)
		}
		if a != nil {
			for _, p := range a.Parts() {
				if at := runtime.ActiveFrom(prompt, p.Invocation); len(p.Invocation) > 0 && at < len(prompt)/2 {
					t.Fatalf("%s begins to act at %d of %d tokens", p.Key, at, len(prompt))
				}
			}
		}
		requests = append(requests, runtime.Request{Prompt: prompt, Adapters: a, MaxTokens: 6, Top: 8, Sampling: runtime.Sampling{IgnoreEOS: true}})
	}
	return requests
}

// answered is an answer, the most likely first tokens of it, and how much of its prompt was cached.
type answered struct {
	text   string
	first  []runtime.TokenLogprob
	cached int
}

func answerOf(e *engine.Engine, r runtime.Request) (answered, error) {
	s, err := e.Submit(context.Background(), r)
	if err != nil {
		return answered{}, err
	}
	defer s.Close()
	var a answered
	for {
		ev, err := s.Next(context.Background())
		if errors.Is(err, io.EOF) {
			a.cached = s.Usage().Cached
			return a, nil
		}
		if err != nil {
			return a, err
		}
		a.text += ev.Text
		if a.first == nil && len(ev.Tokens) > 0 {
			a.first = ev.Tokens[0].Top
		}
	}
}

// difference returns the largest difference of the log-probabilities of tokens that are likely in both answers; infinity
// where there is none.
func (a answered) difference(b answered) float64 {
	most, common := 0.0, false
	for _, x := range a.first {
		for _, y := range b.first {
			if x.Token == y.Token {
				most, common = max(most, math.Abs(float64(x.Logprob-y.Logprob))), true
			}
		}
	}
	if !common {
		return math.Inf(1)
	}
	return most
}

// A cache in blocks of 32 values cannot hold heads of 48; llama.cpp aborts where it is told to use flash attention.
func TestQuantizedCacheNeedsWholeBlocks(t *testing.T) {
	odd := tiny
	odd.embedding = 384 // 8 heads of 48
	m := openModel(t, Options{Path: odd.file(t)})
	for _, flash := range []FlashAttention{FlashAuto, FlashOn} {
		_, err := NewDevice(m, DeviceOptions{Sequences: 1, Cells: 256, Threads: 1, KV: KVQ8, FlashAttention: flash})
		if !errors.Is(err, ErrDevice) || !strings.Contains(err.Error(), "q8_0 (--kv-type) needs heads of a multiple of 32 values, and the model's have 48") {
			t.Errorf("flash attention %d: error %v", flash, err)
		}
	}
}

// With cells of their own for each sequence, llama.cpp's attention runs, and only whole sequences are shared.
func TestSplitCells(t *testing.T) {
	m := openDemo(t)
	d := openDevice(t, m, DeviceOptions{Sequences: 4, Cells: 1024, Batch: 128, UBatch: 64, Threads: 1, SplitKV: true})
	prompt, err := m.Tokenize("Once upon a time there was a king who had three sons, and", true, false)
	if err != nil {
		t.Fatal(err)
	}
	first := func(seq, pos int, tokens []runtime.Token) runtime.Token {
		t.Helper()
		rows := rowsOf(t, m, seq, pos, tokens)
		choices, err := d.Decode(rows)
		if err != nil {
			t.Fatal(err)
		}
		return choices[len(choices)-1].Token
	}
	want := first(0, 0, prompt)
	head := len(prompt) - 1
	first(1, 0, prompt[:head])
	if err := d.Copy(2, 1, head); err != nil {
		t.Fatal(err)
	}
	for _, seq := range []int{1, 2} {
		if got := first(seq, head, prompt[head:]); got != want {
			t.Errorf("sequence %d goes on with token %d, want %d", seq, got, want)
		}
	}
}
