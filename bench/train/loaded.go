package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/record"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
)

// loaded says how a model file is trained.
type loaded struct {
	path, backend, device string
	layers                int // that the device computes; -1: all
	json                  string
}

// line is what training a loaded model gave.
type line struct {
	Bench     string    `json:"bench"`
	Model     string    `json:"model"`
	Device    string    `json:"device"` // "": the CPU, or the first GPU where there are layers for it
	Layers    int       `json:"gpu_layers"`
	Tokens    int       `json:"tokens"`
	Rank      int       `json:"rank"`
	Seconds   []float64 `json:"seconds"` // of the steps, the fastest first
	PerSecond float64   `json:"tokens_per_second"`
	PeakRSS   int64     `json:"peak_rss_bytes"`
	OnDevice  int64     `json:"device_bytes"` // that the device has less than before the model was loaded, after the last step
	Worst     float64   `json:"worst_slice_seconds"`
}

// run trains the model for some steps, with adapters on all seven linear layers.
func (l loaded) run(s setting) error {
	if l.backend != "" {
		if err := llama.LoadBackend(l.backend); err != nil {
			return err
		}
	}
	before := l.free()
	model, err := llama.Load(llama.Options{Path: l.path, Device: l.device, GPULayers: l.layers})
	if err != nil {
		return err
	}
	defer model.Close()
	w, err := model.Weights()
	if err != nil {
		return err
	}
	weights, err := qlora.OfLlama(w.Llama, w.PackedOf, w.Context, w.Release)
	if err != nil {
		w.Release()
		return err
	}
	defer weights.Close()
	facts := model.Facts()
	spec := runtime.TrainSpec{MaxTokens: s.Tokens, Seed: 1}
	for layer := range facts.Layers {
		for _, linear := range qlora.Linears {
			spec.Modules = append(spec.Modules, runtime.TrainModule{Tensor: fmt.Sprintf("blk.%d.%s.weight", layer, linear), Rank: s.Rank, Scale: 2})
		}
	}
	trainer, err := qlora.New(weights, spec, qlora.Options{Threads: s.Threads})
	if err != nil {
		return err
	}
	defer trainer.Close()
	s.Vocab = facts.VocabSize
	batch := randomBatch(row{setting: s})
	out := line{Bench: "train", Model: filepath.Base(l.path), Device: l.device, Layers: l.layers, Tokens: s.Tokens, Rank: s.Rank}
	var m measurement
	for i := range s.Steps + 1 {
		begin := time.Now()
		if err := step(trainer, batch, &m); err != nil {
			return err
		}
		if i == 0 { // the first one touches the memory
			m.WorstSlice = 0
			continue
		}
		out.Seconds = append(out.Seconds, time.Since(begin).Seconds())
	}
	slices.Sort(out.Seconds)
	out.PerSecond, out.Worst, out.OnDevice = float64(s.Tokens)/out.Seconds[len(out.Seconds)/2], m.WorstSlice, before-l.free()
	if out.PeakRSS, err = peak(); err != nil {
		return err
	}
	fmt.Printf("%s, rank %d, %d tokens a step, median of %d steps\n", out.Model, s.Rank, s.Tokens, s.Steps)
	fmt.Printf("%12s %14s %16s %12s\n", "tokens/s", "peak MB", "on the device", "worst slice")
	fmt.Printf("%12.1f %14.0f %13.0f MB %9.0f ms\n", out.PerSecond, float64(out.PeakRSS)/1e6, float64(out.OnDevice)/1e6, out.Worst*1e3)
	return record.Append(l.json, out)
}

// free returns the free memory of the device; 0 where the CPU computes all.
func (l loaded) free() int64 {
	for _, d := range llama.Devices() {
		if l.layers != 0 && (d.Name == l.device || l.device == "" && d.Type == llama.GPU) {
			return d.Free
		}
	}
	return 0
}
