package main

import (
	"fmt"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/load"
	"github.com/lorikeet-ai/lorikeet/bench/record"
)

// report collects the times of all measurements.
type report struct {
	settings settings
	times    map[cell][]time.Duration
}

// cell names what was measured: one of "decode", "prompts" and "place".
type cell struct {
	model     string
	sequences int
	adapters  string
	what      string
}

// line is one result as it is kept.
type line struct {
	Bench     string  `json:"bench"`
	Device    string  `json:"device"` // "": the CPU, or the first GPU where there are layers for it
	Layers    int     `json:"gpu_layers"`
	Shape     string  `json:"shape"`
	Model     string  `json:"model"`
	Sequences int     `json:"sequences"`
	Adapters  string  `json:"adapters"`
	DecodeMS  float64 `json:"decode_ms"`
	PerSecond float64 `json:"tokens_per_second"`
	PromptsMS float64 `json:"prompts_ms"`
	PlaceMS   float64 `json:"place_ms,omitempty"` // what placing an adapter adds to a decode
}

func newReport(s settings) *report {
	return &report{settings: s, times: map[cell][]time.Duration{}}
}

func (r *report) add(model string, n int, mode, what string, took time.Duration) {
	c := cell{model, n, mode, what}
	r.times[c] = append(r.times[c], took)
}

// ms returns the median in milliseconds; 0 of what was not measured.
func (r *report) ms(model string, n int, mode, what string) float64 {
	return float64(load.Quantile(r.times[cell{model, n, mode, what}], .5)) / 1e6
}

func (r *report) keep(model string, n int, mode string) error {
	decode := r.ms(model, n, mode, "decode")
	return record.Append(r.settings.json, line{
		Bench: "step", Device: r.settings.device, Layers: r.settings.layers, Shape: r.settings.shape,
		Model: model, Sequences: n, Adapters: mode, DecodeMS: decode, PerSecond: float64(n) / decode * 1e3,
		PromptsMS: r.ms(model, n, mode, "prompts"), PlaceMS: r.ms(model, n, mode, "place"),
	})
}

// print writes the table: the times of each mode, and of a mode with adapters also the speed beside none.
func (r *report) print() {
	fmt.Printf("%-7s %9s  %-9s %12s %12s %8s %12s %8s %12s\n", "base", "sequences", "adapters", "decode", "tokens/s", "of none", "prompts", "of none", "placing one")
	for _, n := range r.settings.widths {
		for _, model := range r.settings.models {
			for _, mode := range r.settings.modes {
				fmt.Printf("%-7s %9d  %-9s", model, n, mode)
				decode := r.ms(model, n, mode, "decode")
				fmt.Printf(" %9.2f ms %12.1f %8s", decode, float64(n)/decode*1e3, r.ofNone(model, n, mode, "decode"))
				fmt.Printf(" %9.2f ms %8s", r.ms(model, n, mode, "prompts"), r.ofNone(model, n, mode, "prompts"))
				if mode == "different" {
					fmt.Printf(" %9.2f ms", r.ms(model, n, mode, "place"))
				}
				fmt.Println()
			}
		}
	}
}

// ofNone returns the speed beside that without adapters.
func (r *report) ofNone(model string, n int, mode, what string) string {
	none := r.ms(model, n, "none", what)
	if mode == "none" || none == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", none/r.ms(model, n, mode, what))
}
