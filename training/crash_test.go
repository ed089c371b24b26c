package training

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// The environment of the child processes that these tests kill.
const (
	crashDir  = "LORIKEET_TEST_CRASH_DIR"
	crashAt   = "LORIKEET_TEST_CRASH_AT"   // the change on disk before which the child kills itself; 0: none
	crashJobs = "LORIKEET_TEST_CRASH_JOBS" // "1:4" for the jobs 1 to 3
)

// crashConfig makes job n; the jobs differ in all that a checkpoint must keep.
func crashConfig(n int) Config {
	c := smallConfig()
	c.Seed, c.Dropout, c.SaveSteps, c.Epochs = int64(n), 0.2, 2, 2
	c.ValidationSplit = 0.2
	if n%2 == 1 {
		c.EvalStrategy, c.EvalSteps, c.Patience, c.LearningRate = EverySteps, 1, 3, 0.2
	}
	return c
}

// runJobs creates the jobs from and up to n that are missing, and waits for all of them. It says what it has done.
func runJobs(h *fixture, from, n int) {
	list, _, err := h.List("", 0)
	if err != nil {
		h.t.Fatal(err)
	}
	fmt.Println("open")
	for i := from + len(list); i < n; i++ {
		fmt.Println("created", h.create(fmt.Sprint("bird", i), crashConfig(i)).ID)
	}
	h.resumeCrashed()
	list, _, _ = h.List("", 0)
	for _, j := range list {
		h.wait(j.ID)
	}
	fmt.Println("done")
}

// resumeCrashed resumes the jobs that failed because their server was killed twice, as their owners would.
func (h *fixture) resumeCrashed() {
	h.t.Helper()
	list, _, err := h.List("", 0)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, j := range list {
		if j.Status != Failed {
			continue
		}
		if j.Error.Code != CodeCrashed {
			h.t.Fatalf("ended: %s", asJSON(h.t, j))
		}
		if _, err := h.Resume(j.ID); err != nil {
			h.t.Fatal(err)
		}
	}
}

// child is what the child processes do.
func child(t *testing.T) {
	at, _ := strconv.Atoi(os.Getenv(crashAt))
	var from, n int
	if _, err := fmt.Sscanf(os.Getenv(crashJobs), "%d:%d", &from, &n); err != nil {
		t.Fatal(err)
	}
	ops := make(chan int, 1)
	ops <- 0
	h := openFixture(t, os.Getenv(crashDir), func(o *Options) {
		o.at = func(op string) error {
			n := <-ops + 1
			if n == at {
				fmt.Println("killed before", op)
				if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
					panic(err)
				}
				select {} // until the signal arrives
			}
			ops <- n
			return nil
		}
		if at == 0 { // killed from outside, at any time: give it time
			o.Work = func(ctx context.Context, s runtime.Slicer) error {
				time.Sleep(time.Millisecond)
				return runtimetest.Work(ctx, s)
			}
		}
	})
	runJobs(h, from, n)
}

// start runs a child and returns the lines that it says; it is killed some time after it has opened the queue,
// where after is not 0.
func start(t *testing.T, test, dir, jobs string, at int, after time.Duration) (lines []string, ended bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("%s=%d", crashAt, at), crashJobs+"="+jobs)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for scan := bufio.NewScanner(out); scan.Scan(); {
		lines = append(lines, scan.Text())
		if scan.Text() == "open" && after > 0 {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
	}
	err = cmd.Wait()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() >= 0 {
		t.Fatalf("the child failed by itself: %v\n%s", err, strings.Join(lines, "\n"))
	}
	return lines, err == nil
}

// uninterrupted returns the weights of the adapters of the jobs from and up to n, by their number, from runs that
// nothing stopped.
func uninterrupted(t *testing.T, from, n int) map[int][]byte {
	t.Helper()
	h := openFixture(t, t.TempDir(), nil)
	out := make(map[int][]byte)
	for i := from; i < n; i++ {
		j, _ := h.wait(h.create(fmt.Sprint("bird", i), crashConfig(i)).ID)
		if j.Status != Succeeded {
			t.Fatalf("job %d: %s", i, asJSON(t, j))
		}
		out[i] = h.weights(j.Result.Digest)
	}
	return out
}

// checkJobs wants every job to have succeeded with the weights that it should have.
func checkJobs(t *testing.T, h *fixture, want map[int][]byte) {
	t.Helper()
	list, _, err := h.List("", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range list {
		j, events := h.wait(j.ID)
		var n int
		if _, err := fmt.Sscanf(j.Name, "bird%d", &n); err != nil || j.Status != Succeeded {
			t.Fatalf("ended: %s", asJSON(t, j))
		}
		if !bytes.Equal(h.weights(j.Result.Digest), want[n]) {
			t.Errorf("%s has another adapter than without kills", j.Name)
		}
		s := statuses(events)
		if s[0] != Validating || s[len(s)-1] != Succeeded || slices.Index(s, Succeeded) != len(s)-1 {
			t.Errorf("states %v", s)
		}
		for i, e := range events {
			if e.Seq != i+1 {
				t.Fatalf("event %d has the number %d", i+1, e.Seq)
			}
		}
		if v, err := h.store.Versions(j.Name); err != nil || len(v) != 1 {
			t.Errorf("%s has %d versions, error %v", j.Name, len(v), err)
		}
	}
	for _, w := range h.warnings() {
		if !strings.Contains(w, "while it worked on this job") {
			t.Errorf("warning %q", w)
		}
	}
}

// TestKillAtEveryChange kills a process before each of the changes that it makes on disk, and lets another end the
// job. The job stops early, and so has every kind of change.
func TestKillAtEveryChange(t *testing.T) {
	if os.Getenv(crashDir) != "" {
		child(t)
		return
	}
	const wave = 12 // processes at once: they wait for the disk
	stride := 1
	if testing.Short() {
		stride = 11
	}
	want := uninterrupted(t, 1, 2)
	var ended atomic.Bool
	at := 1
	for !ended.Load() && !t.Failed() {
		t.Run(fmt.Sprint("from ", at), func(t *testing.T) {
			for range wave {
				kill := at
				at += stride
				t.Run(fmt.Sprint(kill), func(t *testing.T) {
					t.Parallel()
					if killAt(t, kill, want) {
						ended.Store(true)
					}
				})
			}
		})
	}
	if at < 100 {
		t.Errorf("the child made hardly %d changes", at)
	}
}

// killAt kills a child before one change, and reports whether it made no more than the ones before.
func killAt(t *testing.T, at int, want map[int][]byte) (ended bool) {
	dir := t.TempDir()
	lines, ended := start(t, "TestKillAtEveryChange", dir, "1:2", at, 0)
	h := openFixture(t, dir, nil)
	checkJobs(t, h, want)
	for _, l := range lines {
		if id, ok := strings.CutPrefix(l, "created "); ok {
			if _, err := h.Get(id); err != nil {
				t.Errorf("%s was told and is lost: %v", id, err)
			}
		}
	}
	if t.Failed() {
		t.Logf("killed before change %d: %q", at, lines)
	}
	return ended
}

// TestKillAtAnyTime kills a process that works on several jobs, again and again, whatever it is doing.
func TestKillAtAnyTime(t *testing.T) {
	if os.Getenv(crashDir) != "" {
		child(t)
		return
	}
	const jobs = 6
	kills := 40
	if testing.Short() {
		kills = 8
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	round, ended := 0, false
	for ; round < kills && !ended; round++ {
		_, ended = start(t, "TestKillAtAnyTime", dir, fmt.Sprint("0:", jobs), 0, time.Millisecond+time.Duration(rng.IntN(40_000))*time.Microsecond)
	}
	t.Logf("%d kills", round)
	h := openFixture(t, dir, nil)
	h.resumeCrashed()
	list, _, _ := h.List("", 0)
	for i := len(list); i < jobs; i++ {
		h.create(fmt.Sprint("bird", i), crashConfig(i))
	}
	checkJobs(t, h, uninterrupted(t, 0, jobs))
	if round < 5 {
		t.Error("the children ended before they were killed")
	}
}
