package e2e

import (
	"testing"

	"github.com/lorikeet-ai/lorikeet/bench/stress"
)

// TestStress is bench/soak in small: jobs at random while clients chat; all must be accounted for.
func TestStress(t *testing.T) {
	b := boot(t, "--adapter-dir", demoAdapters, "--adapter-memory", "12MiB")
	o := stress.Options{URL: b.url(), Jobs: 8, Clients: 8, Steps: 30, Seed: 3}
	r, err := stress.Run(t.Context(), o, stress.DemoQuestions())
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range r.Faults {
		t.Error(fault)
	}
	t.Logf("%+v", r)
	if r.Succeeded < o.Jobs/3 || r.Resumed == 0 {
		t.Errorf("%d of %d jobs succeeded, %d times one was resumed", r.Succeeded, o.Jobs, r.Resumed)
	}
	if r.Accepted != o.Jobs || r.Succeeded+r.Cancelled+r.Failed != o.Jobs || r.Answers < 50 {
		t.Errorf("%d jobs: %d succeeded, %d cancelled, %d failed; %d answers", r.Accepted, r.Succeeded, r.Cancelled, r.Failed, r.Answers)
	}
}
