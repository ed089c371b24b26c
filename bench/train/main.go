// Command train measures training on the CPU: tokens per second and peak memory of one optimizer step after
// another, of a random model, with the activations of all layers kept and of none, beside LoRA in PyTorch.
//
//	go run ./bench/train
//	go run ./bench/train -model 8b.gguf -backend bin/lib/libggml-cuda-v0.17.4.so -gpu-layers -1 -tokens 2048
//
// Every row is a process of its own, so that its peak memory is its own. PyTorch's rows, and what we are beside
// them, appear where a python3 with torch is found (Debian: python3-torch and libopenblas0-pthread). To reach beside
// bfloat16: 1.5x its speed at less than half its memory, either way. With -model it measures one loaded model instead, on a
// GPU where -gpu-layers says so.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
)

// setting is what all rows share.
type setting struct {
	Embedding, Layers, Heads, KVHeads, HeadSize, FeedForward, Vocab int
	Tokens, Rank, Threads, Steps                                    int
}

// row is one measurement to make.
type row struct {
	setting
	Kind string // of the weights
	Kept bool   // the activations of all layers are kept
}

// measurement is what a row gave.
type measurement struct {
	Seconds    []float64 `json:"seconds"`     // of the steps, the fastest first
	CPUSeconds []float64 `json:"cpu_seconds"` // the same on all cores
	PeakRSS    int64     `json:"peak_rss_bytes"`
	WorstSlice float64   `json:"worst_slice_seconds"`
}

func main() {
	log.SetFlags(0)
	s := setting{Embedding: 1024, Layers: 24, Heads: 16, KVHeads: 4, HeadSize: 64, FeedForward: 3072, Vocab: 32000}
	flag.IntVar(&s.Tokens, "tokens", 512, "tokens in a step")
	flag.IntVar(&s.Rank, "rank", 16, "LoRA rank, on all seven linear layers")
	flag.IntVar(&s.Threads, "threads", goruntime.NumCPU(), "threads")
	flag.IntVar(&s.Steps, "steps", 3, "steps to measure, after one that is not")
	flag.IntVar(&s.Layers, "layers", s.Layers, "layers of the model")
	kinds := flag.String("kinds", "Q4_0,NF4", "weight types to train on")
	peers := flag.Bool("peers", true, "measure PyTorch too")
	var l loaded
	flag.StringVar(&l.path, "model", "", "measure this model file alone")
	flag.StringVar(&l.backend, "backend", "", "-model: a library with a back end of ggml")
	flag.StringVar(&l.device, "device", "", "-model: the device that computes -gpu-layers; by default the first GPU")
	flag.IntVar(&l.layers, "gpu-layers", 0, "-model: layers that the device computes; -1: all")
	flag.StringVar(&l.json, "json", "", "-model: a file to add the result to, as a line of JSON")
	one := flag.String("row", "", "measure this row (JSON) and print it: what the command runs for every row")
	flag.Parse()
	if *one != "" {
		var r row
		if err := json.Unmarshal([]byte(*one), &r); err != nil {
			log.Fatal(err)
		}
		m, err := measure(r)
		if err != nil {
			log.Fatal(err)
		}
		if err := json.NewEncoder(os.Stdout).Encode(m); err != nil {
			log.Fatal(err)
		}
		return
	}
	if l.path != "" {
		if err := l.run(s); err != nil {
			log.Fatal(err)
		}
		return
	}
	if err := table(s, strings.Split(*kinds, ","), *peers); err != nil {
		log.Fatal(err)
	}
}

func table(s setting, kinds []string, peers bool) error {
	weights := s.Layers * (2*s.Embedding*s.Heads*s.HeadSize + 2*s.Embedding*s.KVHeads*s.HeadSize + 3*s.Embedding*s.FeedForward)
	fmt.Printf("%.2fB weights and %d words, rank %d on 7 linear layers, %d tokens a step, %d threads, best of %d steps\n\n",
		float64(weights)/1e9, s.Vocab, s.Rank, s.Tokens, s.Threads, s.Steps)
	fmt.Printf("%-28s %12s %16s %10s %12s\n", "", "tokens/s", "tokens/CPU-s", "peak MB", "worst slice")
	for _, kept := range []bool{true, false} {
		fmt.Println(map[bool]string{true: "activations kept", false: "activations computed again"}[kept])
		ours := map[string]measurement{}
		for _, kind := range kinds {
			m, err := child(row{s, kind, kept})
			if err != nil {
				return err
			}
			m.print(s, "  lorikeet "+kind)
			ours[kind] = m
		}
		for _, dtype := range []string{"bfloat16", "float32"} {
			if !peers {
				continue
			}
			m, err := torch(s, dtype, kept)
			if errors.Is(err, errNoTorch) {
				fmt.Println("  (no python3 with torch here)")
				break
			}
			if err != nil {
				return err
			}
			m.print(s, "  PyTorch "+dtype)
			for _, kind := range kinds {
				fmt.Printf("    lorikeet %-8s %5.2fx its speed at %.2fx its memory\n", kind, m.Seconds[0]/ours[kind].Seconds[0], float64(ours[kind].PeakRSS)/float64(m.PeakRSS))
			}
		}
	}
	return nil
}

func (m measurement) print(s setting, name string) {
	slice := ""
	if m.WorstSlice > 0 {
		slice = fmt.Sprintf("%.0f ms", m.WorstSlice*1e3)
	}
	fmt.Printf("%-28s %12.1f %16.1f %10.0f %12s\n", name, float64(s.Tokens)/m.Seconds[0], float64(s.Tokens)/m.CPUSeconds[0], float64(m.PeakRSS)/1e6, slice)
}

// child measures a row in a process of its own.
func child(r row) (measurement, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return measurement{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return measurement{}, err
	}
	return decode(exec.Command(self, "-row", string(text)))
}

func decode(c *exec.Cmd) (m measurement, err error) {
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return m, fmt.Errorf("%s: %w", c.Path, err)
	}
	return m, json.Unmarshal(out, &m)
}

var errNoTorch = errors.New("no python3 with torch")

// torch measures the peer script.
func torch(s setting, dtype string, kept bool) (measurement, error) {
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(python, "-c", "import torch").Run() != nil {
			continue
		}
		args := []string{"bench/peers/torch_lora.py", "--dtype", dtype}
		for name, value := range map[string]int{
			"embedding": s.Embedding, "layers": s.Layers, "heads": s.Heads, "kv-heads": s.KVHeads, "head-size": s.HeadSize,
			"feed-forward": s.FeedForward, "vocab": s.Vocab, "tokens": s.Tokens, "rank": s.Rank, "threads": s.Threads, "steps": s.Steps,
		} {
			args = append(args, fmt.Sprintf("--%s=%d", name, value))
		}
		if !kept {
			args = append(args, "--checkpoint")
		}
		return decode(exec.Command(python, args...))
	}
	return measurement{}, errNoTorch
}
