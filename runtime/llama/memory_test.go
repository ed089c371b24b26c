//go:build cgo && linux

package llama

import (
	"errors"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/llamatest"
)

// failEachAllocation calls f repeatedly, and makes another of the allocations in it fail each time, until none does.
// f returns an error wrapping ErrMemory wherever one failed, and leaves all in order.
func failEachAllocation(t *testing.T, what string, f func() error) {
	t.Helper()
	defer llamatest.FailAllocation(0)
	for n := 1; ; n += 1 + n/20 { // each of the first, and then fewer and fewer
		llamatest.FailAllocation(n)
		err := f()
		failed := llamatest.AllocationsLeft() == 0
		llamatest.FailAllocation(0)
		switch {
		case failed && (!errors.Is(err, runtime.ErrMemory) || !strings.Contains(err.Error(), "the process holds ")):
			t.Errorf("%s: allocation %d found no memory, and the error is %v", what, n, err)
			return
		case !failed && err != nil:
			t.Errorf("%s: %v", what, err)
			return
		case !failed && n == 1:
			t.Errorf("%s allocates nothing: the test does not see it", what)
			return
		case !failed:
			t.Logf("%s: some %d allocations", what, n)
			return
		}
	}
}

func TestOutOfMemory(t *testing.T) {
	s := tiny
	s.arch, s.layers, s.vocab = "qwen2", 2, 512
	m := openModel(t, Options{Path: s.file(t)})
	lora := wholeAdapters(t, m, s)[0].lora
	failEachAllocation(t, "Pack", func() error {
		p, err := m.Pack(lora)
		if err == nil {
			p.Close()
		} else if !errors.Is(err, runtime.ErrAdapter) {
			t.Errorf("Pack: %v", err)
		}
		return err
	})
	failEachAllocation(t, "NewSampler", func() error {
		s, err := m.NewSampler(runtime.Sampling{Temperature: 1, TopP: 0.9}, []runtime.Token{1, 2, 3})
		if err == nil {
			s.Close()
		}
		return err
	})
	d := openDevice(t, m, DeviceOptions{Sequences: 2, Cells: 256, Batch: 32, UBatch: 16, Threads: 2})
	packed := pack(t, m, lora)
	failEachAllocation(t, "SetAdapters", func() error { return d.SetAdapters(0, []runtime.Term{{Packed: packed, Scale: 1}}) })

	decode := func(seq int) (runtime.Token, error) {
		choices, err := d.Decode(rowsOf(t, m, seq, 0, []runtime.Token{5, 300, 31, 7}))
		if err != nil {
			return 0, err
		}
		return choices[0].Token, choices[0].Err
	}
	want, err := decode(0)
	if err != nil {
		t.Fatal(err)
	}
	forget := func() {
		for seq := range 2 {
			if _, err := d.Truncate(seq, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	rows := append(rowsOf(t, m, 0, 0, []runtime.Token{5, 300, 31, 7}), rowsOf(t, m, 1, 0, []runtime.Token{8, 9, 10})...)
	failEachAllocation(t, "Decode", func() error {
		nth := llamatest.AllocationsLeft()
		llamatest.FailAllocation(0)
		forget()
		if got, err := decode(0); err != nil || got != want { // the device still works, and has a graph of another shape
			t.Fatalf("before allocation %d fails, the answer is %d, %v; want %d", nth, got, err, want)
		}
		forget()
		llamatest.FailAllocation(nth)
		choices, err := d.Decode(rows)
		if err == nil {
			err = errors.Join(choices[0].Err, choices[1].Err)
		}
		return err
	})
	failEachAllocation(t, "Copy", func() error {
		nth := llamatest.AllocationsLeft()
		llamatest.FailAllocation(0)
		forget()
		if _, err := decode(0); err != nil {
			t.Fatalf("before allocation %d fails: %v", nth, err)
		}
		llamatest.FailAllocation(nth)
		return d.Copy(1, 0, 3)
	})
	forget()
	if got, err := decode(0); err != nil || got != want {
		t.Errorf("in the end the answer is %d, %v; want %d", got, err, want)
	}
}

// The threads that ggml computes on call our code from C: it allocates nothing there, whatever an adapter changes.
func TestWorkersAllocateNothing(t *testing.T) {
	s := tiny
	s.arch, s.layers, s.vocab = "qwen2", 2, 512
	m := openModel(t, Options{Path: s.file(t), KeepPlain: true})
	for _, backend := range []Backend{Fused, MMID} {
		d := openDevice(t, m, DeviceOptions{Sequences: 2, Cells: 256, Threads: 4, LoRA: backend})
		for seq, a := range wholeAdapters(t, m, s) {
			if err := d.SetAdapters(seq, []runtime.Term{{Packed: pack(t, m, a.lora), Scale: 1}}); err != nil {
				t.Fatal(err)
			}
		}
		rows := append(rowsOf(t, m, 0, 0, []runtime.Token{5, 300, 31, 7}), rowsOf(t, m, 1, 0, []runtime.Token{8, 9, 10})...)
		goruntime.LockOSThread()
		llamatest.CountWorkers()
		_, err := d.Decode(rows)
		n := llamatest.AllocationsOfWorkers()
		goruntime.UnlockOSThread()
		if err != nil || n != 0 {
			t.Errorf("backend %d: %d allocations by workers, %v", backend, n, err)
		}
	}
}
