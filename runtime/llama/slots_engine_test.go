//go:build cgo && linux

package llama

import (
	"fmt"
	"sync"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// An engine whose device has room for two of six adapters: every request is answered, as it is alone, and others wait for
// room without holding up those that have it.
func TestEngineWithMoreAdaptersThanSlotsOnADevice(t *testing.T) {
	m := openModel(t, deviceOptions(t, Options{Path: demoF16}))
	library := &runtimetest.Library{}
	names := []string{"", "a", "b", "c", "d", "e", "f", "a*0.5+b*0.5"}
	for i, name := range names[1:7] {
		a := newAdapter(t, m, uint64(i), 8, 2, isLinear)
		library.Add(name, pack(t, m, a.lora), true)
	}
	open := func() (*engine.Engine, *Device) {
		d, err := NewDevice(m, DeviceOptions{Sequences: 8, Cells: 1024, Batch: 64, UBatch: 64, Threads: 1, SlotBytes: 16 * bytesPerRank(m)}.withoutFlash())
		if err != nil {
			t.Fatal(err)
		}
		e := engine.New(d, m, engine.Options{MaxQueue: 64, Parallel: 4})
		t.Cleanup(func() { e.Close() })
		return e, d
	}
	var requests []runtime.Request
	for i := range 24 {
		prompt, err := m.Tokenize(fmt.Sprint("Number ", i, " is"), true, false)
		if err != nil {
			t.Fatal(err)
		}
		a, err := library.Get(names[i%len(names)])
		if err != nil {
			t.Fatal(err)
		}
		requests = append(requests, runtime.Request{Prompt: prompt, Adapters: a, MaxTokens: 4, Top: 8, Sampling: runtime.Sampling{IgnoreEOS: true}})
	}
	alone, _ := open()
	want := make([]answered, len(requests))
	for i, r := range requests {
		var err error
		if want[i], err = answerOf(alone, r); err != nil {
			t.Fatal(err)
		}
	}
	e, d := open()
	var group sync.WaitGroup
	for i, r := range requests {
		group.Go(func() {
			got, err := answerOf(e, r)
			if d := got.difference(want[i]); err != nil || !(d <= 0.1) {
				t.Errorf("request %d: log-probabilities differ by %g, %v", i, d, err)
			}
		})
	}
	group.Wait()
	s := d.SlotStats()
	t.Logf("%+v", s)
	if s.Evictions < 4 || s.Used > s.Bytes || s.Adapters > 2 || e.SlotStats() != s {
		t.Errorf("%+v; the engine says %+v", s, e.SlotStats())
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if n := library.Leases(); n != 0 {
		t.Errorf("%d leases are left", n)
	}
}
