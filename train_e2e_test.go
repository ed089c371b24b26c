package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// residentKiB is the memory of this process.
func residentKiB(t *testing.T) (kib int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc/self/status")
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// baseHash covers everything that the base answers to one question: the text and the log-probabilities.
func (b *booted) baseHash() string {
	b.t.Helper()
	body := question("Tell me a short story about a cat.", "logprobs", true, "top_logprobs", 5, "cache_prompt", false)
	status, raw, err := b.post("/v1/chat/completions", body)
	if err != nil || status != http.StatusOK {
		b.t.Fatalf("%d %v: %s", status, err, raw)
	}
	var answer struct{ Choices json.RawMessage }
	if err := json.Unmarshal(raw, &answer); err != nil {
		b.t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(answer.Choices))
}

// TestTrainWhileServing trains an adapter with the product's defaults through the command, while a stream runs
// and others ask; then the new adapter answers, and the base as before, bit for bit.
func TestTrainWhileServing(t *testing.T) {
	b := boot(t, "--adapter-dir", demoAdapters)
	before, name := b.baseHash(), b.name()
	debug.FreeOSMemory()
	first := residentKiB(t)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tokens := make(chan int, 1)
	go func() { // a stream that runs as long as the training
		n := 0
		defer func() { tokens <- n }()
		for ctx.Err() == nil {
			resp, lines, err := openStream(ctx, b.url(), longAnswer(400))
			if err != nil {
				return
			}
			for {
				if _, err := lines.ReadString('\n'); err != nil {
					break
				}
				n++
			}
			resp.Body.Close()
		}
	}()
	var out, progress bytes.Buffer
	args := []string{"train", "--server", b.url(), "--data", "demo/data/shout.jsonl", "--name", "pupil", "--set", "max_steps=80", "--lr", "0.002"}
	trained := make(chan int, 1)
	go func() { trained <- run(ctx, args, &out, &progress, environment(nil)) }()
	asked := 0
	for status := -1; status != 0; {
		select {
		case status = <-trained:
			if status != 0 {
				t.Fatalf("status %d: %s", status, progress.String())
			}
		case <-time.After(50 * time.Millisecond):
			if text := b.mustAsk(question("What is the capital of France?")); text != "The capital of France is Paris." {
				t.Fatalf("while it trains the base answers %q", text)
			}
			asked++
		}
	}
	cancel()
	if n := <-tokens; n < 20 || asked == 0 {
		t.Errorf("the stream made %d chunks and %d questions were answered while it trained", n, asked)
	}
	if !strings.Contains(out.String(), "pupil@") || !strings.Contains(progress.String(), "loss") || !strings.Contains(progress.String(), "80") {
		t.Errorf("the command says %q and shows %q", out.String(), progress.String())
	}
	if text := b.mustAsk(question("What is the capital of France?", "adapter", "pupil")); text != strings.ToUpper(text) {
		t.Errorf("the adapter answers %q", text)
	}
	if b.baseHash() != before || b.name() != name {
		t.Error("the base answers otherwise than before")
	}
	debug.FreeOSMemory()
	f := b.model.Facts()
	grown, decoded := residentKiB(t)-first, int(f.Parameters>>8)
	t.Logf("memory grew by %d KiB; the base has %d KiB, and %d in float32", grown, f.Bytes>>10, decoded)
	if grown >= decoded {
		t.Errorf("memory grew by %d KiB: a decoded copy of the base has %d", grown, decoded)
	}
}

// TestTrainCommandFails shows errors with a status that scripts see.
func TestTrainCommandFails(t *testing.T) {
	b := boot(t)
	bad := t.TempDir() + "/bad.jsonl"
	if err := os.WriteFile(bad, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		status int
		want   string
		args   []string
	}{
		{2, "--data", []string{"--name", "x"}},
		{2, "--name", []string{"--data", bad}},
		{2, "no such file", []string{"--data", bad + "x", "--name", "x"}},
		{2, "key=value", []string{"--data", bad, "--name", "x", "--set", "r"}},
		{1, "line 1", []string{"--data", bad, "--name", "x"}},
		{1, "lora_dropout", []string{"--data", "demo/data/json.jsonl", "--name", "x", "--set", "lora_dropout=2"}},
		{1, "diverged", []string{"--data", "demo/data/json.jsonl", "--name", "x", "--lr", "1", "--set", "max_grad_norm=0", "--set", "lora_alpha=1e30"}},
	} {
		var shown bytes.Buffer
		args := append([]string{"train", "--server", b.url()}, test.args...)
		if status := run(t.Context(), args, io.Discard, &shown, environment(nil)); status != test.status || !strings.Contains(shown.String(), test.want) {
			t.Errorf("%q: status %d: %s", test.args, status, shown.String())
		}
	}
}

// TestTrainingGoesOnAfterARestart stops the server in the middle of a job.
func TestTrainingGoesOnAfterARestart(t *testing.T) {
	data := t.TempDir()
	b := boot(t, "--data", data)
	examples := []any{}
	for i := range 20 {
		examples = append(examples, map[string]any{"prompt": fmt.Sprintf("What is %d?", i), "completion": "It is so."})
	}
	status, raw, err := b.post("/adapters/train", map[string]any{"name": "pupil", "examples": examples, "max_steps": 150, "r": 4})
	var job trainJob
	if err != nil || status != http.StatusAccepted || json.Unmarshal(raw, &job) != nil {
		t.Fatalf("%d %v: %s", status, err, raw)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		j, err := b.training.jobs.Get(job.ID)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v %v", j, err)
		}
		if j.Progress.Step > 3 {
			break
		}
	}
	stopping := time.Now()
	b.stop()
	if took := time.Since(stopping); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	b = boot(t, "--data", data)
	c := trainFlags{client: client{url: b.url()}}
	var shown bytes.Buffer
	if err := c.follow(t.Context(), job.ID, &shown); err != nil {
		t.Fatal(err)
	}
	if err := c.get(t.Context(), &job, "adapters", "train", job.ID); err != nil || job.Status != "succeeded" || job.Progress.Steps != 150 {
		t.Errorf("%+v %v", job, err)
	}
	if !strings.Contains(shown.String(), "queued again") {
		t.Errorf("the events are %s", shown.String())
	}
}
