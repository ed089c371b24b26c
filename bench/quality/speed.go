package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

const (
	prompt = 128 // tokens of a prefill
	steps  = 13  // of a decode measurement, the first of which is not counted
	many   = 16  // sequences of the wide one
)

// The phases of a measurement.
const (
	prefill = iota
	decode
	decodeMany
	phases
)

// runner is a loaded form and its tokens per second in each phase, round after round.
type runner struct {
	made
	model   *llama.Model
	device  *llama.Device
	sampler runtime.Sampler
	rates   [phases][]float64
}

// compareSpeeds prints how fast each form runs. In every round the forms take turns phase by phase, so that what disturbs the
// machine for a while disturbs all of them. Exact forms are left out: their files run as the others do.
func compareSpeeds(s settings, all []made) error {
	var runners []*runner
	for _, m := range all {
		if m.options.Exact {
			continue
		}
		r := &runner{made: m}
		runners = append(runners, r)
		if err := r.load(s); err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		defer r.close()
	}
	for range s.rounds {
		for phase := range phases {
			for _, r := range runners {
				rate, err := r.measure(phase)
				if err != nil {
					return fmt.Errorf("%s: %w", r.path, err)
				}
				r.rates[phase] = append(r.rates[phase], rate)
			}
		}
	}
	report(s, runners)
	return nil
}

// report prints the medians: of the tokens per second, and of what they were in each round by those of Q4_0.
func report(s settings, runners []*runner) {
	base := runners[0]
	for _, r := range runners {
		if r.name == "Q4_0" {
			base = r
		}
	}
	fmt.Printf("%s, %d threads, %d rounds: tokens per second, and times those of %s\n", s.speed, s.threads, s.rounds, base.name)
	fmt.Printf("%-14s %8s %8s %16s %16s %16s\n", "", "file", "memory", "decode", fmt.Sprintf("decode x%d", many), "prefill")
	for _, r := range runners {
		f := r.model.Facts()
		fmt.Printf("%-14s %8.3f %8.3f", r.name, f.BitsPerWeight, f.ResidentBits)
		for _, phase := range []int{decode, decodeMany, prefill} {
			ratios := make([]float64, s.rounds)
			for i := range ratios {
				ratios[i] = r.rates[phase][i] / base.rates[phase][i]
			}
			fmt.Printf(" %8.1f %6.2fx", median(r.rates[phase]), median(ratios))
		}
		fmt.Println()
	}
}

func median(x []float64) float64 {
	sorted := slices.Sorted(slices.Values(x))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func (r *runner) load(s settings) (err error) {
	if r.model, err = llama.Load(llama.Options{Path: r.path}); err != nil {
		return err
	}
	if r.sampler, err = r.model.NewSampler(runtime.Sampling{IgnoreEOS: true}, nil); err != nil {
		return err
	}
	r.device, err = llama.NewDevice(r.model, llama.DeviceOptions{Sequences: many, Cells: 2048, Batch: prompt, UBatch: prompt, Threads: s.threads})
	return err
}

func (r *runner) close() {
	r.device.Close()
	r.sampler.Close()
	r.model.Close()
}

// measure measures a phase: the prompt, one sequence that goes on from it, or many that begin.
func (r *runner) measure(phase int) (float64, error) {
	if phase == decode {
		return r.time(steps, 1, func(step int) []runtime.Row {
			return []runtime.Row{{Token: 5, Pos: prompt + step, Sampler: r.sampler, Top: -1}}
		})
	}
	for seq := range many {
		if _, err := r.device.Truncate(seq, 0); err != nil {
			return 0, err
		}
	}
	if phase == prefill {
		rows := make([]runtime.Row, prompt)
		for i := range rows {
			rows[i] = runtime.Row{Token: runtime.Token(i % 100), Pos: i, Top: -1}
		}
		rows[prompt-1].Sampler = r.sampler
		return r.time(1, prompt, func(int) []runtime.Row { return rows })
	}
	rows := make([]runtime.Row, many)
	return r.time(steps, many, func(step int) []runtime.Row {
		for seq := range rows {
			rows[seq] = runtime.Row{Token: runtime.Token(7 + seq), Seq: seq, Pos: step, Sampler: r.sampler, Top: -1}
		}
		return rows
	})
}

// time decodes the rows of each step and returns the tokens per second; the first of several is not counted.
func (r *runner) time(steps, tokens int, rows func(step int) []runtime.Row) (float64, error) {
	start, counted := time.Now(), 0
	for step := range steps {
		if _, err := r.device.Decode(rows(step)); err != nil {
			return 0, err
		}
		if step == 0 && steps > 1 {
			start = time.Now()
			continue
		}
		counted += tokens
	}
	return float64(counted) / time.Since(start).Seconds(), nil
}

func write(w *bufio.Writer, p []float32) error { return binary.Write(w, binary.LittleEndian, p) }

func read(r io.Reader, n int) ([]float32, error) {
	p := make([]float32, n)
	return p, binary.Read(r, binary.LittleEndian, p)
}
