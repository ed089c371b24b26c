//go:build cgo

package qlora_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// resident is the memory of this process in bytes, without what it maps of files.
func resident(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc/self/status")
	}
	var kib int64
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	t.Fatal("no RssAnon")
	return 0
}

// A step over a base that is large beside the adapter takes what Memory says, at every slice of it: there is no second
// copy of the base, decoded or not, whole or of a tensor.
func TestNoSecondCopyOfTheBase(t *testing.T) {
	shape := qloratest.Shape{Embedding: 1024, Layers: 4, Heads: 8, KVHeads: 2, HeadSize: 128, FeedForward: 4096, Vocab: 512, Neox: true, Seed: 1}
	for _, kind := range []qloratest.Kind{qloratest.Q4_0, qloratest.NF4} {
		m := newSample(t, shape, kind, kind)
		linears := 2*1024*1024 + 2*1024*256 + 3*1024*4096
		base := int64(shape.Layers*linears) / 2 // half a byte a weight, without the scales
		batch := randomBatch(rand.New(rand.NewPCG(1, 1)), m.Vocab(), 1, 8)
		spec := runtime.TrainSpec{Modules: allModules(m, 1, true), MaxTokens: 8, Seed: 1}
		newTrainer(t, m, spec, qlora.Options{Threads: 1}).Close() // what the first one allocates for the process
		before, most := resident(t), int64(0)
		tr := newTrainer(t, m, spec, qlora.Options{Threads: 1})
		slices := func() {
			for more := true; more; {
				var err error
				if more, err = tr.Slice(); err != nil {
					t.Fatal(err)
				}
				most = max(most, resident(t)-before)
			}
		}
		for range 2 {
			if err := tr.Begin(runtime.TrainFirst, batch); err != nil {
				t.Fatal(err)
			}
			slices()
			if err := tr.BeginUpdate(adam); err != nil {
				t.Fatal(err)
			}
			slices()
		}
		said := tr.Memory().Bytes
		t.Logf("%v: a base of %d KiB, the trainer says %d KiB, the process grew by up to %d KiB", kind, base>>10, said>>10, most>>10)
		if said > base/3 || most > said+base/8 {
			t.Errorf("%v: the process grew by %d KiB, the trainer says %d KiB, the base has %d KiB", kind, most>>10, said>>10, base>>10)
		}
		tr.Close()
	}
}

// Where the system has not the memory or the threads, the error says so: it is no fault of the request.
func TestOutOfMemory(t *testing.T) {
	m := newSample(t, shapes["llama"], qloratest.Q4_0, qloratest.F16)
	spec := runtime.TrainSpec{Modules: allModules(m, 4, true), MaxTokens: 1 << 30, Seed: 1}
	_, err := qlora.New(m, spec, qlora.Options{Threads: 64}) // more than all addresses that a process has
	if !errors.Is(err, runtime.ErrMemory) || errors.Is(err, runtime.ErrTrain) || !strings.Contains(err.Error(), "MiB") {
		t.Errorf("error %v", err)
	}
}

func TestOutOfThreads(t *testing.T) {
	if err := qloratest.CheckPoolWithoutThreads(); err != nil {
		t.Error(err)
	}
}
