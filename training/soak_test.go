package training

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// TestCallsAtRandom cancels, resumes and watches jobs from many goroutines while they run. No call fails but by the
// job's state, every job is accounted for, and each comes to the adapter it would have had alone.
func TestCallsAtRandom(t *testing.T) {
	const jobs = 6
	want := uninterrupted(t, 0, jobs)
	h := openFixture(t, t.TempDir(), func(o *Options) {
		o.Work = func(ctx context.Context, s runtime.Slicer) error {
			time.Sleep(200 * time.Microsecond)
			return runtimetest.Work(ctx, s)
		}
	})
	var ids []string
	for i := range jobs {
		ids = append(ids, h.create(fmt.Sprint("bird", i), crashConfig(i)).ID)
	}
	callAtRandom(t, h, ids)
	for i, id := range ids {
		if _, err := h.Resume(id); err != nil && !errors.Is(err, ErrState) {
			t.Fatal(err)
		}
		j, events := h.wait(id)
		if j.Status != Succeeded || !bytes.Equal(h.weights(j.Result.Digest), want[i]) {
			t.Errorf("job %d has another adapter, or none: %s", i, asJSON(t, j))
		}
		checkStates(t, i, statuses(events))
	}
	if list, _, err := h.List("", 0); err != nil || len(list) != jobs || slices.ContainsFunc(list, func(j Job) bool { return !j.Status.Ended() }) {
		t.Errorf("listed: %s, error %v", asJSON(t, list), err)
	}
	if w := h.warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
}

// callAtRandom calls the Queue from several goroutines until each has had enough.
func callAtRandom(t *testing.T, h *fixture, ids []string) {
	const callers, calls = 4, 60
	var wg sync.WaitGroup
	for g := range callers {
		rng := rand.New(rand.NewPCG(uint64(g), 3))
		wg.Go(func() {
			for range calls {
				id := ids[rng.IntN(len(ids))]
				var err error
				switch rng.IntN(4) {
				case 0:
					_, err = h.Cancel(context.Background(), id)
				case 1, 2:
					_, err = h.Resume(id)
				case 3:
					_, err = h.Report(id)
				}
				if err != nil && !errors.Is(err, ErrState) {
					t.Errorf("%s: %v", id, err)
				}
				time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond)
			}
		})
	}
	wg.Wait()
}

// checkStates wants every state to follow from the one before.
func checkStates(t *testing.T, job int, list []Status) {
	t.Helper()
	last := Status("")
	for _, s := range list {
		allowed := last == "" && s == Validating
		for _, to := range transitions[last] {
			allowed = allowed || to == s
		}
		if !allowed {
			t.Errorf("job %d went from %q to %q", job, last, s)
		}
		last = s
	}
}
