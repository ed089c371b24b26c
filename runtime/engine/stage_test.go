package engine_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// stagingDevice is a fake Device that adapters are copied to: it counts what is kept there.
type stagingDevice struct {
	*runtimetest.Device
	copied chan struct{} // Stage returns when it is closed
	fail   error         // of Stage

	mu     sync.Mutex
	there  bool // the adapter
	kept   int
	copies int
}

func (d *stagingDevice) keep() func() {
	d.kept++
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.kept--
	})
}

func (d *stagingDevice) TryStage([]runtime.Term) (func(), bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.there {
		return nil, false
	}
	return d.keep(), true
}

func (d *stagingDevice) Stage(ctx context.Context, _ []runtime.Term) (func(), error) {
	select {
	case <-d.copied:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return nil, d.fail
	}
	d.there = true
	d.copies++
	return d.keep(), nil
}

func (d *stagingDevice) SlotStats() runtime.SlotStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return runtime.SlotStats{Bytes: 1, Uploads: int64(d.copies)}
}

func (d *stagingDevice) SetAdapters(seq int, mix []runtime.Term) error {
	d.mu.Lock()
	kept := d.kept
	d.mu.Unlock()
	if len(mix) > 0 && kept == 0 {
		return errors.New("the adapter was not staged")
	}
	return d.Device.SetAdapters(seq, mix)
}

// An adapter is copied to the device by a goroutine while other streams are decoded, and stays as long as its stream runs.
func TestAdaptersAreStaged(t *testing.T) {
	model, library := runtimetest.NewModel(), &runtimetest.Library{}
	library.Add("x", model.PackNamed("x"), true)
	d := &stagingDevice{
		Device: runtimetest.NewDevice(model, runtime.Limits{Sequences: 3, Cells: 4096, Batch: 16, CanTruncate: true}),
		copied: make(chan struct{}),
	}
	e := engine.New(d, model, engine.Options{})
	request := func(adapter string, n int) *runtime.Stream {
		t.Helper()
		a, err := library.Get(adapter)
		if err != nil {
			t.Fatal(err)
		}
		s, err := e.Submit(t.Context(), runtime.Request{Prompt: []runtime.Token{'a', 'b'}, Adapters: a, MaxTokens: n, Top: -1,
			Sampling: runtime.Sampling{IgnoreEOS: true}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	adapted, base := request("x", 3), request("", 1000)
	if _, err := readAll(base); err == nil {
		t.Error("the base's answer has no end")
	}
	if n := e.Stats().Loading; n != 1 { // the whole of the base's answer came while the adapter was on its way
		t.Errorf("%d requests wait for the device", n)
	}
	close(d.copied)
	for _, s := range []*runtime.Stream{adapted, request("x", 3), request("x", 3)} {
		if _, err := readAll(s); s.Usage().Completion != 3 {
			t.Errorf("%d tokens: %v", s.Usage().Completion, err)
		}
	}
	if got := e.SlotStats().Uploads; got != 1 {
		t.Errorf("the adapter was copied %d times", got)
	}
	d.mu.Lock()
	d.there, d.fail = false, runtime.ErrAdapter
	d.mu.Unlock()
	if _, err := readAll(request("x", 3)); !errors.Is(err, runtime.ErrAdapter) {
		t.Errorf("an adapter that does not fit onto the device ends with %v", err)
	}
	if err := errors.Join(e.Close(), d.Fault()); err != nil {
		t.Error(err)
	}
	if d.kept != 0 || library.Leases() != 0 {
		t.Errorf("%d copies are kept, %d leases are held", d.kept, library.Leases())
	}
}
