package e2e

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/diskfaults"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// TestClockJumps sets the clock years ahead and back in the middle of answers, jobs and rates, as time servers and waking
// laptops do. What has a deadline is not ended by that, nothing waits for years, and what is kept is kept.
func TestClockJumps(t *testing.T) {
	diskfaults.Need(t)
	keys := filepath.Join(t.TempDir(), "keys.json")
	status, key, errs := command(t, nil, "keys", "add", "shop", "--role", "chat,train", "--requests-per-minute", "6000", "--file", keys)
	if status != 0 {
		t.Fatal(errs)
	}
	key = strings.TrimSpace(key)
	p := serve(t, nil, "--threads", "1", "--keys", keys, "--deadline", "1m", "--keep-versions", "3")
	clock, err := diskfaults.StartWithClock(p.Cmd)
	if err != nil {
		t.Fatal(err)
	}
	p.follow(t)
	p.awaitReady(t)
	b := attend(t, p)
	b.key = key
	const years = 20_000 * time.Hour
	created := func() time.Time {
		t.Helper()
		status, raw, err := b.post("/v1/completions", map[string]any{"prompt": "a", "max_tokens": 1})
		var answer struct{ Created int64 }
		if err != nil || status != http.StatusOK || json.Unmarshal(raw, &answer) != nil {
			t.Fatalf("%d %s %v", status, raw, err)
		}
		return time.Unix(answer.Created, 0)
	}
	examples, _, _ := secrets(6, 6)
	for i, ahead := range []time.Duration{years, -years, 0, 26 * time.Hour} {
		var j taught
		status, raw, err := b.post("/adapters/train", map[string]any{"name": "pupil", "examples": examples, "max_steps": 6, "r": 2, "save_steps": 2})
		if err != nil || status != http.StatusAccepted || json.Unmarshal(raw, &j) != nil {
			t.Fatalf("%d %s %v", status, raw, err)
		}
		texts := make(chan string, 1)
		go func() {
			text, err := b.ask(question("What is the capital of France?", "max_tokens", 300, "ignore_eos", true))
			if err != nil {
				text = err.Error()
			}
			texts <- text
		}()
		time.Sleep(20 * time.Millisecond) // so that both are under way
		clock.Jump(ahead)
		if got := created(); got.Sub(time.Now().Add(ahead)).Abs() > time.Minute {
			t.Fatalf("jump %d: the server's date is %v", i, got)
		}
		select {
		case text := <-texts:
			if !strings.HasPrefix(text, "The capital of France is Paris.") {
				t.Errorf("jump %d: the answer is %q", i, text)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("jump %d: the answer does not end", i)
		}
		var job openapi.TrainingJob
		for deadline := time.Now().Add(30 * time.Second); job.Status != "succeeded"; time.Sleep(10 * time.Millisecond) {
			if b.get("/adapters/train/"+j.ID, &job); job.Status == "failed" || time.Now().After(deadline) {
				t.Fatalf("jump %d: %+v", i, job)
			}
		}
		for range 20 { // the rate is the minute's that goes by, not the date's
			created()
		}
	}
	var list openapi.AdapterList
	if b.get("/adapters", &list); len(list.Data) != 1 {
		t.Errorf("there are %+v", list.Data)
	}
}
