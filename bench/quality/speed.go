package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

const (
	prompt = 256 // tokens of a prefill
	steps  = 24  // of a decode measurement
	many   = 16  // sequences of the wide one
)

// racer is a loaded form and its best times.
type racer struct {
	made
	model                *llama.Model
	device               *llama.Device
	prefill, one, sixten float64 // tokens per second
}

// race prints how fast each form runs.
func race(s settings, all []made) error {
	var racers []*racer
	for _, m := range all {
		r := &racer{made: m}
		racers = append(racers, r)
		if err := r.load(s); err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		defer r.close()
	}
	for range s.rounds {
		for _, r := range racers {
			if err := r.lap(); err != nil {
				return fmt.Errorf("%s: %w", r.path, err)
			}
		}
	}
	base := racers[0]
	for _, r := range racers {
		if r.name == "Q4_0" {
			base = r
		}
	}
	fmt.Printf("%s, %d threads: tokens per second, and times those of %s\n", s.speed, s.threads, base.name)
	fmt.Printf("%-14s %8s %8s %16s %16s %16s\n", "", "file", "memory", "decode", fmt.Sprintf("decode x%d", many), "prefill")
	for _, r := range racers {
		f := r.model.Facts()
		column := func(x, of float64) string { return fmt.Sprintf("%8.1f %6.2fx", x, x/of) }
		fmt.Printf("%-14s %8.3f %8.3f %16s %16s %16s\n", r.name, f.BitsPerWeight, f.ResidentBits, column(r.one, base.one), column(r.sixten, base.sixten),
			column(r.prefill, base.prefill))
	}
	return nil
}

func (r *racer) load(s settings) (err error) {
	if r.model, err = llama.Load(llama.Options{Path: r.path}); err != nil {
		return err
	}
	r.device, err = llama.NewDevice(r.model, llama.DeviceOptions{Sequences: many, Cells: 2048, Batch: prompt, UBatch: prompt, Threads: s.threads})
	return err
}

func (r *racer) close() {
	r.device.Close()
	r.model.Close()
}

// lap measures once and keeps what was faster than before.
func (r *racer) lap() error {
	sampler, err := r.model.NewSampler(runtime.Sampling{IgnoreEOS: true}, nil)
	if err != nil {
		return err
	}
	defer sampler.Close()
	for seq := range many {
		if _, err := r.device.Forget(seq, 0); err != nil {
			return err
		}
	}
	rows := make([]runtime.Row, prompt)
	for i := range rows {
		rows[i] = runtime.Row{Token: runtime.Token(i % 100), Pos: i, Top: -1}
	}
	rows[prompt-1].Sampler = sampler
	rate, err := r.time(1, prompt, func(int) []runtime.Row { return rows })
	if err != nil {
		return err
	}
	r.prefill = max(r.prefill, rate)
	if rate, err = r.time(steps, 1, func(step int) []runtime.Row {
		return []runtime.Row{{Token: 5, Pos: prompt + step, Sampler: sampler, Top: -1}}
	}); err != nil {
		return err
	}
	r.one = max(r.one, rate)
	if _, err := r.device.Forget(0, 0); err != nil {
		return err
	}
	wide := make([]runtime.Row, many)
	rate, err = r.time(steps, many, func(step int) []runtime.Row {
		for seq := range wide {
			wide[seq] = runtime.Row{Token: runtime.Token(7 + seq), Seq: seq, Pos: step, Sampler: sampler, Top: -1}
		}
		return wide
	})
	r.sixten = max(r.sixten, rate)
	return err
}

// time decodes the rows of each step and returns the tokens per second; the first of several is not counted.
func (r *racer) time(steps, tokens int, rows func(step int) []runtime.Row) (float64, error) {
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
