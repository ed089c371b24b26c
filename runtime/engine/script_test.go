package engine_test

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// The scripts drive an Engine turn by turn on the fake Device. Commands:
//
//	new [sequences=4] [cells=256] [batch=32] [chunk=16] [parallel=N] [queue=8] [context=N] [notruncate] [grouped] [exact]
//	adapter NAME [absent] [invocation=(..)]  register an adapter, in memory or not; again: its next version
//	uncancellable                  loads go on when their context is cancelled
//	evict NAME                     drop it from memory
//	answer prompt=.. text=..       what the Device answers to a prompt
//	submit NAME prompt=(..) [adapter=SPEC] [max=N] [stop=(..)] [temperature=F] [seed=N] [deadline=DUR] [private] [top=N] [score] [only] [pooling=1|2|3] [exact]
//	turn [N]                       take turns; prints what was decoded and what ended
//	run [limit=N]                  take turns until there is nothing to decode; prints how many and what ended
//	load NAME [error] [nobody]     let the loading of an adapter come to an end; nobody: none is expected
//	cancel NAME, tick DUR, fail [noroom|panic|setadapters|copy|truncate] [times=N],
//	drain, abandon, close
//	read NAME                      the text so far, how it ended, its usage
//	cold NAME                      whether an empty Engine gives the same text
//	stats [brief]                  what Stats, and if not brief the Observer, say
//	state                          who runs and waits, what is cached, what is held
//
// A prompt is words put together; "ab*10" is ten times "ab", and "_" is a blank.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/engine", func(t *testing.T, path string) {
		var s *script
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "new" {
				s.finish(t)
				s = newScript(d)
				return ""
			}
			s.out.Reset()
			s.command(t, d)
			if err := s.device.Fault(); err != nil {
				t.Fatal(err)
			}
			return s.out.String()
		})
		s.finish(t)
	})
}

type script struct {
	model         *runtimetest.Model
	device        *runtimetest.Device
	limits        runtime.Limits
	library       *runtimetest.Library
	engine        *engine.Engine
	options       engine.Options
	now           time.Time
	loads         map[string]chan error
	loading       atomic.Int32 // goroutines that load
	uncancellable bool         // loads ignore their context
	adapters      int          // registered so far: every version is another adapter
	answers       map[string]string
	refusals      map[string]int // how often a call is to fail yet
	faults        []error
	names         []string // by id - 1
	streams       map[string]*client
	heard         []string // by the Observer, since stats
	out           strings.Builder
}

func newScript(d *datadriven.TestData) *script {
	s := &script{
		model: runtimetest.NewModel(), library: &runtimetest.Library{}, now: time.Unix(1000, 0),
		loads: map[string]chan error{}, answers: map[string]string{}, streams: map[string]*client{},
		refusals: map[string]int{},
	}
	s.limits = runtime.Limits{
		Sequences: number(d, "sequences", 4), Cells: number(d, "cells", 256), Batch: number(d, "batch", 32), CanTruncate: !d.HasArg("notruncate"),
		Exact: d.HasArg("exact"),
	}
	s.model.Facts().ContextLength = number(d, "context", 4096)
	s.options = engine.Options{
		Parallel: number(d, "parallel", 0), MaxQueue: number(d, "queue", 8), Chunk: number(d, "chunk", 16), Grouped: d.HasArg("grouped"),
		Observer: s,
	}
	s.library.Load = func(ctx context.Context, name string) error {
		s.loading.Add(1)
		defer s.loading.Add(-1)
		if s.uncancellable {
			return <-s.loads[name]
		}
		select {
		case err := <-s.loads[name]:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.device, s.engine = s.open()
	s.device.Before = s.before
	s.device.Refuse = func(call string, seq int) error {
		if s.refusals[call] == 0 {
			return nil
		}
		s.refusals[call]--
		return fmt.Errorf("%s of sequence %d failed", call, seq)
	}
	return s
}

// open returns a Device and an Engine with the script's sizes and answers.
func (s *script) open() (*runtimetest.Device, *engine.Engine) {
	d := runtimetest.NewDevice(s.model, s.limits)
	d.Answer = func(history string) (runtime.Token, bool) {
		for prompt, answer := range s.answers {
			if rest, ok := strings.CutPrefix(history, prompt); ok && strings.HasPrefix(answer, rest) {
				if answer == rest {
					return runtimetest.EOS, true
				}
				return runtime.Token(answer[len(rest)]), true
			}
		}
		return 0, false
	}
	return d, engine.NewStepped(d, s.model, s.options, func() time.Time { return s.now })
}

// before prints the rows that the Device is given, and fails it where the script wants it to.
func (s *script) before(rows []runtime.Row) error {
	names := map[int]string{}
	for _, r := range s.engine.State().Running {
		names[r.Seq] = s.names[r.ID-1]
	}
	var parts []string
	for i := 0; i < len(rows); {
		from := i
		for i++; i < len(rows) && rows[i].Seq == rows[from].Seq; i++ {
		}
		part := fmt.Sprintf("%s %d", names[rows[from].Seq], rows[from].Pos)
		if i-from > 1 {
			part += fmt.Sprintf("..%d", rows[i-1].Pos)
		}
		if rows[i-1].Sampler != nil {
			part += "?"
		}
		if n := askedOfPrompt(rows[from:i]); n > 0 {
			part += fmt.Sprintf(" asks %d", n)
		}
		parts = append(parts, part)
	}
	kind := ""
	if rows[0].Exact {
		kind = " exact"
	}
	fmt.Fprintf(&s.out, "%d%s rows: %s\n", len(rows), kind, strings.Join(parts, ", "))
	if len(s.faults) == 0 {
		return nil
	}
	err := s.faults[0]
	s.faults = s.faults[1:]
	if errors.Is(err, errPanic) {
		panic(err)
	}
	return err
}

// askedOfPrompt returns how many rows ask for what is not an answer's token.
func askedOfPrompt(rows []runtime.Row) (n int) {
	for _, r := range rows {
		if r.Scored || r.Hidden {
			n++
		}
	}
	return n
}

var errPanic = errors.New("the device panics")

func (s *script) command(t *testing.T, d *datadriven.TestData) {
	switch d.Cmd {
	case "adapter":
		name := first(d)
		s.loads[name] = make(chan error)
		s.adapters++
		invocation, _ := s.model.Tokenize(prompt(d, "invocation"), false, true)
		s.library.AddActivated(name, s.model.PackNamed(fmt.Sprint(name, s.adapters)), !d.HasArg("absent"), invocation)
	case "evict":
		s.library.Evict(first(d))
	case "answer":
		s.answers[prompt(d, "prompt")] = prompt(d, "text")
	case "uncancellable":
		s.uncancellable = true
	case "submit":
		s.submit(t, d)
	case "turn":
		n := 1
		if len(d.CmdArgs) > 0 {
			n, _ = strconv.Atoi(first(d))
		}
		for range n {
			if worked, _ := s.engine.Turn(); !worked {
				s.out.WriteString("nothing to decode\n")
			}
			s.collect()
		}
	case "run":
		s.run(d)
	case "load":
		s.load(d)
	case "cancel":
		s.streams[first(d)].stream.Close()
	case "tick":
		step, err := time.ParseDuration(first(d))
		if err != nil {
			t.Fatal(err)
		}
		s.now = s.now.Add(step)
	case "fail":
		s.fail(d)
	case "drain", "abandon":
		s.drain(d.Cmd == "abandon")
	case "close":
		s.finish(t)
		s.collect()
	case "read":
		s.read(s.streams[first(d)])
	case "cold":
		s.cold(t, s.streams[first(d)])
	case "state":
		s.state()
	case "stats":
		s.stats(d.HasArg("brief"))
	default:
		t.Fatalf("%s: no command %q", d.Pos, d.Cmd)
	}
}

func (s *script) run(d *datadriven.TestData) {
	var ends strings.Builder
	limit, turns := number(d, "limit", 1000), 0
	for ; turns < limit; turns++ {
		s.out.Reset()
		worked, _ := s.engine.Turn()
		s.out.Reset()
		s.collect()
		ends.WriteString(s.out.String())
		if !worked {
			break
		}
	}
	s.out.Reset()
	fmt.Fprintf(&s.out, "%d turns\n%s", turns, ends.String())
}

func (s *script) load(d *datadriven.TestData) {
	var err error
	if d.HasArg("error") {
		err = errors.New("the file is gone")
	}
	arrived, patience := s.engine.Arrived(), 30*time.Second
	if d.HasArg("nobody") {
		for deadline := time.Now().Add(patience); s.loading.Load() > 0; goruntime.Gosched() {
			if time.Now().After(deadline) {
				s.out.WriteString("somebody loads it\n")
				return
			}
		}
		s.out.WriteString("nobody loads it\n")
		return
	}
	select {
	case s.loads[first(d)] <- err:
	case <-time.After(patience):
		s.out.WriteString("nobody loads it\n")
		return
	}
	for s.engine.Arrived() == arrived {
		goruntime.Gosched()
	}
}

func (s *script) fail(d *datadriven.TestData) {
	err := errors.New("the device failed")
	for _, call := range []string{"SetAdapters", "Copy", "Truncate"} {
		if d.HasArg(strings.ToLower(call)) {
			s.refusals[call] = number(d, "times", 1)
			return
		}
	}
	switch {
	case d.HasArg("noroom"):
		err = runtime.ErrNoRoom
	case d.HasArg("panic"):
		err = errPanic
	}
	for range number(d, "times", 1) {
		s.faults = append(s.faults, err)
	}
}

// drain starts draining, and says whether it is over; abandon ends what is left.
func (s *script) drain(abandon bool) {
	if !abandon {
		fmt.Fprintf(&s.out, "drained: %v\n", s.engine.Drained())
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fmt.Fprintf(&s.out, "%v\n", s.engine.Drain(ctx))
}

// finish closes the Engine and checks that nothing is left.
func (s *script) finish(t *testing.T) {
	if s == nil {
		return
	}
	s.engine.CloseStepped()
	if n, m, l := s.library.Leases(), s.model.Samplers(), s.engine.Live(); n != 0 || m != 0 || l != 0 {
		t.Fatalf("after Close there are %d leases, %d samplers and %d requests", n, m, l)
	}
	if err := s.device.Fault(); err != nil {
		t.Fatal(err)
	}
}
