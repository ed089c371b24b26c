// Command demosets trains the demo's four adapter sets on a running server and marks the adapters on questions
// that they have not seen. The product's default settings were chosen by its table:
//
//	style  answers in the adapter's style
//	facts  answers in the style that are also right
//	base   questions that the bare base answers rightly, in its own style
//	kept   of those, the ones that the adapter answers rightly
//
//	lorikeet serve &
//	go run ./bench/demosets [-set learning_rate=0.001 -set num_train_epochs=4]
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

type bench struct {
	url      string
	data     string
	settings map[string]any
}

func main() {
	b := bench{settings: map[string]any{}}
	flag.StringVar(&b.url, "url", "http://127.0.0.1:8080", "the server")
	flag.StringVar(&b.data, "data", "demo/data", "the sets")
	kinds := flag.String("sets", "pirate,json,support,shout", "which of them")
	flag.Func("set", "a hyperparameter, name=value; repeatable", func(s string) error {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("want name=value")
		}
		b.settings[name] = json.RawMessage(value)
		return nil
	})
	flag.Parse()
	fmt.Printf("%-8s %8s %9s %9s %9s %9s %8s\n", "set", "seconds", "style", "facts", "base", "kept", "loss")
	for _, kind := range strings.Split(*kinds, ",") {
		if err := b.measure(kind); err != nil {
			fmt.Fprintf(os.Stderr, "bench/demosets: %s: %v\n", kind, err)
			os.Exit(1)
		}
	}
}

// question is a line of an evaluation set.
type question struct {
	Messages []message `json:"messages"`
	Key      string    `json:"key"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

func (b *bench) measure(kind string) error {
	name := "demosets-" + kind
	begin := time.Now()
	loss, err := b.train(kind, name)
	if err != nil {
		return err
	}
	took := time.Since(begin)
	questions, err := read[question](filepath.Join(b.data, kind+".eval.jsonl"))
	if err != nil {
		return err
	}
	var styled, facts, base, kept int
	for _, q := range questions {
		asked := q.Messages[:len(q.Messages)-1]
		plain, err := b.ask(nil, asked)
		if err != nil {
			return err
		}
		answer, err := b.ask(name, asked)
		if err != nil {
			return err
		}
		s, fact := mark(kind, answer, q.Key)
		known := contains(normal(plain), normal(q.Key))
		styled, facts = styled+count(s), facts+count(s && fact)
		base, kept = base+count(known), kept+count(known && fact)
	}
	n := len(questions)
	of := func(a, b int) string { return fmt.Sprintf("%d/%d", a, b) }
	fmt.Printf("%-8s %8.1f %9s %9s %9s %9s %8.3f\n", kind, took.Seconds(), of(styled, n), of(facts, n), of(base, n), of(kept, base), loss)
	return nil
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// train posts a set, waits for the job's end, and returns its last loss.
func (b *bench) train(kind, name string) (loss float64, err error) {
	examples, err := read[json.RawMessage](filepath.Join(b.data, kind+".jsonl"))
	if err != nil {
		return 0, err
	}
	body := map[string]any{"name": name, "examples": examples}
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
		time.Sleep(200 * time.Millisecond)
		resp, err := http.Get(b.url + "/adapters/train/" + job.ID)
		if err := decode(resp, err, &job); err != nil {
			return 0, err
		}
	}
	return job.Progress.Loss, nil
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

func (b *bench) post(path string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	resp, err := http.Post(b.url+path, "application/json", bytes.NewReader(raw))
	return decode(resp, err, into)
}

func decode(resp *http.Response, err error, into any) error {
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s: %s", resp.Status, raw)
	}
	return json.Unmarshal(raw, into)
}

// read decodes a file with a JSON value on each line.
func read[T any](path string) (list []T, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, v)
	}
	return list, lines.Err()
}
