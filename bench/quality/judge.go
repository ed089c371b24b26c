package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// window is how many tokens of plain text are one sequence.
const window = 256

// evaluate prints the table of what each form does to weights and answers.
func evaluate(s settings, all []made) error {
	reference, err := os.CreateTemp(s.dir, "logits-*")
	if err != nil {
		return err
	}
	defer os.Remove(reference.Name())
	defer reference.Close()
	fmt.Printf("%s on %s\n", s.model, s.text)
	fmt.Printf("%-14s %8s %8s %8s %10s %8s %8s\n", "", "bits", "linear", "RMSE", "KL", "top-1", "ppl")
	for i, m := range all {
		w, err := m.weights()
		if err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		var score scores
		if err := score.of(s, m, reference, i == 0); err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		fmt.Printf("%-14s %8.3f %8.3f %8.4f %10.5f %7.2f%% %8.4f\n", m.name, w.bits, w.linearBits, w.rmse, score.kl/score.n,
			100*score.same/score.n, math.Exp(score.nll/score.n))
	}
	fmt.Println()
	return nil
}

// scores are sums over n positions.
type scores struct{ n, kl, nll, same float64 }

// of scores a model on the text. The first model writes its log-probabilities to reference, the others read them.
func (s *scores) of(set settings, m made, reference *os.File, first bool) error {
	model, err := llama.Load(llama.Options{Path: m.path})
	if err != nil {
		return err
	}
	defer model.Close()
	sequences, err := held(model, set)
	if err != nil {
		return err
	}
	device, err := llama.NewDevice(model, llama.DeviceOptions{Sequences: 1, Cells: 2 * window, Batch: window, UBatch: window, Threads: set.threads})
	if err != nil {
		return err
	}
	defer device.Close()
	if _, err := reference.Seek(0, 0); err != nil {
		return err
	}
	if first {
		w := bufio.NewWriterSize(reference, 1<<20)
		if err := s.run(model, device, sequences, func(p []float32) ([]float32, error) { return p, write(w, p) }); err != nil {
			return err
		}
		return w.Flush()
	}
	r := bufio.NewReaderSize(reference, 1<<20)
	return s.run(model, device, sequences, func(p []float32) ([]float32, error) { return read(r, len(p)) })
}

// run decodes every sequence and compares each position's log-probabilities with those that of returns for them.
func (s *scores) run(model *llama.Model, device *llama.Device, sequences [][]runtime.Token, of func([]float32) ([]float32, error)) error {
	sampler, err := model.NewSampler(runtime.Sampling{}, nil)
	if err != nil {
		return err
	}
	defer sampler.Close()
	for _, tokens := range sequences {
		rows := make([]runtime.Row, len(tokens))
		for i, t := range tokens {
			rows[i] = runtime.Row{Token: t, Pos: i, Sampler: sampler, Top: -1}
		}
		if _, err := device.Truncate(0, 0); err != nil {
			return err
		}
		if _, err := device.Decode(rows); err != nil {
			return err
		}
		for i := range len(tokens) - 1 {
			logits, err := device.Logits(i)
			if err != nil {
				return err
			}
			q := logSoftmax(logits)
			p, err := of(q)
			if err != nil {
				return err
			}
			s.add(p, q, tokens[i+1])
		}
	}
	return nil
}

// add counts a position: p are the reference's log-probabilities, q the model's.
func (s *scores) add(p, q []float32, next runtime.Token) {
	bestP, bestQ := 0, 0
	for i := range p {
		s.kl += math.Exp(float64(p[i])) * (float64(p[i]) - float64(q[i]))
		if p[i] > p[bestP] {
			bestP = i
		}
		if q[i] > q[bestQ] {
			bestQ = i
		}
	}
	if bestP == bestQ {
		s.same++
	}
	s.nll -= float64(q[next])
	s.n++
}

func logSoftmax(x []float32) []float32 {
	most := x[0]
	for _, v := range x {
		most = max(most, v)
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v - most))
	}
	shift := float64(most) + math.Log(sum)
	for i, v := range x {
		x[i] = float32(float64(v) - shift)
	}
	return x
}

// held returns the sequences of the held-out text.
func held(model *llama.Model, s settings) ([][]runtime.Token, error) {
	if !model.HasTokenizer() {
		return nil, fmt.Errorf("it has no tokenizer")
	}
	text, err := os.ReadFile(s.text)
	if err != nil {
		return nil, err
	}
	var out [][]runtime.Token
	left := s.tokens
	keep := func(tokens []runtime.Token) {
		for len(tokens) > 1 && left > 1 {
			n := min(window, len(tokens), left)
			out = append(out, tokens[:n])
			tokens, left = tokens[n:], left-n
		}
	}
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		tokens, err := model.Tokenize(string(text), true, false)
		keep(tokens)
		return out, err
	}
	template := chat.NewTemplate(model, "", nil)
	for line := range bytes.Lines(text) {
		var example struct{ Messages []runtime.Message }
		if err := json.Unmarshal(line, &example); err != nil {
			return nil, fmt.Errorf("%s: %w", s.text, err)
		}
		tokens, err := template.Tokenize(example.Messages, chat.Options{})
		if err != nil {
			return nil, err
		}
		keep(tokens)
	}
	// The order is shuffled, the same for all, so that -tokens takes some of everything.
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, nil
}
