package e2e

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/hostile"
)

// TestHostileInputs sends up to 10,000 inputs of each kind, as many as fit into its time: nothing may crash the server,
// be answered as its fault, hang, or make its memory grow. LORIKEET_HOSTILE=N sends N of each, however long that takes.
func TestHostileInputs(t *testing.T) {
	o := hostile.Options{Inputs: 10_000, Time: 25 * time.Second, Parallel: 4, Seed: 1}
	if n, err := strconv.Atoi(os.Getenv("LORIKEET_HOSTILE")); err == nil {
		o.Inputs, o.Time = n, 0
	} else if testing.Short() {
		o.Time = 2 * time.Second
	}
	b := bootWith(t, smallHeap, "--adapter-dir", demoAdapters, "--log-level", "error", "--deadline", "10s")
	o.URL = b.url()
	o.Resident = func() (int64, error) { return int64(b.residentKiB(t)) << 10, nil }
	var err error
	for path, into := range map[string]*[]byte{
		"openapi/openapi.yaml": &o.Spec, demoAdapters + "/pirate/adapter_config.json": &o.Adapter.Config, demoAdapters + "/pirate/adapter_model.safetensors": &o.Adapter.Tensors,
	} {
		if *into, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	reports, err := hostile.Run(t.Context(), o)
	for _, r := range reports {
		t.Logf("%s: %d inputs, slowest %v, memory %d to %d MiB, statuses %v", r.Kind, r.Inputs, r.Slowest.Round(time.Millisecond), r.Resident[0]>>20, r.Resident[1]>>20, r.Statuses)
		for _, fault := range r.Faults {
			t.Errorf("%s: %s", r.Kind, fault)
		}
		if good := len(slices.Collect(maps.Keys(r.Statuses))); good < 2 {
			t.Errorf("%s: all inputs are answered alike: %v", r.Kind, r.Statuses)
		}
		if grown := r.Resident[1] - r.Resident[0]; grown > 128<<20 {
			t.Errorf("%s: memory grew by %d MiB", r.Kind, grown>>20)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// TestHostileTinker sends right and wrong calls of Tinker's API at once: what is wrong is refused, the models go on, and the memory is
// bounded. LORIKEET_HOSTILE_TIME=15m sends them for so long.
func TestHostileTinker(t *testing.T) {
	o := hostile.Options{Inputs: 1 << 30, Time: 25 * time.Second, Parallel: 6, Seed: 2}
	if d, err := time.ParseDuration(os.Getenv("LORIKEET_HOSTILE_TIME")); err == nil {
		o.Time = d
	} else if testing.Short() {
		o.Time = 2 * time.Second
	}
	b := bootWith(t, smallHeap, "--log-level", "warn", "--train-memory", "128MiB")
	o.URL = b.url()
	o.Resident = func() (int64, error) { return int64(b.residentKiB(t)) << 10, nil }
	r, err := hostile.Tinker(t.Context(), o)
	t.Logf("%d inputs, slowest %v, memory %d to %d MiB, statuses %v", r.Inputs, r.Slowest.Round(time.Millisecond), r.Resident[0]>>20, r.Resident[1]>>20, r.Statuses)
	for _, fault := range r.Faults {
		t.Error(fault)
	}
	if err != nil {
		t.Fatal(err)
	}
	if good, bad := r.Statuses[200], r.Statuses[400]; good == 0 || bad == 0 {
		t.Errorf("the statuses are %v: right and wrong calls are wanted", r.Statuses)
	}
	if grown := r.Resident[1] - r.Resident[0]; grown > 384<<20 { // the trainers, results and adapters that are placed
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
	var info struct {
		Models []struct{} `json:"supported_models"`
	}
	b.get("/api/v1/get_server_capabilities", &info)
	if logged := b.errs.String(); strings.Contains(logged, "panic") {
		t.Errorf("the log has %s", logged)
	}
}
