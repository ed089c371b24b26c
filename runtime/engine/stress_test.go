package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// countingObserver counts the calls of an Observer.
type countingObserver struct {
	turns, rows, tokens, finished, answered atomic.Int64
}

func (w *countingObserver) Turn(t engine.Turn) {
	w.turns.Add(1)
	w.rows.Add(int64(t.Rows))
}
func (w *countingObserver) Worked(time.Duration)              {}
func (w *countingObserver) Token(string, bool, time.Duration) { w.tokens.Add(1) }
func (w *countingObserver) Finished(_ string, _ runtime.Usage, err error) {
	w.finished.Add(1)
	if err == nil {
		w.answered.Add(1)
	}
}

// Many clients at once, which read, go away, wait for adapters that load slowly or not at all, and meet
// deadlines, on a Device that is too small and fails now and then. Every answer is right, and in the end
// nothing is left: no lease, no sampler, no goroutine.
func TestStress(t *testing.T) {
	before := goruntime.NumGoroutine()
	c := newRandomRun(1)
	c.limits = runtime.Limits{Sequences: 6, Cells: 160, Batch: 24, CanTruncate: true}
	c.library.Load = slowly()
	device := runtimetest.NewDevice(c.model, c.limits)
	device.Before = unreliable()
	saw := &countingObserver{}
	engine := engine.New(device, c.model, engine.Options{Chunk: 8, MaxQueue: 20, Observer: saw})

	const clients, each = 24, 40
	var submitted, whole atomic.Int64
	var wg sync.WaitGroup
	for n := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			mine := *c
			mine.Rand = rand.New(rand.NewPCG(uint64(n), 7))
			for i := range each {
				name := fmt.Sprintf("answer %d of client %d", i, n)
				if reference, stream := mine.ask(t, engine); stream != nil {
					submitted.Add(1)
					if mine.read(t, name, reference, stream, engine.Context()) {
						whole.Add(1)
					}
				}
				engine.Stats()
			}
		}()
	}
	wg.Wait()
	if err := engine.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	r, _ := c.request()
	if _, err := engine.Submit(context.Background(), r); !errors.Is(err, runtime.ErrDraining) {
		t.Errorf("after Drain, Submit returns %v", err)
	}
	for range 2 {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := device.Fault(); err != nil {
		t.Error(err)
	}
	if s := engine.Stats(); s.Running+s.Waiting+s.CellsRunning != 0 || s.Preempted == 0 || s.Evicted == 0 {
		t.Errorf("in the end: %+v", s)
	}
	if c.library.Leases() != 0 || c.model.Samplers() != 0 {
		t.Errorf("left: %d leases, %d samplers", c.library.Leases(), c.model.Samplers())
	}
	if saw.finished.Load() != submitted.Load() || saw.answered.Load() < whole.Load() || whole.Load() < submitted.Load()/4 {
		t.Errorf("%d submitted, %d finished, %d answered, %d read", submitted.Load(), saw.finished.Load(), saw.answered.Load(), whole.Load())
	}
	waitForGoroutines(t, before)
}

// waitForGoroutines waits until there are no more goroutines than before.
func waitForGoroutines(t *testing.T, before int) {
	t.Helper()
	for wait := 0; goruntime.NumGoroutine() > before; wait++ {
		if wait > 5000 {
			t.Fatalf("%d goroutines before, %d after", before, goruntime.NumGoroutine())
		}
		time.Sleep(time.Millisecond)
	}
}

// slowly returns a loader of adapters that takes its time, and fails now and then.
func slowly() func(ctx context.Context, name string) error {
	var loads atomic.Int64
	return func(ctx context.Context, name string) error {
		n := loads.Add(1)
		select {
		case <-time.After(time.Duration(n%5) * 100 * time.Microsecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		if n%7 == 0 {
			return errors.New("the file is gone")
		}
		return nil
	}
}

// unreliable returns a Device's Before that fails now and then, or has no room.
func unreliable() func(rows []runtime.Row) error {
	decodes := 0
	return func([]runtime.Row) error {
		switch decodes++; {
		case decodes%301 == 0:
			return errors.New("the device failed")
		case decodes%53 == 0:
			return runtime.ErrNoRoom
		}
		return nil
	}
}

// ask submits a request, again and again where the queue is full. It returns what to give the oracle.
func (c *randomRun) ask(t *testing.T, engine *engine.Engine) (runtime.Request, *runtime.Stream) {
	r, reference := c.request()
	switch c.IntN(10) {
	case 0:
		r.Deadline = time.Now().Add(time.Duration(c.IntN(3000)) * time.Microsecond)
	case 1:
		c.library.Evict([]string{"x", "y", "z"}[c.IntN(3)])
	}
	for {
		stream, err := engine.Submit(context.Background(), r)
		if err == nil {
			return reference, stream
		}
		if !errors.Is(err, runtime.ErrQueueFull) {
			t.Error(err)
			return reference, nil
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// read reads an answer, or goes away in the middle, and reports whether it was whole.
func (c *randomRun) read(t *testing.T, name string, reference runtime.Request, stream *runtime.Stream, limit int) bool {
	defer stream.Close()
	cl := &client{request: reference, stream: stream}
	leave := -1
	if c.IntN(5) == 0 {
		leave = c.IntN(10)
	}
	for n := 0; ; n++ {
		if n == leave {
			go stream.Close()
		}
		ev, err := stream.Next(context.Background())
		if err != nil {
			cl.err = err
			break
		}
		cl.text, cl.last = cl.text+ev.Text, ev
		cl.tokens = append(cl.tokens, ev.Tokens...)
	}
	if cl.err != io.EOF {
		return false
	}
	checkAnswer(t, name, c, cl, limit, true)
	return true
}
