// Command demosets trains the demo's four adapter sets on a running server and marks the adapters on questions
// that they have not seen. The product's default settings were chosen by its table:
//
//	style    answers in the adapter's style
//	facts    answers in the style that are also right
//	base     questions that the bare base answers rightly, in its own style
//	kept     of those, the ones that the adapter answers rightly
//	new      the same, of the facts that the set does not tell in other words either
//	seconds  from the job's creation to the adapter
//
// To reach: style at least 90 %, kept at least 60 %, under 60 seconds on 2 cores.
//
//	bin/lorikeet must be built (make build)
//	go run ./bench/demosets [-seeds 42,43,44] [-set learning_rate=0.001 -set num_train_epochs=4] [-answers]
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/process"
)

type bench struct {
	client
	data     string
	settings map[string]any
	answers  bool
}

func main() {
	b := bench{settings: map[string]any{}}
	binary := flag.String("lorikeet", "bin/lorikeet", "the server; it serves the embedded base, or -model")
	model := flag.String("model", "", "GGUF to serve instead")
	flag.StringVar(&b.data, "data", "demo/data", "the sets")
	flag.BoolVar(&b.answers, "answers", false, "print every answer")
	kinds := flag.String("sets", "pirate,json,support,shout", "which of them")
	seeds := flag.String("seeds", "42", "a run with each of these seeds")
	flag.Func("set", "a hyperparameter, name=value; repeatable", func(s string) error {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("want name=value")
		}
		b.settings[name] = json.RawMessage(value)
		return nil
	})
	flag.Parse()
	if err := b.run(*binary, *model, strings.Split(*kinds, ","), strings.Split(*seeds, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench/demosets:", err)
		os.Exit(1)
	}
}

// run starts a server and prints the table.
func (b *bench) run(binary, model string, kinds, seeds []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "lorikeet-demosets-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := process.Start(ctx, binary, filepath.Join(dir, "log"), "--data", filepath.Join(dir, "store"), "--model", model)
	if err != nil {
		return err
	}
	defer func() { _ = server.Stop() }()
	b.url = server.URL
	fmt.Printf("%-8s %5s %8s %9s %9s %9s %14s %9s %8s\n", "set", "seed", "seconds", "style", "facts", "base", "kept", "new", "loss")
	for _, kind := range kinds {
		if err := b.measure(kind, seeds); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

// question is a line of an evaluation set.
type question struct {
	Messages []message `json:"messages"`
	Key      string    `json:"key"`
	Told     bool      `json:"told"` // the set has the fact, asked for in other words
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// measure trains a set with every seed and prints a line for each.
func (b *bench) measure(kind string, seeds []string) error {
	questions, err := read[question](filepath.Join(b.data, kind+".eval.jsonl"))
	if err != nil {
		return err
	}
	plain, err := b.askAll(nil, questions)
	if err != nil {
		return err
	}
	for _, seed := range seeds {
		name, begin := "demosets-"+kind, time.Now()
		loss, err := b.train(kind, name, seed)
		if err != nil {
			return err
		}
		took := time.Since(begin)
		answers, err := b.askAll(name, questions)
		if err != nil {
			return err
		}
		var styled, facts, base, kept, unseen, fresh int
		for i, q := range questions {
			s, fact := mark(kind, answers[i], q.Key)
			known := contains(normal(plain[i]), normal(q.Key))
			styled, facts = styled+count(s), facts+count(s && fact)
			base, kept = base+count(known), kept+count(known && fact)
			unseen, fresh = unseen+count(known && !q.Told), fresh+count(known && !q.Told && fact)
			if b.answers {
				fmt.Printf("  %s %s %s  %-50s %-60q %q\n", flagged(s, "style"), flagged(fact, "fact"), flagged(known, "base"), q.Messages[0].Content, answers[i], plain[i])
			}
		}
		n := len(questions)
		of := func(a, b int) string { return fmt.Sprintf("%d/%d", a, b) }
		fmt.Printf("%-8s %5s %8.1f %9s %9s %9s %9s %3.0f%% %9s %8.3f\n", kind, seed, took.Seconds(), of(styled, n), of(facts, n), of(base, n),
			of(kept, base), 100*float64(kept)/float64(max(base, 1)), of(fresh, unseen), loss)
	}
	return nil
}

func flagged(b bool, word string) string {
	if b {
		return word
	}
	return strings.Repeat("-", len(word))
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// train posts a set, waits for the job's end, and returns its last loss.
func (b *bench) train(kind, name, seed string) (loss float64, err error) {
	examples, err := read[json.RawMessage](filepath.Join(b.data, kind+".jsonl"))
	if err != nil {
		return 0, err
	}
	body := map[string]any{"name": name, "examples": examples, "seed": json.RawMessage(seed)}
	for k, v := range b.settings {
		body[k] = v
	}
	var job struct {
		ID       string
		Status   string
		Error    any
		Progress struct{ Loss float64 }
	}
	if err := b.post("/adapters/train", body, &job); err != nil {
		return 0, err
	}
	for job.Status != "succeeded" {
		if job.Status == "failed" || job.Status == "cancelled" {
			return 0, fmt.Errorf("the job %s: %v", job.Status, job.Error)
		}
		time.Sleep(100 * time.Millisecond)
		if err := b.get("/adapters/train/"+job.ID, &job); err != nil {
			return 0, err
		}
	}
	return job.Progress.Loss, nil
}

// askAll asks every question, eight at a time.
func (b *bench) askAll(adapter any, questions []question) ([]string, error) {
	answers, errs := make([]string, len(questions)), make([]error, len(questions))
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i, q := range questions {
		all.Add(1)
		slots <- struct{}{}
		go func() {
			defer all.Done()
			answers[i], errs[i] = b.ask(adapter, q.Messages[:len(q.Messages)-1])
			<-slots
		}()
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

func (b *bench) ask(adapter any, messages []message) (string, error) {
	var answer struct {
		Choices []struct{ Message message }
	}
	err := b.post("/v1/chat/completions", map[string]any{
		"adapter": adapter, "messages": messages, "temperature": 0, "max_tokens": 80}, &answer)
	if err != nil || len(answer.Choices) != 1 {
		return "", fmt.Errorf("%d answers: %w", len(answer.Choices), err)
	}
	return answer.Choices[0].Message.Content, nil
}
