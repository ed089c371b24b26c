package engine_test

import (
	"context"
	"errors"
	"io"
	goruntime "runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// testEngine is an Engine on the fake Device, with an adapter "x" that is loaded when load is closed.
type testEngine struct {
	*engine.Engine
	model   *runtimetest.Model
	device  *runtimetest.Device
	library *runtimetest.Library
	load    chan struct{}
}

// newTestEngine starts an Engine that the test's end closes, and checks that nothing is left then.
func newTestEngine(t *testing.T, o engine.Options, before func([]runtime.Row) error) *testEngine {
	goroutines := goruntime.NumGoroutine()
	h := &testEngine{model: runtimetest.NewModel(), library: &runtimetest.Library{}, load: make(chan struct{})}
	h.library.Load = func(ctx context.Context, _ string) error {
		select {
		case <-h.load:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	h.library.Add("x", h.model.PackNamed("x"), false)
	h.device = runtimetest.NewDevice(h.model, runtime.Limits{Sequences: 2, Cells: 64, Batch: 16, CanTruncate: true})
	h.device.Before = before
	h.Engine = engine.New(h.device, h.model, o)
	t.Cleanup(func() {
		if err := errors.Join(h.Close(), h.device.Fault()); err != nil {
			t.Error(err)
		}
		if h.library.Leases() != 0 || h.model.Samplers() != 0 || h.Live() != 0 {
			t.Errorf("left: %d leases, %d samplers, %d requests", h.library.Leases(), h.model.Samplers(), h.Live())
		}
		waitForGoroutines(t, goroutines)
	})
	return h
}

// request returns a request for n tokens.
func (h *testEngine) request(adapter string, n int) runtime.Request {
	a, err := h.library.Get(adapter)
	if err != nil {
		panic(err)
	}
	return runtime.Request{Prompt: []runtime.Token{'a', 'b'}, Adapters: a, MaxTokens: n, Top: -1, Sampling: runtime.Sampling{IgnoreEOS: true}}
}

func (h *testEngine) submit(t *testing.T, r runtime.Request) *runtime.Stream {
	t.Helper()
	s, err := h.Submit(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// readAll reads a stream to its end, and returns its text and how it ended.
func readAll(s *runtime.Stream) (text string, err error) {
	for {
		ev, err := s.Next(context.Background())
		if err != nil {
			return text, err
		}
		text += ev.Text
	}
}

func TestSubmitRefuses(t *testing.T) {
	h := newTestEngine(t, engine.Options{}, nil)
	h.Model().Facts() // the model is the one that was given
	tooLong := h.request("", 1)
	tooLong.Prompt = make([]runtime.Token, 64)
	empty := h.request("", 1)
	empty.Prompt = nil
	foreign := h.request("", 1)
	foreign.Prompt = []runtime.Token{'a', 5000}
	biased := h.request("", 1)
	biased.Sampling.LogitBias = map[runtime.Token]float32{9999: 1}
	for _, test := range []struct {
		request runtime.Request
		want    error
		says    string
	}{
		{empty, runtime.ErrPrompt, "empty"},
		{foreign, runtime.ErrPrompt, "token 5000 at position 1"},
		{tooLong, runtime.ErrContextLength, "64"},
		{biased, runtime.ErrSampling, "9999"},
	} {
		if _, err := h.Submit(context.Background(), test.request); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("Submit returns %v, want %v with %q", err, test.want, test.says)
		}
	}
	var length *runtime.ContextError
	if _, err := h.Submit(context.Background(), tooLong); !errors.As(err, &length) || length.Prompt != 64 || length.Context != h.Context() {
		t.Errorf("a prompt that is too long: %v", err)
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := h.Submit(gone, h.request("", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended, Submit returns %v", err)
	}
	if n := h.Live(); n != 0 {
		t.Errorf("refused requests hold %d places", n)
	}
}

// A deadline wakes an Engine that has nothing to decode, and nothing else does.
func TestDeadlineWhileAsleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 200 * time.Millisecond
		h := newTestEngine(t, engine.Options{Deadline: limit}, nil)
		start := time.Now()
		s := h.submit(t, h.request("x", 3))
		synctest.Wait() // until the Engine sleeps and the adapter is being loaded
		if n := h.Stats().Loading; n != 1 {
			t.Errorf("%d requests load their adapters", n)
		}
		snapshot := h.Published()
		time.Sleep(limit / 2)
		synctest.Wait()
		if h.Published() != snapshot {
			t.Error("an Engine that can only wait takes turns")
		}
		if _, err := readAll(s); !errors.Is(err, runtime.ErrDeadline) {
			t.Errorf("the stream ends with %v", err)
		}
		if took := time.Since(start); took != limit {
			t.Errorf("the deadline came after %v", took)
		}
	})
}

// Loading an adapter delays no other request.
func TestLoadingDoesNotBlockOthers(t *testing.T) {
	h := newTestEngine(t, engine.Options{}, nil)
	slow := h.submit(t, h.request("x", 3))
	if text, err := readAll(h.submit(t, h.request("", 9))); !errors.Is(err, io.EOF) || text == "" {
		t.Fatalf("beside a load: %q, %v", text, err)
	}
	if s := h.Stats(); s.Waiting != 1 || s.Loading != 1 {
		t.Errorf("meanwhile: %+v", s)
	}
	close(h.load)
	if text, err := readAll(slow); !errors.Is(err, io.EOF) || text == "" {
		t.Errorf("after the load: %q, %v", text, err)
	}
}

// TestPrefixesStayWithTheirTenant wants a cached prefix to serve the tenant alone that left it: how much of a prompt was
// cached would tell another whether it was asked before.
func TestPrefixesStayWithTheirTenant(t *testing.T) {
	h := newTestEngine(t, engine.Options{}, nil)
	cached := func(tenant string) int {
		r := h.request("", 2)
		r.Prompt, r.Tenant = nil, tenant
		for _, c := range "a prompt of some" {
			r.Prompt = append(r.Prompt, c)
		}
		s := h.submit(t, r)
		if _, err := readAll(s); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		return s.Usage().Cached
	}
	cached("shop")
	if n := cached("cafe"); n != 0 {
		t.Errorf("%d tokens of another tenant's prompt are reused", n)
	}
	if n := cached("shop"); n == 0 {
		t.Error("the tenant's own prefix is not reused")
	}
	cached("")
	if n := cached(""); n == 0 {
		t.Error("without tenants the prefix is not reused")
	}
}

// What does not end in time is cancelled by Drain.
func TestDrainCancelsAfterItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func([]runtime.Row) error {
			time.Sleep(5 * time.Millisecond)
			return nil
		}
		h := newTestEngine(t, engine.Options{MaxQueue: 5}, slow)
		streams := []*runtime.Stream{
			h.submit(t, h.request("", 50)), h.submit(t, h.request("x", 50)), h.submit(t, h.request("", 50)), h.submit(t, h.request("", 50)),
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if err := h.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain returns %v", err)
		}
		for i, s := range streams {
			if _, err := readAll(s); !errors.Is(err, runtime.ErrDraining) {
				t.Errorf("stream %d ends with %v", i, err)
			}
		}
		if err := h.Drain(context.Background()); err != nil {
			t.Errorf("when all have ended, Drain returns %v", err)
		}
	})
}

func TestCloseEndsAll(t *testing.T) {
	h := newTestEngine(t, engine.Options{MaxQueue: 5}, nil)
	waiting := h.submit(t, h.request("x", 50))
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if _, err := readAll(waiting); !errors.Is(err, runtime.ErrClosed) {
		t.Errorf("the stream ends with %v", err)
	}
	if _, err := h.Submit(context.Background(), h.request("", 1)); !errors.Is(err, runtime.ErrClosed) {
		t.Errorf("after Close, Submit returns %v", err)
	}
	if err := h.Drain(context.Background()); err != nil {
		t.Errorf("after Close, Drain returns %v", err)
	}
}

// shortDevice is a Device that loses a choice.
type shortDevice struct{ *runtimetest.Device }

// Decode returns one choice less than it should.
func (f shortDevice) Decode(rows []runtime.Row) ([]runtime.Choice, error) {
	choices, err := f.Device.Decode(rows)
	return choices[:max(0, len(choices)-1)], err
}

// A Device that returns too little has failed.
func TestTooFewChoices(t *testing.T) {
	m := runtimetest.NewModel()
	e := engine.New(shortDevice{runtimetest.NewDevice(m, runtime.Limits{Sequences: 2, Cells: 64, Batch: 16})}, m, engine.Options{})
	defer e.Close()
	s, err := e.Submit(context.Background(), runtime.Request{Prompt: []runtime.Token{'a'}, Top: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(s); !errors.Is(err, runtime.ErrDecode) {
		t.Errorf("the stream ends with %v", err)
	}
}
