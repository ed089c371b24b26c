package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/diskfaults"
)

// batch is what the tests read of a batch.
type batch struct {
	ID, Status    string
	OutputFile    string                                 `json:"output_file_id"`
	ErrorFile     string                                 `json:"error_file_id"`
	RequestCounts struct{ Total, Completed, Failed int } `json:"request_counts"`
	Errors        json.RawMessage
}

// batchLines are n requests for completions, with seeds, so that each has one answer; every tenth is at fault.
func batchLines(n int) string {
	var b strings.Builder
	for i := range n {
		model := []string{"lorikeet-demo", "pirate", "shout"}[i%3]
		if i%10 == 9 {
			model = "nobody"
		}
		fmt.Fprintf(&b, `{"custom_id":"line %d","method":"POST","url":"/v1/completions","body":{"prompt":"Line %d says","model":%q,"max_tokens":24,"seed":%d,"ignore_eos":true}}`+"\n",
			i, i, model, i)
	}
	return b.String()
}

// createBatch uploads lines and makes a batch of them.
func createBatch(t *testing.T, url, lines string) string {
	t.Helper()
	file := uploadFor(url, "batch", lines)
	status, raw, err := postTo(url+"/v1/batches", "", map[string]any{"input_file_id": file, "endpoint": "/v1/completions", "completion_window": "24h"})
	var b batch
	if err != nil || status != http.StatusOK || json.Unmarshal(raw, &b) != nil {
		t.Fatalf("%d %s, %v", status, raw, err)
	}
	return b.ID
}

func getBatch(t *testing.T, url, id string) (b batch) {
	t.Helper()
	if err := json.Unmarshal(get(t, url+"/v1/batches/"+id), &b); err != nil {
		t.Fatal(err)
	}
	return b
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %d %s, %v", url, resp.StatusCode, body, err)
	}
	return body
}

// awaitBatch waits until a batch is completed, and returns what each of its lines was answered with: a text, or the code of
// an error. A line that has two results is a fault.
func awaitBatch(t *testing.T, url, id string) map[string]string {
	t.Helper()
	var b batch
	for deadline := time.Now().Add(2 * time.Minute); b.Status != "completed"; time.Sleep(20 * time.Millisecond) {
		if b = getBatch(t, url, id); b.Status == "failed" || b.Status == "expired" || time.Now().After(deadline) {
			t.Fatalf("the batch is %+v", b)
		}
	}
	got := map[string]string{}
	for _, file := range []string{b.OutputFile, b.ErrorFile} {
		for line := range strings.Lines(string(get(t, url+"/v1/files/"+file+"/content"))) {
			var r struct {
				CustomID string `json:"custom_id"`
				Response struct {
					Status int `json:"status_code"`
					Body   struct {
						Choices []struct{ Text string }
						Error   struct{ Code string }
					}
				}
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if _, twice := got[r.CustomID]; twice {
				t.Errorf("%s has two results", r.CustomID)
			}
			got[r.CustomID] = r.Response.Body.Error.Code
			if r.Response.Status == http.StatusOK {
				got[r.CustomID] = r.Response.Body.Choices[0].Text
			}
		}
	}
	if n := b.RequestCounts; n.Completed+n.Failed != len(got) || n.Total != len(got) {
		t.Errorf("%d results, and the batch counts %+v", len(got), n)
	}
	return got
}

// TestBatchIsKilled kills the server again and again in the middle of a batch. In the end every line has one result, the
// one that it has where nothing was killed.
func TestBatchIsKilled(t *testing.T) {
	const lines, kills = 400, 6
	data, rng := t.TempDir(), rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3))
	args := []string{"--threads", "1", "--adapter-dir", demoAdapters, "--data", data}
	p := startProcess(t, args...)
	id := createBatch(t, p.url(), batchLines(lines))
	under, done := 0, 0
	for range kills {
		b := getBatch(t, p.url(), id)
		for ; b.RequestCounts.Completed <= done && b.Status != "completed"; b = getBatch(t, p.url(), id) {
			time.Sleep(time.Millisecond) // a batch that never gets on fails
		}
		time.Sleep(time.Duration(rng.IntN(250)) * time.Millisecond)
		if b = getBatch(t, p.url(), id); b.Status == "in_progress" {
			under++
		}
		done = b.RequestCounts.Completed
		_ = p.Process.Kill()
		_ = p.wait(t) // it was killed
		p = startProcess(t, args...)
	}
	got := awaitBatch(t, p.url(), id)
	if under == 0 {
		t.Error("no kill came in the middle of the batch")
	}
	undisturbed := startProcess(t, "--threads", "1", "--adapter-dir", demoAdapters)
	want := awaitBatch(t, undisturbed.url(), createBatch(t, undisturbed.url(), batchLines(lines)))
	if len(got) != lines || len(want) != lines {
		t.Fatalf("%d and %d of %d lines have results", len(got), len(want), lines)
	}
	for line, text := range want {
		if got[line] != text {
			t.Errorf("%s is answered %q, undisturbed %q", line, got[line], text)
		}
	}
	if got["line 9"] != "model_not_found" {
		t.Errorf("a line at fault is answered %q", got["line 9"])
	}
}

// TestBatchOnAFailingDisk has each kind of call fail that a batch makes on the disk. The batch is refused, or it says that it
// waits, and when the disk has recovered every line has one result.
func TestBatchOnAFailingDisk(t *testing.T) {
	b, f := bootOnFailingDisk(t, nil, "--threads", "1", "--adapter-dir", demoAdapters)
	lines, tried := batchLines(12), 0
	f.Set(diskfaults.Rule{})
	file := uploadFor(b.url(), "batch", lines)
	body := map[string]any{"input_file_id": file, "endpoint": "/v1/completions", "completion_window": "24h"}
	var want map[string]string
	for _, r := range []diskfaults.Rule{{Errno: syscall.ENOSPC, Stays: true}, {Errno: syscall.EIO}} {
		f.Set(diskfaults.Rule{Errno: r.Errno})
		want = awaitBatch(t, b.url(), createBatch(t, b.url(), lines))
		calls, _ := f.Calls()
		for _, r.At = range ofEachKind(calls, r.Errno) {
			what := fmt.Sprintf("call %d of %d (%s), %v, stays: %v", r.At, len(calls), calls[r.At-1], r.Errno, r.Stays)
			f.Set(r)
			status, raw, err := b.post("/v1/batches", body)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if status != http.StatusOK {
				_, failed := f.Calls()
				f.Set(diskfaults.Rule{})
				checkRefusal(t, what, r, failed, status, raw)
				tried += len(failed)
				continue
			}
			var made batch
			if err := json.Unmarshal(raw, &made); err != nil {
				t.Fatal(err)
			}
			tried += awaitFault(t, f, b.url(), made.ID, what)
			got := awaitBatch(t, b.url(), made.ID)
			if !maps.Equal(got, want) {
				t.Errorf("%s: results are %v, want %v", what, got, want)
			}
		}
	}
	t.Logf("%d calls failed", tried)
}

// awaitFault waits until a batch says that it waits for the disk, or has ended, lets the disk recover, and returns how many
// calls failed.
func awaitFault(t *testing.T, f *diskfaults.Faults, url, id, what string) int {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		b := getBatch(t, url, id)
		waits := string(b.Errors) != "null"
		if !waits && b.Status != "completed" {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the batch is %+v", what, b)
			}
			continue
		}
		_, failed := f.Calls()
		f.Set(diskfaults.Rule{})
		if waits && (len(failed) == 0 || !strings.Contains(string(b.Errors), `"no_space"`) && !strings.Contains(string(b.Errors), `"disk_error"`)) {
			t.Errorf("%s: the batch waits for %s", what, b.Errors)
		}
		return len(failed)
	}
}
