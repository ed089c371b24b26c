package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// demoPrompts are the questions of one of the demo's sets of answers in JSON, each under a system prompt that asks for JSON
// in words that the base was not trained on, with the answer beside it.
func demoPrompts(t *testing.T, file string, n int) (lines []any) {
	t.Helper()
	f, err := os.Open(filepath.Join("demo", "data", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan() && len(lines) < n; {
		var line struct {
			Messages []struct{ Role, Content string }
		}
		var answer struct{ Answer string }
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(line.Messages[1].Content), &answer); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, map[string]any{"answer": answer.Answer, "messages": []any{
			map[string]any{"role": "system", "content": "Answer as JSON."},
			map[string]any{"role": "user", "content": line.Messages[0].Content},
		}})
	}
	return lines
}

// chatting has four clients ask the same questions over and over, until stop, and counts answers that are not those from
// before it began.
type chatting struct {
	done         sync.WaitGroup
	stop         chan struct{}
	asked, wrong atomic.Int64
}

func startChatting(t *testing.T, b *booted) *chatting {
	t.Helper()
	c := &chatting{stop: make(chan struct{})}
	for client := range 4 {
		var asks []map[string]any
		var solo []string
		for i := range 4 {
			ask := question(fmt.Sprintf("What is %d plus %d?", client+2, i+3), "seed", 100*client+i, "temperature", 1, "max_tokens", 40)
			asks, solo = append(asks, ask), append(solo, b.mustAsk(ask))
		}
		c.done.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-c.stop:
					return
				default:
				}
				text, err := b.ask(asks[i%len(asks)])
				if c.asked.Add(1); err != nil || text != solo[i%len(asks)] {
					t.Errorf("%v is answered %q (%v), and was %q before the job", asks[i%len(asks)]["messages"], text, err, solo[i%len(asks)])
					c.wrong.Add(1)
				}
			}
		})
	}
	return c
}

// TestRewardsThroughTheServer has a reinforcement job teach the shape of answers while clients chat: the mean reward of
// answers to unseen prompts rises from under 0.3 to over 0.9, and every chat is answered as without the job.
func TestRewardsThroughTheServer(t *testing.T) {
	b := boot(t)
	chats := startChatting(t, b)
	began := time.Now()
	id := teach(t, b.url(), map[string]any{
		"name": "shaped", "method": "grpo", "examples": demoPrompts(t, "json.jsonl", 400), "validation_examples": demoPrompts(t, "json.eval.jsonl", 30),
		"reward": map[string]any{"type": "multi", "name": "shape", "calculate_output": "0.2 * named + 0.8 * alone", "graders": map[string]any{
			"named": map[string]any{"type": "string_check", "input": "{{ sample.output_json.answer }}", "reference": "", "operation": "ne"},
			"alone": map[string]any{"type": "string_check", "input": "{{ sample.output_json }}", "reference": `{"answer":"{{ sample.output_json.answer }}"}`, "operation": "eq"},
		}},
		"num_generations": 8, "per_device_train_batch_size": 32, "max_completion_length": 32, "max_steps": 14, "learning_rate": 0.002, "beta": 0.01,
		"lr_scheduler_type": "constant", "eval_strategy": "no",
	})
	var j taught
	for deadline := time.Now().Add(8 * time.Minute); j.Status != "succeeded"; time.Sleep(100 * time.Millisecond) {
		j = until(t, b.url(), id, func(*taught) bool { return true })
		if time.Now().After(deadline) {
			t.Fatalf("at step %d of %d the time was over", j.Progress.Step, j.Progress.Steps)
		}
	}
	took := time.Since(began)
	close(chats.stop)
	chats.done.Wait()
	report := struct {
		Base, Trained struct{ Measures map[string]float64 }
		On            string `json:"measured_on"`
	}{}
	resp, err := http.Get(b.url() + "/adapters/shaped/report")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&report); err != nil {
		t.Fatal(err)
	}
	before, after := report.Base.Measures["reward"], report.Trained.Measures["reward"]
	t.Logf("mean reward %.3f before, %.3f after %d steps in %.1fs; %d chats meanwhile, %d of them with another answer", before, after, j.Progress.Step, took.Seconds(), chats.asked.Load(), chats.wrong.Load())
	if report.On != "validation" || before >= 0.3 || after <= 0.9 {
		t.Errorf("on %s prompts the mean reward was %.3f, and is %.3f", report.On, before, after)
	}
	if chats.asked.Load() < 20 || chats.wrong.Load() > 0 {
		t.Errorf("of %d chats %d had another answer than without the job", chats.asked.Load(), chats.wrong.Load())
	}
	if text := b.mustAsk(map[string]any{"adapter": "shaped", "max_tokens": 40, "temperature": 0, "messages": demoPrompts(t, "json.eval.jsonl", 1)[0].(map[string]any)["messages"]}); !strings.HasPrefix(text, `{"answer"`) {
		t.Errorf("the adapter answers %q", text)
	}
}
