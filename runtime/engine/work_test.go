package engine_test

import (
	"context"
	"errors"
	goruntime "runtime"
	"sync"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// workTest is an Engine that is stepped by hand on a clock of its own: a decode takes decode, a slice takes slice.
type workTest struct {
	engine *engine.Engine
	now    time.Time
}

func newWorkTest(t *testing.T, share float64, decode time.Duration) *workTest {
	t.Helper()
	w := &workTest{now: time.Unix(1000, 0)}
	model := runtimetest.NewModel()
	device := runtimetest.NewDevice(model, runtime.Limits{Sequences: 4, Cells: 4096, Batch: 64, CanTruncate: true})
	device.Before = func([]runtime.Row) error { w.now = w.now.Add(decode); return nil }
	w.engine = engine.NewStepped(device, model, engine.Options{Share: share}, func() time.Time { return w.now })
	return w
}

// slicer counts its slices down, each of which moves the clock.
type slicer struct {
	bench *workTest
	took  time.Duration
	left  int
	done  int
	fail  error

	delay time.Duration // of the next slice
}

func (s *slicer) Slice() (bool, error) {
	s.bench.now = s.bench.now.Add(s.took + s.delay)
	s.delay = 0
	s.left--
	s.done++
	if s.left == 0 && s.fail != nil {
		return false, s.fail
	}
	return s.left > 0, nil
}

// start calls Work from another goroutine, and returns when the Engine has it.
func (w *workTest) start(ctx context.Context, s runtime.Slicer) <-chan error {
	result := make(chan error, 1)
	before := w.engine.CallsOfWork()
	go func() { result <- w.engine.Work(ctx, s) }()
	for w.engine.CallsOfWork() == before {
		goruntime.Gosched()
	}
	return result
}

func TestWorkTakesItsShareBesideStreams(t *testing.T) {
	for _, c := range []struct {
		share    float64
		runSlice time.Duration
	}{{0.5, time.Millisecond}, {0.5, 2300 * time.Microsecond}, {0.5, 3 * time.Millisecond}, {0.5, 25 * time.Millisecond}, {0.2, 4 * time.Millisecond}, {0.8, 10 * time.Millisecond}} {
		w := newWorkTest(t, c.share, 10*time.Millisecond)
		stream, err := w.engine.Submit(t.Context(), runtime.Request{Prompt: []runtime.Token{1, 2, 3}, Top: -1,
			Sampling: runtime.Sampling{IgnoreEOS: true}})
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		s := &slicer{bench: w, took: c.runSlice, left: 1 << 30}
		ctx, cancel := context.WithCancel(t.Context())
		result := w.start(ctx, s)
		begin := w.now
		for range 400 {
			last := w.now
			w.engine.Turn()
			// A turn is a decode and at most its share of work; with slices that are long beside that, up to one more.
			longest := 10*time.Millisecond + time.Duration(float64(10*time.Millisecond)*c.share/(1-c.share))
			if c.runSlice > 2500*time.Microsecond {
				longest += c.runSlice
			}
			if took := w.now.Sub(last); took > longest {
				t.Fatalf("share %v: a turn took %v, want at most %v", c.share, took, longest)
			}
		}
		share := float64(s.done) * float64(c.runSlice) / float64(w.now.Sub(begin))
		if share < c.share-0.03 || share > c.share+0.01 {
			t.Errorf("slices of %v had %.3f of the time, want %v", c.runSlice, share, c.share)
		}
		cancel()
		w.engine.Turn()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("Work of a cancelled context returned %v", err)
		}
	}
}

// TestWorkAfterDelayedSlices has slices that now and then are held up: no other turn pays for them, and training goes on.
func TestWorkAfterDelayedSlices(t *testing.T) {
	w := newWorkTest(t, 0.5, 10*time.Millisecond)
	stream, err := w.engine.Submit(t.Context(), runtime.Request{Prompt: []runtime.Token{1, 2, 3}, Top: -1,
		Sampling: runtime.Sampling{IgnoreEOS: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	s := &slicer{bench: w, took: time.Millisecond, left: 1 << 30}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.start(ctx, s)
	const turns = 400
	for i := range turns {
		s.delay = 0
		if i%40 == 39 {
			s.delay = 60 * time.Millisecond
		}
		last := w.now
		w.engine.Turn()
		if took := w.now.Sub(last); i%40 != 39 && took > 20*time.Millisecond {
			t.Fatalf("turn %d took %v", i, took)
		}
	}
	if s.done < turns*8 {
		t.Errorf("%d slices of 1 ms in %d turns of 10 ms", s.done, turns)
	}
}

func TestWorkTakesAllTheTimeThereIs(t *testing.T) {
	w := newWorkTest(t, 0, time.Millisecond)
	fault := errors.New("no more")
	first := &slicer{bench: w, took: time.Millisecond, left: 20}
	second := &slicer{bench: w, took: time.Millisecond, left: 5, fail: fault}
	a := w.start(t.Context(), first)
	b := w.start(t.Context(), second)
	for range 25 {
		if worked, _ := w.engine.Turn(); !worked {
			t.Fatal("the Engine would sleep beside work to do")
		}
	}
	if err := <-a; err != nil || first.done != 20 {
		t.Errorf("the first work: %v after %d slices, want none after 20", err, first.done)
	}
	if err := <-b; !errors.Is(err, fault) {
		t.Errorf("the second work: %v, want %v", err, fault)
	}
	if worked, _ := w.engine.Turn(); worked {
		t.Error("the Engine is awake without work")
	}
}

// TestCallsOfWorkShareTheTime has a call with short slices and one with long ones, and one that comes later.
func TestCallsOfWorkShareTheTime(t *testing.T) {
	w := newWorkTest(t, 0.5, 10*time.Millisecond)
	stream, err := w.engine.Submit(t.Context(), runtime.Request{Prompt: []runtime.Token{1, 2, 3}, Top: -1,
		Sampling: runtime.Sampling{IgnoreEOS: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	short := &slicer{bench: w, took: time.Millisecond, left: 1 << 30}
	long := &slicer{bench: w, took: 4 * time.Millisecond, left: 1 << 30}
	late := &slicer{bench: w, took: 2 * time.Millisecond, left: 1 << 30}
	ctx, cancel := context.WithCancel(t.Context())
	results := []<-chan error{w.start(ctx, short), w.start(ctx, long)}
	const turns = 120
	for range turns {
		w.engine.Turn()
	}
	used := func(s *slicer) time.Duration { return time.Duration(s.done) * s.took }
	if difference := (used(short) - used(long)).Abs(); difference > long.took || used(short) < turns*4*time.Millisecond {
		t.Errorf("short slices had %v and long ones %v", used(short), used(long))
	}
	before := []time.Duration{used(short), used(long)}
	results = append(results, w.start(ctx, late))
	for range turns {
		w.engine.Turn()
	}
	for i, s := range []*slicer{short, long} { // the late call neither waits for them nor makes up for what they had
		if difference := (used(s) - before[i] - used(late)).Abs(); difference > 2*long.took {
			t.Errorf("the late call had %v while call %d had %v", used(late), i, used(s)-before[i])
		}
	}
	cancel()
	w.engine.Turn()
	for _, result := range results {
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("Work of a cancelled context returned %v", err)
		}
	}
}

// batched does its slices several at once: as many as fit into a budget.
type batched struct {
	slicer
	calls int
}

func (b *batched) Slices(budget time.Duration) (more bool, longest time.Duration, err error) {
	b.calls++
	for end := b.bench.now.Add(budget); ; {
		if more, err = b.Slice(); !more || err != nil || b.bench.now.Add(b.took).After(end) {
			return more, b.took, err
		}
	}
}

// TestSlicesAtOnce has work that does all the slices of a turn in one call, and takes the same time as others.
func TestSlicesAtOnce(t *testing.T) {
	w := newWorkTest(t, 0.5, 10*time.Millisecond)
	stream, err := w.engine.Submit(t.Context(), runtime.Request{Prompt: []runtime.Token{1, 2, 3}, Top: -1,
		Sampling: runtime.Sampling{IgnoreEOS: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	s := &batched{slicer: slicer{bench: w, took: time.Millisecond, left: 1 << 30}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.start(ctx, s)
	const turns = 100
	for range turns {
		last := w.now
		w.engine.Turn()
		if took := w.now.Sub(last); took > 20*time.Millisecond {
			t.Fatalf("a turn took %v", took)
		}
	}
	if s.calls > turns+1 || s.done < 10*turns-20 {
		t.Errorf("%d slices in %d calls and %d turns", s.done, s.calls, turns)
	}
}

// TestWorkFromManyGoroutines has many calls of Work, of which some are cancelled, beside a stream: each ends with its own
// result, and the Engine runs the slices of all on its one goroutine.
func TestWorkFromManyGoroutines(t *testing.T) {
	model := runtimetest.NewModel()
	device := runtimetest.NewDevice(model, runtime.Limits{Sequences: 2, Cells: 4096, Batch: 8, CanTruncate: true})
	e := engine.New(device, model, engine.Options{Share: 0.5})
	defer e.Close()
	stream, err := e.Submit(t.Context(), runtime.Request{Prompt: []runtime.Token{1, 2, 3}, Top: -1, Sampling: runtime.Sampling{IgnoreEOS: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	fault := errors.New("no more")
	total := 0 // of all slices: no lock, since one goroutine runs them
	var calls sync.WaitGroup
	for i := range 16 {
		calls.Go(func() {
			for range 20 {
				s := &counted{total: &total, left: 5 + i}
				if i%3 == 1 {
					s.fail = fault
				}
				ctx, cancel := context.WithCancel(t.Context())
				if i%4 == 2 {
					cancel()
				}
				err := e.Work(ctx, s)
				cancel()
				if err == nil && (s.left != 0 || s.fail != nil) || err != nil && !errors.Is(err, s.fail) && !errors.Is(err, context.Canceled) {
					t.Errorf("call %d: %v with %d slices left", i, err, s.left)
				}
			}
		})
	}
	calls.Wait()
	if total == 0 {
		t.Error("no slice ran")
	}
}

// counted is work of some slices, each of which is added to a total.
type counted struct {
	total *int
	left  int
	fail  error
}

func (c *counted) Slice() (bool, error) {
	*c.total++
	c.left--
	if c.left == 0 {
		return false, c.fail
	}
	return true, nil
}

func TestWorkWithoutAShareWaitsForStreams(t *testing.T) {
	w := newWorkTest(t, 0, time.Millisecond)
	stream, err := w.engine.Submit(t.Context(), runtime.Request{Prompt: []runtime.Token{1, 2}, MaxTokens: 30, Top: -1,
		Sampling: runtime.Sampling{IgnoreEOS: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	s := &slicer{bench: w, took: time.Millisecond, left: 3}
	result := w.start(t.Context(), s)
	for w.engine.Turn(); w.engine.Stats().Running > 0; w.engine.Turn() {
		if s.done > 0 {
			t.Fatal("work ran beside a stream though its share is 0")
		}
	}
	for range 4 {
		w.engine.Turn()
	}
	if err := <-result; err != nil || s.done != 3 {
		t.Errorf("%v after %d slices, want none after 3", err, s.done)
	}
}

func TestCloseEndsWork(t *testing.T) {
	model := runtimetest.NewModel()
	device := runtimetest.NewDevice(model, runtime.Limits{Sequences: 2, Cells: 64, Batch: 8, CanTruncate: true})
	e := engine.New(device, model, engine.Options{Share: 0.5})
	result := make(chan error, 1)
	began := make(endless, 1)
	go func() { result <- e.Work(t.Context(), began) }()
	<-began
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errors.Is(err, runtime.ErrClosed) {
		t.Errorf("Work of a closed Engine returned %v", err)
	}
	if err := e.Work(t.Context(), make(endless, 1)); !errors.Is(err, runtime.ErrClosed) {
		t.Errorf("Work after Close returned %v", err)
	}
}

// endless is work that never ends. It sends a value when it begins.
type endless chan struct{}

func (e endless) Slice() (bool, error) {
	select {
	case e <- struct{}{}:
	default:
	}
	return true, nil
}

func TestWorkThatPanicsEndsAlone(t *testing.T) {
	w := newWorkTest(t, 0.5, time.Millisecond)
	result := w.start(t.Context(), panicking{})
	w.engine.Turn()
	if err := <-result; err == nil {
		t.Error("Work that panics returned no error")
	}
	if _, open := w.engine.Turn(); !open {
		t.Error("the Engine ended with it")
	}
}

type panicking struct{}

func (panicking) Slice() (bool, error) { panic("no") }
