package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestKillAtRandomMoments kills the server again and again, at any moment, while jobs are created and run and files are
// uploaded. What was acknowledged is there afterwards, and the jobs end with the adapters of runs that nothing disturbed.
func TestKillAtRandomMoments(t *testing.T) {
	kills := 50
	if testing.Short() {
		kills = 4
	}
	data, rng := t.TempDir(), rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	jobs, files := map[string]int{}, map[string]string{} // what was acknowledged: ids with the jobs' numbers, the files' contents
	for round := range kills {
		p := startProcess(t, "--threads", "1", "--data", data)
		resumeCrashed(t, p.url())
		dead := time.AfterFunc(time.Duration(rng.IntN(600))*time.Millisecond, func() { _ = p.Process.Kill() })
		if n := len(jobs); n < 4 {
			status, raw, err := postTo(p.url()+"/adapters/train", "", killedJob(n))
			var j taught
			if err == nil && status == http.StatusAccepted && json.Unmarshal(raw, &j) == nil {
				jobs[j.ID] = n
			}
		}
		for i := range 3 {
			content := fmt.Sprintf(`{"prompt": "round %d", "completion": "file %d"}`, round, i)
			if id := upload(p.url(), content); id != "" {
				files[id] = content
			}
		}
		_ = p.wait(t) // it was killed
		dead.Stop()
	}
	p := startProcess(t, "--threads", "1", "--data", data)
	t.Logf("%d jobs and %d files were acknowledged in %d rounds", len(jobs), len(files), kills)
	resumeCrashed(t, p.url())
	digests := map[int]string{}
	for id, n := range jobs {
		digests[n] = until(t, p.url(), id, succeeded).Result.Digest
	}
	for id, want := range files {
		resp, err := http.Get(p.url() + "/v1/files/" + id + "/content")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != want {
			t.Errorf("file %s is %q, %v; want %q", id, got, err, want)
		}
	}
	undisturbed := startProcess(t, "--threads", "1")
	for n, digest := range digests {
		if want := until(t, undisturbed.url(), teach(t, undisturbed.url(), killedJob(n)), succeeded).Result.Digest; digest != want {
			t.Errorf("job %d gives %s, undisturbed %s", n, digest, want)
		}
	}
}

// killedJob is a job with checkpoints, a validation and dropout, so that all of a run's state matters.
func killedJob(n int) map[string]any {
	var examples []any
	for i := range 12 {
		examples = append(examples, map[string]any{"prompt": fmt.Sprint("What is ", i, "?"), "completion": strings.Repeat("It is so. ", 1+i%3)})
	}
	return map[string]any{"name": fmt.Sprint("pupil", n), "examples": examples, "max_steps": 60, "save_steps": 10, "r": 4, "seed": n,
		"per_device_train_batch_size": 4, "lora_dropout": 0.1, "validation_split": 0.2}
}

// resumeCrashed resumes the jobs that failed because their server was killed twice at the same place.
func resumeCrashed(t *testing.T, url string) {
	t.Helper()
	resp, err := http.Get(url + "/adapters/train?limit=100")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list struct {
		Data []struct {
			ID, Status string
			Error      *struct{ Code, Message string }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	for _, j := range list.Data {
		if j.Status != "failed" {
			continue
		}
		if j.Error.Code != "server_crashed" {
			t.Fatalf("job %s: %s", j.ID, j.Error.Message)
		}
		if status, raw, err := postTo(url+"/adapters/train/"+j.ID+"/resume", "", map[string]any{}); err != nil || status != http.StatusOK {
			t.Fatalf("job %s is not resumed: %d %v %s", j.ID, status, err, raw)
		}
	}
}

// upload sends a file and returns its id, "" where that was not acknowledged.
func upload(url, content string) string { return uploadFor(url, "fine-tune", content) }

// uploadFor is upload of a file for a purpose.
func uploadFor(url, purpose, content string) string {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	_ = form.WriteField("purpose", purpose) // a buffer takes everything
	if part, err := form.CreateFormFile("file", "a.jsonl"); err == nil {
		_, _ = io.WriteString(part, content)
	}
	_ = form.Close()
	resp, err := http.Post(url+"/v1/files", form.FormDataContentType(), &body)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var f struct{ ID string }
	if json.NewDecoder(resp.Body).Decode(&f) != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return f.ID
}
