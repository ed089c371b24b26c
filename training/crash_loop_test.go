package training

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// crashIn says in which part of a job the child processes kill themselves: "prepare" or "train".
const crashIn = "LORIKEET_TEST_CRASH_IN"

// killingModel ends the process when it is given a text to tokenize, as a fault in C++ would.
type killingModel struct{ *runtimetest.Model }

func (m killingModel) Tokenize(text string, bos, special bool) ([]runtime.Token, error) {
	if strings.Contains(text, "What is 0?") {
		endProcess()
	}
	return m.Model.Tokenize(text, bos, special)
}

func endProcess() {
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
	select {} // until the signal arrives
}

// loopChild opens the queue and creates a job that ends the process, where there is none yet.
func loopChild(t *testing.T) {
	h := openFixture(t, os.Getenv(crashDir), func(o *Options) {
		if os.Getenv(crashIn) == "prepare" {
			o.Model = killingModel{runtimetest.NewModel()}
			o.Template = chat.NewTemplate(o.Model, "", nil)
			return
		}
		o.Work = func(context.Context, runtime.Slicer) error { endProcess(); return nil }
	})
	list, _, err := h.List("", 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		h.create("bird", smallConfig())
	}
	time.Sleep(time.Minute) // the job ends the process
}

// TestJobThatEndsTheServer has a job that ends the process each time that it is worked on: after the second time it has
// failed and says why, the next server keeps running, and so do other jobs.
func TestJobThatEndsTheServer(t *testing.T) {
	if os.Getenv(crashDir) != "" {
		loopChild(t)
		return
	}
	for where, doing := range map[string]string{"prepare": "reading its files", "train": "training, last seen at step 0"} {
		dir := t.TempDir()
		for range maxCrashes {
			cmd := exec.Command(os.Args[0], "-test.run=^TestJobThatEndsTheServer$")
			cmd.Env = append(os.Environ(), crashDir+"="+dir, crashIn+"="+where)
			if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() >= 0 {
				t.Fatalf("%s: the child was not killed: %v\n%s", where, err, out)
			}
		}
		h := openFixture(t, dir, nil)
		list, _, err := h.List("", 0)
		if err != nil || len(list) != 1 {
			t.Fatalf("%s: listed %v, error %v", where, list, err)
		}
		j, events := h.wait(list[0].ID)
		if j.Status != Failed || j.Error.Code != CodeCrashed || !strings.Contains(j.Error.Message, "the server ended 2 times") || !strings.Contains(j.Error.Message, doing) {
			t.Fatalf("%s: ended: %s", where, asJSON(t, j))
		}
		if last := events[len(events)-1]; last.Level != LevelError || last.Message != j.Error.Message {
			t.Errorf("%s: the last event is %+v", where, last)
		}
		if other, _ := h.wait(h.create("other", smallConfig()).ID); other.Status != Succeeded {
			t.Errorf("%s: another job: %s", where, asJSON(t, other))
		}
		// The cause is gone, here: the job is resumed, and counted anew.
		if _, err := h.Resume(j.ID); err != nil {
			t.Fatal(err)
		}
		if j, _ = h.wait(j.ID); j.Status != Succeeded {
			t.Errorf("%s: resumed: %s", where, asJSON(t, j))
		}
		h.close()
	}
}

// TestCrashesOfAJobThatGoesOn has a server that is killed at each of a job's checkpoints: the job was further every time, so
// it is not what ends the server.
func TestCrashesOfAJobThatGoesOn(t *testing.T) {
	if os.Getenv(crashDir) != "" {
		saves := 0
		h := openFixture(t, os.Getenv(crashDir), func(o *Options) {
			o.SaveEvery = time.Nanosecond
			o.at = func(op string) error {
				if strings.HasPrefix(op, "renamed ") && strings.HasSuffix(op, checkpointFile) {
					saves++
				}
				if saves == 2 && strings.HasPrefix(op, "write ") && strings.Contains(op, statePrefix) {
					endProcess()
				}
				return nil
			}
		})
		if list, _, _ := h.List("", 0); len(list) == 0 {
			h.create("bird", smallConfig())
		}
		list, _, _ := h.List("", 0)
		h.wait(list[0].ID)
		return
	}
	dir := t.TempDir()
	for range 2 * maxCrashes {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrashesOfAJobThatGoesOn$")
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() >= 0 {
			t.Fatalf("the child was not killed: %v\n%s", err, out)
		}
	}
	h := openFixture(t, dir, nil)
	list, _, _ := h.List("", 0)
	j, _ := h.wait(list[0].ID)
	plain := openFixture(t, t.TempDir(), nil)
	want, _ := plain.wait(plain.create("bird", smallConfig()).ID)
	if j.Status != Succeeded || string(h.weights(j.Result.Digest)) != string(plain.weights(want.Result.Digest)) {
		t.Errorf("ended: %s", asJSON(t, j))
	}
}

// TestOrderlyStopsDoNotCount stops the queue in the middle of a job more often than a job may crash.
func TestOrderlyStopsDoNotCount(t *testing.T) {
	dir := t.TempDir()
	var id string
	for round := range 2 * maxCrashes {
		entered := make(chan struct{})
		h := openFixture(t, dir, func(o *Options) {
			o.Work = func(ctx context.Context, s runtime.Slicer) error {
				close(entered)
				<-ctx.Done()
				return ctx.Err()
			}
		})
		if round == 0 {
			id = h.create("bird", smallConfig()).ID
		}
		<-entered
		h.close()
		if data, err := os.ReadFile(filepath.Join(dir, "training", "jobs", id, jobFile)); err != nil || strings.Contains(string(data), `"active"`) || strings.Contains(string(data), `"crashes"`) {
			t.Errorf("round %d: the job is kept as %s, error %v", round, data, err)
		}
	}
	h := openFixture(t, dir, nil)
	if j, _ := h.wait(id); j.Status != Succeeded {
		t.Errorf("ended: %s", asJSON(t, j))
	}
}
