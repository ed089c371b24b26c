// Command quality sets the weight types side by side: what each costs in bits, what it does to the weights and to
// the model's answers, and how fast it runs.
//
//	go run ./bench/quality                       # the demo base, and the speed of a random 0.45B model
//	go run ./bench/quality -model m-f16.gguf -text held-out.txt
//
// Every type is made from the same F16 file. Its columns:
//
//	bits       of a weight, over all tensors of the file; and over the linear layers alone
//	RMSE       of the linear layers' weights, relative to their root mean square
//	KL         of the next token's distribution from the F16 model's, the mean over the held-out text, in nats
//	top-1      positions at which the most likely token is the F16 model's
//	ppl        perplexity on the text
//	decode     tokens per second of one sequence, and of 16 at once
//	prefill    tokens per second of a prompt
//
// Logits are those of runtime/llama, as it serves. Speeds are medians over rounds in which the types take turns phase by
// phase, and so are their ratios to Q4_0's in the same round: on a shared machine trust these. With its defaults all of
// it takes a few minutes on 2 cores. Run it in a shell with the C flags: eval "$(make -s env)".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/bench/randmodel"
)

// settings are the command's flags.
type settings struct {
	model, text, speed, dir string
	only                    []string
	tokens, threads, rounds int
}

func main() {
	s, err := parse(os.Args[1:])
	if err == nil {
		err = run(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/quality:", err)
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	var s settings
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	fs := flag.NewFlagSet("quality", flag.ExitOnError)
	fs.StringVar(&s.model, "model", "demo/demo-base.f16.gguf", "the model, F16, BF16 or F32")
	fs.StringVar(&s.text, "text", "demo/eval.jsonl", "held-out text: plain, or JSON lines with messages")
	fs.StringVar(&s.speed, "speed", "", `the model whose speed is measured; "": a random one of 0.45B, "-": none`)
	fs.StringVar(&s.dir, "dir", filepath.Join(cache, "lorikeet-bench", "quality"), "where models are made and kept (4 GB)")
	only := fs.String("types", "", "which types, by commas; \"\": all")
	fs.IntVar(&s.tokens, "tokens", 8192, "tokens of text at most")
	fs.IntVar(&s.threads, "threads", goruntime.NumCPU(), "compute threads")
	fs.IntVar(&s.rounds, "rounds", 7, "rounds of the speed measurement")
	if err := fs.Parse(args); err != nil {
		return s, err
	}
	if *only != "" {
		s.only = strings.Split(*only, ",")
	}
	for _, name := range s.only {
		if !slices.ContainsFunc(forms, func(f form) bool { return f.name == name }) {
			return s, fmt.Errorf("-types: there is no %q", name)
		}
	}
	return s, os.MkdirAll(s.dir, 0o755)
}

func run(s settings) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	scratch, err := os.MkdirTemp(s.dir, "model-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	made, err := makeAll(ctx, s, s.model, scratch)
	if err != nil {
		return err
	}
	if err := evaluate(s, made); err != nil {
		return err
	}
	if s.speed == "-" {
		return nil
	}
	kept := filepath.Join(s.dir, "speed")
	if s.speed == "" {
		if s.speed, err = random(kept); err != nil {
			return err
		}
	} else {
		kept = filepath.Join(scratch, "speed")
	}
	if made, err = makeAll(ctx, s, s.speed, kept); err != nil {
		return err
	}
	return compareSpeeds(s, made)
}

// random returns the F16 file of a random model, made once.
func random(dir string) (string, error) {
	path := filepath.Join(dir, "random-f16.gguf")
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return path, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	fmt.Fprintln(os.Stderr, "making a random 0.45B model, once")
	partial := path + ".partial"
	if err := randmodel.WriteModel(partial, randmodel.Half, 1); err != nil {
		return "", err
	}
	return path, os.Rename(partial, path)
}
