package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// randomRun draws requests and faults at random, for an Engine whose sizes were drawn too.
type randomRun struct {
	*rand.Rand
	model    *runtimetest.Model
	library  *runtimetest.Library // what the Engine is given
	resident *runtimetest.Library // the same adapters, always resident: what the oracle is given
	packed   []runtime.Packed     // the library's
	limits   runtime.Limits
	options  engine.Options
}

var flows = []string{"", "", "x", "y", "z", "x+y*0.5", "x*0.25", "activated", "activated", "x+activated*0.5", "activated+other"}

func newRandomRun(seed uint64) *randomRun {
	c := &randomRun{Rand: rand.New(rand.NewPCG(seed, 0)), model: runtimetest.NewModel(), library: &runtimetest.Library{}, resident: &runtimetest.Library{}}
	c.limits = runtime.Limits{Sequences: 1 + c.IntN(5), Cells: 24 + c.IntN(100), Batch: 4 + c.IntN(30), CanTruncate: c.IntN(4) > 0, Exact: c.IntN(4) > 0}
	c.options = engine.Options{Chunk: 1 + c.IntN(16), Parallel: c.IntN(6), MaxQueue: 100, Grouped: c.IntN(4) == 0}
	for name, invocation := range map[string]string{"x": "", "y": "", "z": "", "activated": "cd", "other": "bc"} {
		p := c.model.PackNamed(name)
		c.packed = append(c.packed, p)
		tokens, _ := c.model.Tokenize(invocation, false, false)
		c.library.AddActivated(name, p, true, tokens)
		c.resident.AddActivated(name, c.model.PackNamed(name), true, tokens)
	}
	return c
}

// request draws a request whose prompt is likely to begin as another's does; reference is the same for the oracle.
func (c *randomRun) request() (r, reference runtime.Request) {
	words := []string{"ab", "cde", strings.Repeat("s", 9), strings.Repeat("long", 5)}
	var prompt strings.Builder
	for range 1 + c.IntN(4) {
		prompt.WriteString(words[c.IntN(len(words))])
	}
	tokens, _ := c.model.Tokenize(prompt.String(), false, false)
	tokens = tokens[:min(len(tokens), c.limits.Cells-1)]
	spec := flows[c.IntN(len(flows))]
	adapters, err := c.library.Get(spec)
	resident, err2 := c.resident.Get(spec)
	if err := errors.Join(err, err2); err != nil {
		panic(err)
	}
	r = runtime.Request{
		Prompt: tokens, Adapters: adapters, MaxTokens: c.IntN(40), Top: c.IntN(4) - 1, NoReuse: c.IntN(8) == 0, Exact: c.IntN(3) == 0,
		Sampling: runtime.Sampling{Temperature: float32(c.IntN(2)), Seed: c.Uint64N(5), IgnoreEOS: c.IntN(2) == 0},
	}
	if c.IntN(3) == 0 {
		r.Stop = []string{string(rune('a' + c.IntN(26))), "e t"}
	}
	reference = r
	reference.Adapters = resident
	return r, reference
}

// Whatever comes together, and whatever the Device refuses: the records agree with the Device after every
// turn, no rule of its contract is broken, and every answer is what it would have been alone.
func TestRandomly(t *testing.T) {
	for seed := range uint64(150) {
		for _, faults := range []bool{false, true} {
			t.Run(fmt.Sprint(seed, faults), func(t *testing.T) { runRandomly(t, newRandomRun(seed), faults) })
		}
	}
}

func runRandomly(t *testing.T, c *randomRun, faults bool) {
	device := runtimetest.NewDevice(c.model, c.limits)
	engine := engine.NewStepped(device, c.model, c.options, time.Now)
	var clients []*client
	turn := func() bool {
		worked, _ := engine.Turn()
		if err := errors.Join(device.Fault(), engine.CheckRecords(device.Length, device.Cells())); err != nil {
			t.Fatal(err)
		}
		return worked
	}
	for range 60 {
		for range c.IntN(3) {
			r, reference := c.request()
			stream, err := engine.Submit(context.Background(), r)
			if err != nil {
				t.Fatal(err)
			}
			clients = append(clients, &client{request: reference, stream: stream})
		}
		if c.IntN(9) == 0 && len(clients) > 0 {
			clients[c.IntN(len(clients))].stream.Close()
		}
		device.Before, device.Refuse = nil, nil
		if faults && c.IntN(5) == 0 {
			c.injectFault(device)
		}
		turn()
	}
	device.Before, device.Refuse = nil, nil
	for turns := 0; engine.Live() > 0; turns++ {
		if !turn() || turns > 10000 {
			t.Fatalf("%d requests are left and nothing is decoded: %+v", engine.Live(), engine.State())
		}
	}
	for i, cl := range clients {
		cl.drainEvents()
		checkAnswer(t, fmt.Sprint("answer ", i), c, cl, engine.Context(), faults)
	}
	// No sequence has an adapter any more that no request uses.
	for _, p := range c.packed {
		p.Close()
	}
	stream, err := engine.Submit(context.Background(), runtime.Request{Prompt: []runtime.Token{'a'}, MaxTokens: 1, Top: -1})
	if err != nil {
		t.Fatal(err)
	}
	turn()
	if ev, err := stream.Next(context.Background()); err != nil || ev.Finish == "" {
		t.Errorf("in the end a request is answered with %+v, %v", ev, err)
	}
	engine.CloseStepped()
	if c.library.Leases() != 0 || c.model.Samplers() != 0 || engine.Pinned() != 0 || engine.Flows() != 0 {
		t.Errorf("left: %d leases, %d samplers, %d pins, %d flows", c.library.Leases(), c.model.Samplers(), engine.Pinned(), engine.Flows())
	}
}

// injectFault makes the Device fail, or have no room, or refuse a call.
func (c *randomRun) injectFault(device *runtimetest.Device) {
	fault := errors.New("the device failed")
	err, call := []error{fault, runtime.ErrNoRoom}[c.IntN(2)], []string{"SetAdapters", "Copy", "Truncate"}[c.IntN(3)]
	if c.IntN(2) == 0 {
		device.Before = func([]runtime.Row) error { return err }
		return
	}
	device.Refuse = func(what string, _ int) error {
		if what == call {
			return fault
		}
		return nil
	}
}

// checkAnswer compares an answer that has ended with the oracle's. Where the Device had no room it may be
// shorter, and where it failed there may be an error.
func checkAnswer(t *testing.T, name string, c *randomRun, cl *client, context int, faults bool) {
	t.Helper()
	switch {
	case errors.Is(cl.err, runtime.ErrClosed):
		return
	case faults && cl.err != io.EOF:
		return
	case cl.err != io.EOF:
		t.Errorf("%s ends with %v", name, cl.err)
		return
	}
	text, finish := oracle(t, c.model, cl.request, context, c.limits.Exact)
	if faults && cl.last.Finish == runtime.FinishLength && strings.HasPrefix(text, cl.text) {
		return
	}
	if cl.text != text || cl.last.Finish != finish {
		t.Errorf("%s is %q %s, want %q %s", name, cl.text, cl.last.Finish, text, finish)
	}
	if u := cl.stream.Usage(); u.Completion < len(cl.tokens) || u.Prompt != len(cl.request.Prompt) || u.Cached >= u.Prompt ||
		cl.request.NoReuse && u.Cached > 0 || u.Started.IsZero() || u.Finished.IsZero() {
		t.Errorf("%s: usage %+v, %d tokens read", name, u, len(cl.tokens))
	}
}
