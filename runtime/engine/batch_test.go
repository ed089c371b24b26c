package engine_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// TestBatch steps an Engine with two places, on a clock of its own, and looks at its rows and queues after each turn.
func TestBatch(t *testing.T) {
	now := time.Unix(1000, 0)
	model, library := runtimetest.NewModel(), &runtimetest.Library{}
	library.Add("x", model.PackNamed("x"), true)
	device := runtimetest.NewDevice(model, runtime.Limits{Sequences: 2, Cells: 256, Batch: 8, CanTruncate: true})
	e := engine.NewStepped(device, model, engine.Options{MaxQueue: 8, Chunk: 4}, func() time.Time { return now })
	defer e.CloseStepped()
	if b := e.Batch(); len(b.Rows)+len(b.Queues) > 0 {
		t.Fatalf("a new engine has %+v", b)
	}
	submit := func(tenant, adapter string, prompt int) *runtime.Stream {
		r := runtime.Request{Tenant: tenant, Prompt: make([]runtime.Token, prompt), Top: -1, NoReuse: true, Sampling: runtime.Sampling{IgnoreEOS: true}}
		for i := range r.Prompt {
			r.Prompt[i] = 'a'
		}
		if adapter != "" {
			var err error
			if r.Adapters, err = library.Get(adapter); err != nil {
				t.Fatal(err)
			}
		}
		s, err := e.Submit(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
		return s
	}
	first, second := submit("shop", "x", 3), submit("cafe", "", 9)
	third, fourth := submit("cafe", "", 2), submit("cafe", "x", 2)
	e.Turn()
	at := func(second int64) time.Time { return time.Unix(1000+second, 0) }
	want := engine.Batch{
		Rows: []engine.RunningRequest{
			{Tenant: "shop", Flow: "x", Prompt: 3, Read: 3, Generated: 1, Submitted: at(0)},
			{Tenant: "cafe", Prompt: 9, Read: 1, Submitted: at(1)},
		},
		Queues: []engine.Queue{{Tenant: "cafe", Waiting: 2, Oldest: at(2)}},
	}
	if got := e.Batch(); got.Rows[0].Read+got.Rows[1].Read != 4 {
		t.Errorf("a chunk of 4 tokens was read, and the rows say %+v", got.Rows)
	} else if want.Rows[0].Read, want.Rows[1].Read, want.Rows[0].Generated = got.Rows[0].Read, got.Rows[1].Read, got.Rows[0].Generated; !reflect.DeepEqual(got, want) {
		t.Errorf("after a turn: %+v, want %+v", got, want)
	}
	for range 5 {
		e.Turn()
	}
	if got := e.Batch().Rows; got[0].Read != 3 || got[0].Generated < 2 || got[1].Read != 9 || got[1].Generated < 1 {
		t.Errorf("after six turns: %+v", got)
	}
	first.Close()
	third.Close()
	e.Turn()
	if got := e.Batch(); len(got.Rows) != 2 || got.Rows[1].Flow != "x" || len(got.Queues) != 0 {
		t.Errorf("a place was free: %+v", got)
	}
	second.Close()
	fourth.Close()
	e.Turn()
	if b := e.Batch(); len(b.Rows)+len(b.Queues) > 0 {
		t.Errorf("without requests: %+v", b)
	}
}

// The time in which a request's adapters are loaded is told beside the time that it waited.
func TestLoadingIsTimed(t *testing.T) {
	h := newTestEngine(t, engine.Options{}, nil)
	s := h.submit(t, h.request("x", 2))
	defer s.Close()
	const load = 20 * time.Millisecond
	time.AfterFunc(load, func() { close(h.load) })
	if _, err := readAll(s); err.Error() != "EOF" {
		t.Fatal(err)
	}
	if u := s.Usage(); u.Loading < load || u.Loading > u.Started.Sub(u.Submitted) {
		t.Errorf("loading took %v of %v", u.Loading, u.Started.Sub(u.Submitted))
	}
	base := h.submit(t, h.request("", 2))
	defer base.Close()
	if _, err := readAll(base); err.Error() != "EOF" || base.Usage().Loading != 0 {
		t.Errorf("the base ended with %v, and was loaded for %v", err, base.Usage().Loading)
	}
}

// workObserver sums what it is told of background work.
type workObserver struct {
	engine.Observer
	took time.Duration
}

func (w *workObserver) Worked(took time.Duration) { w.took += took }

func TestObserverHearsOfWork(t *testing.T) {
	w, heard := &workTest{now: time.Unix(1000, 0)}, &workObserver{}
	model := runtimetest.NewModel()
	device := runtimetest.NewDevice(model, runtime.Limits{Sequences: 4, Cells: 64, Batch: 8, CanTruncate: true})
	w.engine = engine.NewStepped(device, model, engine.Options{Share: 0.5, Observer: heard}, func() time.Time { return w.now })
	defer w.engine.CloseStepped()
	ctx, cancel := context.WithCancel(t.Context())
	result := w.start(ctx, &slicer{bench: w, took: 3 * time.Millisecond, left: 1 << 30})
	for range 10 {
		w.engine.Turn()
	}
	if heard.took != 30*time.Millisecond {
		t.Errorf("ten slices of 3ms took %v", heard.took)
	}
	cancel()
	w.engine.Turn()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
