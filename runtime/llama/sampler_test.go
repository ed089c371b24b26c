//go:build cgo && linux

package llama

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// newDraw returns a function that draws from the same sampler again and again.
func newDraw(t *testing.T, m *Model, s runtime.Sampling, prompt ...runtime.Token) func([]float32) runtime.Token {
	t.Helper()
	sampler, err := m.NewSampler(s, prompt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sampler.Close() })
	return sampler.(*Sampler).draw
}

// logitsOf returns logits whose softmax is p on the first tokens, and next to nothing on the others.
func logitsOf(m *Model, p ...float64) []float32 {
	out := make([]float32, m.facts.VocabSize)
	for i := range out {
		out[i] = -1000
		if i < len(p) {
			out[i] = float32(math.Log(p[i]))
		}
	}
	return out
}

// shares draws n times and returns how often each token came.
func shares(draw func([]float32) runtime.Token, logits []float32, n int) map[runtime.Token]float64 {
	out := map[runtime.Token]float64{}
	for range n {
		out[draw(logits)] += 1 / float64(n)
	}
	return out
}

func TestSamplersKeepTheRightTokens(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	logits := logitsOf(m, 0.5, 0.25, 0.15, 0.07, 0.03)
	for _, c := range []struct {
		name string
		s    runtime.Sampling
		want []float64 // the probabilities that are left
	}{
		{"temperature 1", runtime.Sampling{Temperature: 1}, []float64{0.5, 0.25, 0.15, 0.07, 0.03}},
		{"temperature 0.5", runtime.Sampling{Temperature: 0.5}, []float64{0.25, 0.0625, 0.0225, 0.0049, 0.0009}},
		{"top_k 2", runtime.Sampling{Temperature: 1, TopK: 2}, []float64{0.5, 0.25}},
		{"top_k over the vocabulary", runtime.Sampling{Temperature: 1, TopK: 1 << 30}, []float64{0.5, 0.25, 0.15, 0.07, 0.03}},
		{"top_p 0.7", runtime.Sampling{Temperature: 1, TopP: 0.7}, []float64{0.5, 0.25}},
		{"min_p 0.25", runtime.Sampling{Temperature: 1, MinP: 0.25}, []float64{0.5, 0.25, 0.15}},
		{"typical 0.2", runtime.Sampling{Temperature: 1, TypicalP: 0.2}, []float64{0, 0.25}},
		{"top_k then top_p", runtime.Sampling{Temperature: 1, TopK: 3, TopP: 0.6}, []float64{0.5, 0.25}},
		{"greedy", runtime.Sampling{}, []float64{1}},
		{"bias", runtime.Sampling{Temperature: 1, LogitBias: map[runtime.Token]float32{0: float32(math.Inf(-1)), 1: -100}}, []float64{0, 0, 0.15, 0.07, 0.03}},
	} {
		sum := 0.0
		for _, p := range c.want {
			sum += p
		}
		c.s.Seed = 7
		got := shares(newDraw(t, m, c.s), logits, 4000)
		for i := range 6 {
			want := 0.0
			if i < len(c.want) {
				want = c.want[i] / sum
			}
			if d := math.Abs(got[runtime.Token(i)] - want); d > 0.03 || want == 0 && d > 0 {
				t.Errorf("%s: token %d came in %.3f of the draws, want %.3f", c.name, i, got[runtime.Token(i)], want)
			}
		}
	}
}

func TestSeeds(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	r := rand.New(rand.NewPCG(1, 1))
	logits := make([]float32, m.facts.VocabSize)
	for i := range logits {
		logits[i] = float32(r.NormFloat64())
	}
	text := func(seed uint64) []runtime.Token {
		draw, out := newDraw(t, m, runtime.Sampling{Temperature: 1, Seed: seed}), []runtime.Token{}
		for range 20 {
			out = append(out, draw(logits))
		}
		return out
	}
	// The last one folds to the number that llama.cpp takes for "draw a seed yourself".
	for _, seed := range []uint64{0, 1, 1 << 40, math.MaxUint32, math.MaxUint32 << 32} {
		if !slices.Equal(text(seed), text(seed)) {
			t.Errorf("seed %d gives two texts", seed)
		}
	}
	if slices.Equal(text(1), text(2)) || slices.Equal(text(1), text(1<<33)) {
		t.Error("two seeds give the same text")
	}
}

func TestPenalties(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	logits := make([]float32, m.facts.VocabSize)
	for i := range logits {
		logits[i] = -20
	}
	logits[1], logits[2], logits[3] = 4, 3, -1
	for _, c := range []struct {
		name   string
		s      runtime.Sampling
		prompt []runtime.Token
		want   []runtime.Token
	}{
		{"none", runtime.Sampling{}, []runtime.Token{1, 1}, []runtime.Token{1, 1, 1}},
		// 4/2 < 3; then 3/2 < 4/2: a token is penalized once, however often it came.
		{"repeat, prompt counts", runtime.Sampling{RepeatPenalty: 2}, []runtime.Token{1}, []runtime.Token{2, 1, 1}},
		{"repeat, out of sight", runtime.Sampling{RepeatPenalty: 2, RepeatLastN: 1}, []runtime.Token{1, 5}, []runtime.Token{1, 2, 1}},
		// 4, then 4-0.9 > 3, then 4-1.8 < 3.
		{"frequency, answer only", runtime.Sampling{FrequencyPenalty: 0.9}, []runtime.Token{1, 1, 1}, []runtime.Token{1, 1, 2, 1}},
		// 4, then 3, then 4-1.5 against 3-1.5: once for all.
		{"presence, answer only", runtime.Sampling{PresencePenalty: 1.5}, []runtime.Token{1, 1, 1}, []runtime.Token{1, 2, 1, 1}},
	} {
		draw := newDraw(t, m, c.s, c.prompt...)
		for i, want := range c.want {
			if got := draw(logits); got != want {
				t.Errorf("%s: draw %d is %d, want %d", c.name, i, got, want)
			}
		}
	}
}

func TestDrawsFromBrokenLogits(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	nan := float32(math.NaN())
	broken, mixed := make([]float32, m.facts.VocabSize), make([]float32, m.facts.VocabSize)
	for i := range broken {
		broken[i], mixed[i] = nan, nan
	}
	mixed[5] = 1
	for _, s := range []runtime.Sampling{{}, {Temperature: 1}, {Temperature: 1, TopK: 4}, {Temperature: 1, TopP: 0.5, TypicalP: 0.5}} {
		if got := newDraw(t, m, s)(broken); got != -1 {
			t.Errorf("%+v: token %d drawn from NaN", s, got)
		}
		if got := newDraw(t, m, s)(mixed); got != 5 {
			t.Errorf("%+v: token %d drawn where 5 alone has a logit", s, got)
		}
	}
}

// What a client may send must not end in an infinite logit or a probability of zero within llama.cpp's samplers, which
// abort then: the smallest temperatures, and logits far apart.
func TestExtremesAreDrawnFrom(t *testing.T) {
	m := openDemo(t)
	wide := make([]float32, m.facts.VocabSize)
	for i := range wide {
		wide[i] = float32(-10 * i)
	}
	wide[7] = 1000
	huge := slices.Clone(wide)
	huge[7], huge[8] = math.MaxFloat32, -math.MaxFloat32
	endless := slices.Clone(wide)
	endless[7], endless[8] = float32(math.Inf(1)), float32(math.Inf(-1))
	for _, logits := range [][]float32{wide, huge, endless} {
		for _, temperature := range []float32{math.SmallestNonzeroFloat32, 1e-30, 1e-6, 1, 2} {
			for _, s := range []runtime.Sampling{
				{}, {TopK: 1}, {TopK: 40}, {TypicalP: 0.5}, {TypicalP: 0.5, TopK: 40}, {TopP: 0.5, MinP: 0.01}, {TypicalP: math.SmallestNonzeroFloat32},
				{Grammar: `root ::= [a-z]*`, TypicalP: 0.5}, {Grammar: `root ::= [a-z]*`, TopK: 40},
			} {
				s.Temperature, s.Seed = temperature, 1
				draw := newDraw(t, m, s)
				for range 20 {
					if got := draw(logits); got < 0 || s.Grammar == "" && got != 7 {
						t.Fatalf("%+v: drew %d, and 7 is far the best", s, got)
					}
				}
			}
		}
	}
}

func TestSamplingFieldsAreChecked(t *testing.T) {
	m := openModel(t, Options{Path: tiny.file(t)})
	nan := float32(math.NaN())
	for field, s := range map[string]runtime.Sampling{
		"temperature":    {Temperature: nan},
		"top_p":          {TopP: -1},
		"min_p":          {MinP: float32(math.Inf(1))},
		"repeat_penalty": {RepeatPenalty: -2},
		"repeat_last_n":  {RepeatLastN: -1},
		"logit_bias":     {LogitBias: map[runtime.Token]float32{1024: 1}},
		"grammar":        {Grammar: "root ::= \"a\""}, // there is no vocabulary to write it with
	} {
		_, err := m.NewSampler(s, nil)
		if !errors.Is(err, runtime.ErrSampling) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: error %v", field, err)
		}
	}
	if _, err := m.NewSampler(runtime.Sampling{}, []runtime.Token{-1}); !errors.Is(err, runtime.ErrSampling) {
		t.Errorf("a prompt with token -1: error %v", err)
	}
}
