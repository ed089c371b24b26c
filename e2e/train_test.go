package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"
)

// residentKiB is the memory of the server.
func (p *process) residentKiB(t testing.TB) (kib int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Skip("there is no /proc")
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// smallHeap has Go's runtime give memory back soon, for tests that hold the server's memory to a bound.
var smallHeap = map[string]string{"GOMEMLIMIT": "24MiB"}

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
	b := bootWith(t, smallHeap, "--adapter-dir", demoAdapters)
	before, name := b.baseHash(), b.name()
	first := b.residentKiB(t)

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
	var out, progress string
	trained := make(chan int, 1)
	go func() {
		var status int
		status, out, progress = command(t, nil, "train", "--server", b.url(), "--data", "demo/data/shout.jsonl", "--name", "pupil", "--set", "max_steps=80", "--lr", "0.002")
		trained <- status
	}()
	asked := 0
	for status := -1; status != 0; {
		select {
		case status = <-trained:
			if status != 0 {
				t.Fatalf("status %d: %s", status, progress)
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
	if !strings.Contains(out, "pupil@") || !strings.Contains(progress, "\nstep 80 of 80: loss ") || !plainLines(progress) {
		t.Errorf("the command says %q and shows %q", out, progress)
	}
	if text := b.mustAsk(question("What is the capital of France?", "adapter", "pupil")); text != strings.ToUpper(text) {
		t.Errorf("the adapter answers %q", text)
	}
	if b.baseHash() != before || b.name() != name {
		t.Error("the base answers otherwise than before")
	}
	f := b.facts()
	grown, decoded := b.residentKiB(t)-first, int(f.Parameters>>8)
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
		args := append([]string{"train", "--server", b.url()}, test.args...)
		if status, _, shown := command(t, nil, args...); status != test.status || !strings.Contains(shown, test.want) {
			t.Errorf("%q: status %d: %s", test.args, status, shown)
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
	var job openapi.TrainingJob
	if err != nil || status != http.StatusAccepted || json.Unmarshal(raw, &job) != nil {
		t.Fatalf("%d %v: %s", status, err, raw)
	}
	until(t, b.url(), job.Id, func(j *taught) bool { return j.Progress.Step > 3 })
	stopping := time.Now()
	b.stop()
	if took := time.Since(stopping); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	b = boot(t, "--data", data)
	resp, err := http.Get(b.url() + "/adapters/train/" + job.Id + "/events") // which ends with the job
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	events, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(events), "queued again") {
		t.Errorf("%v: the events are %s", err, events)
	}
	if b.get("/adapters/train/"+job.Id, &job); job.Status != "succeeded" || job.Progress.Steps != 150 {
		t.Errorf("%+v", job)
	}
}
