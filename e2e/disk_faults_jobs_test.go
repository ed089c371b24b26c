package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/diskfaults"
)

// TestJobsOnAFailingDisk has every kind of write of a training job fail in turn. Either the job is not taken, or it ends with the
// adapter of an undisturbed run: after a full disk by itself, after a broken one at the latest when it is resumed.
func TestJobsOnAFailingDisk(t *testing.T) {
	b, f := bootOnFailingDisk(t, nil, "--threads", "1")
	body := map[string]any{"name": "pupil", "max_steps": 2, "r": 2, "save_steps": 1, "seed": 1, "validation_split": 0.25,
		"examples": []any{map[string]any{"prompt": "a", "completion": "b"}, map[string]any{"prompt": "c", "completion": "d"},
			map[string]any{"prompt": "e", "completion": "f"}, map[string]any{"prompt": "g", "completion": "h"}}}
	clean := func(id string) {
		t.Helper()
		for _, path := range []string{"/adapters/train/" + id, "/adapters/pupil"} {
			if status, raw, err := b.send(http.MethodDelete, path); err != nil || status/100 != 2 {
				t.Fatalf("%s: %d %s %v", path, status, raw, err)
			}
		}
	}
	want, tried := "", 0
	for _, r := range modes {
		f.Set(r)
		id := teach(t, b.url(), body)
		digest := until(t, b.url(), id, succeeded).Result.Digest
		calls, _ := f.Calls()
		clean(id)
		if want == "" {
			want = digest
		}
		had := paths(t, b.data)
		for _, r.At = range ofEachKind(calls, r.Errno) {
			what := fmt.Sprintf("call %d of %d (%s), %v, stays: %v", r.At, len(calls), calls[r.At-1], r.Errno, r.Stays)
			f.Set(r)
			status, raw, err := b.post("/adapters/train", body)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if status == http.StatusAccepted {
				var j taught
				if err := json.Unmarshal(raw, &j); err != nil {
					t.Fatal(err)
				}
				tried += b.finish(f, j.ID, what, want)
				clean(j.ID)
			} else {
				_, failed := f.Calls()
				f.Set(diskfaults.Rule{})
				checkRefusal(t, what, r, failed, status, raw)
				tried += len(failed)
			}
			comparePaths(t, what, had, paths(t, b.data))
		}
	}
	t.Logf("%d calls failed", tried)
}

// finish waits until a job that was taken has ended or waits for room, lets the disk recover, resumes the job where it has
// failed, and wants its adapter. It returns how many calls failed.
func (b *booted) finish(f *diskfaults.Faults, id, what, want string) int {
	b.t.Helper()
	defer f.Set(diskfaults.Rule{}) // it may have been met after the end
	var failed []string
	resumes := 0
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		var j struct {
			Status, Paused string
			Error          *struct{ Code, Message string }
			Result         struct{ Digest string }
		}
		b.get("/adapters/train/"+id, &j)
		if _, now := f.Calls(); len(now) > 0 { // it goes on as soon as it has met the fault
			if len(now) < 3 && j.Status != "failed" && j.Status != "succeeded" && time.Until(deadline) > 58*time.Second {
				continue // and on a disk that stays full when it has met it again
			}
			failed = now
			f.Set(diskfaults.Rule{})
		}
		switch j.Status {
		case "failed":
			if j.Error == nil || j.Error.Code != "disk_failed" && j.Error.Code != "no_space" || resumes > 0 {
				b.t.Errorf("%s: the job failed: %+v", what, j.Error)
				return len(failed)
			}
			resumes++
			if status, raw, err := b.post("/adapters/train/"+id+"/resume", map[string]any{}); err != nil || status != http.StatusOK {
				b.t.Errorf("%s: the job is not resumed: %d %s %v", what, status, raw, err)
				return len(failed)
			}
		case "succeeded":
			if j.Result.Digest != want {
				b.t.Errorf("%s: the job gives %s, undisturbed %s", what, j.Result.Digest, want)
			}
			return len(failed)
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: the job does not end: %+v", what, j)
		}
	}
}
