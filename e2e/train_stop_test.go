package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stopLimit is how long a server may take to stop while it reads a data set.
const stopLimit = 5 * time.Second

// largeData are data sets that take far longer than stopLimit to be encoded: many lines, lines of many turns, and lines of a
// long text and of a very long one.
func largeData() map[string]string {
	turns := `{"role":"user","content":"What is it?"},{"role":"assistant","content":"It is so."},`
	conversation := `{"messages":[` + strings.TrimSuffix(strings.Repeat(turns, 500), ",") + "]}\n"
	text := `{"text":"` + strings.Repeat("It is so, and it is not so. ", 10_000) + "\"}\n"
	var lines strings.Builder
	for i := range 400_000 {
		fmt.Fprintf(&lines, `{"messages":[{"role":"user","content":"What is %d?"},{"role":"assistant","content":"It is %d."}]}`+"\n", i, i*i)
	}
	long := `{"text":"` + strings.Repeat("It is so, and it is not so. ", 140_000) + "\"}\n"
	word := `{"text":"` + strings.Repeat("itissoandisnotso", 250_000) + "\"}\n"
	return map[string]string{"lines": lines.String(), "turns": strings.Repeat(conversation, 600), "texts": strings.Repeat(text, 150), "long texts": strings.Repeat(long, 12),
		"long words": strings.Repeat(word, 12)}
}

// TestStopWhileEncoding sends SIGTERM to a server that encodes a large data set: it stops within seconds, and the next server takes the
// job up again.
func TestStopWhileEncoding(t *testing.T) {
	for name, content := range largeData() {
		t.Run(name, func(t *testing.T) {
			p := startProcess(t, "--threads", "1")
			file := upload(p.url(), content)
			if file == "" {
				t.Fatal("the file is not taken")
			}
			status, raw, err := postTo(p.url()+"/v1/fine_tuning/jobs", "", map[string]any{"model": "lorikeet-demo", "training_file": file, "suffix": "pupil"})
			var j taught
			if err != nil || status != http.StatusOK || json.Unmarshal(raw, &j) != nil {
				t.Fatalf("%d %v: %s", status, err, raw)
			}
			time.Sleep(time.Second)
			j = until(t, p.url(), j.ID, func(*taught) bool { return true })
			if j.Status != "validating_files" {
				t.Fatalf("a second later the job is %s: the data set is too small for this test", j.Status)
			}
			stopAt(t, p)
			p = startProcess(t, "--threads", "1", "--data", p.data)
			if j = until(t, p.url(), j.ID, func(*taught) bool { return true }); j.Status != "validating_files" {
				t.Errorf("after the restart the job is %s", j.Status)
			}
			stopAt(t, p)
		})
	}
}

// TestStopWhileChecking does the same while a request waits for its data set to be looked at.
func TestStopWhileChecking(t *testing.T) {
	p := startProcess(t, "--threads", "1")
	path := filepath.Join(t.TempDir(), "large.jsonl")
	if err := os.WriteFile(path, []byte(largeData()["turns"]), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan string, 1)
	go func() {
		status, out, shown := command(t, nil, "train", "--server", p.url(), "--data", path, "--name", "pupil")
		done <- fmt.Sprint(status, " ", out, shown)
	}()
	time.Sleep(time.Second)
	stopAt(t, p)
	select {
	case said := <-done:
		if !strings.HasPrefix(said, "1 ") {
			t.Errorf("the command ends with %s", said)
		}
	case <-time.After(stopLimit):
		t.Error("the command waits for a server that has stopped")
	}
}

// TestStopWhileGrading sends SIGTERM while an endpoint that grades does not answer: neither the job that waits for it nor a request that
// tries the grader keeps the server.
func TestStopWhileGrading(t *testing.T) {
	asked, release := make(chan struct{}, 1000), make(chan struct{})
	grader := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer grader.Close()
	defer close(release)
	p := startProcess(t, "--threads", "1", "--grader-endpoint", grader.URL)
	definition := map[string]any{"type": "endpoint", "name": "far", "url": grader.URL}
	job := rewardedJob()
	job["name"], job["per_device_train_batch_size"], job["reward"] = "pupil", 8, definition
	id := teach(t, p.url(), job)
	<-asked
	tried := make(chan int, 1)
	go func() {
		status, _, _ := postTo(p.url()+"/v1/fine_tuning/alpha/graders/run", "", map[string]any{"grader": definition, "item": map[string]any{}, "model_sample": "x"})
		tried <- status
	}()
	time.Sleep(200 * time.Millisecond)
	stopAt(t, p)
	if status := <-tried; status == http.StatusOK {
		t.Error("the request that tried the grader was answered")
	}
	p = startProcess(t, "--threads", "1", "--grader-endpoint", grader.URL, "--data", p.data)
	<-asked // the job goes on
	if j := until(t, p.url(), id, func(*taught) bool { return true }); j.Status != "running" {
		t.Errorf("after the restart the job is %s", j.Status)
	}
	stopAt(t, p)
}

// stopAt sends SIGTERM and wants the server to end soon, and well.
func stopAt(t *testing.T, p *process) {
	t.Helper()
	stopping := time.Now()
	p.signal(t)
	if err := p.wait(t); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	if took := time.Since(stopping); took > stopLimit {
		t.Errorf("stopping took %v", took)
	}
}
