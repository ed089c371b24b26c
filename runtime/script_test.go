package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// The scripts drive an Engine turn by turn on the fake Device. Commands:
//
//	new [sequences=4] [cells=256] [batch=32] [chunk=16] [parallel=N] [queue=8] [context=N] [nocut] [grouped]
//	adapter NAME [absent]          register an adapter, in memory or not; again: its next version
//	evict NAME                     drop it from memory
//	answer prompt=.. text=..       what the Device answers to a prompt
//	submit NAME prompt=(..) [adapter=SPEC] [max=N] [stop=(..)] [temperature=F] [seed=N] [deadline=DUR] [private] [top=N]
//	turn [N]                       take turns; prints what was decoded and what ended
//	run [limit=N]                  take turns until there is nothing to decode; prints how many and what ended
//	load NAME [error] [nobody]     let the loading of an adapter come to an end; nobody: none is expected
//	cancel NAME, tick DUR, fail [noroom|panic|short] [times=N], drain, abandon, close
//	read NAME                      the text so far, how it ended, its usage
//	cold NAME                      whether an empty Engine gives the same text
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
	model    *runtimetest.Model
	device   *runtimetest.Device
	limits   runtime.Limits
	library  *runtimetest.Library
	engine   *runtime.Engine
	options  runtime.Options
	now      time.Time
	loads    map[string]chan error
	adapters int // registered so far: every version is another adapter
	answers  map[string]string
	faults   []error
	names    []string // by id - 1
	streams  map[string]*client
	out      strings.Builder
}

// client is a stream and what was read from it.
type client struct {
	request runtime.Request
	stream  *runtime.Stream
	text    string
	tokens  []runtime.TokenText
	last    runtime.Event
	err     error
}

func newScript(d *datadriven.TestData) *script {
	s := &script{
		model: runtimetest.NewModel(), library: &runtimetest.Library{}, now: time.Unix(1000, 0),
		loads: map[string]chan error{}, answers: map[string]string{}, streams: map[string]*client{},
	}
	s.limits = runtime.Limits{
		Sequences: number(d, "sequences", 4), Cells: number(d, "cells", 256), Batch: number(d, "batch", 32), Cut: !d.HasArg("nocut"),
	}
	s.model.Facts().ContextLength = number(d, "context", 4096)
	s.options = runtime.Options{
		Parallel: number(d, "parallel", 0), MaxQueue: number(d, "queue", 8), Chunk: number(d, "chunk", 16), Grouped: d.HasArg("grouped"),
	}
	s.library.Load = func(ctx context.Context, name string) error {
		select {
		case err := <-s.loads[name]:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.device, s.engine = s.open()
	s.device.Before = s.before
	return s
}

// open returns a Device and an Engine with the script's sizes and answers.
func (s *script) open() (*runtimetest.Device, *runtime.Engine) {
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
	return d, runtime.NewStepped(d, s.model, s.options, func() time.Time { return s.now })
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
		parts = append(parts, part)
	}
	fmt.Fprintf(&s.out, "%d rows: %s\n", len(rows), strings.Join(parts, ", "))
	if len(s.faults) == 0 {
		return nil
	}
	err := s.faults[0]
	s.faults = s.faults[1:]
	if err == errPanic {
		panic(err)
	}
	return err
}

var errPanic = errors.New("the device panics")

func (s *script) command(t *testing.T, d *datadriven.TestData) {
	switch d.Cmd {
	case "adapter":
		name := first(d)
		s.loads[name] = make(chan error)
		s.adapters++
		s.library.Add(name, s.model.PackNamed(fmt.Sprint(name, s.adapters)), !d.HasArg("absent"))
	case "evict":
		s.library.Evict(first(d))
	case "answer":
		s.answers[prompt(d, "prompt")] = prompt(d, "text")
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
	default:
		t.Fatalf("%s: no command %q", d.Pos, d.Cmd)
	}
}

func (s *script) submit(t *testing.T, d *datadriven.TestData) {
	adapters, err := s.library.Get(text(d, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.model.Tokenize(prompt(d, "prompt"), false, true)
	r := runtime.Request{
		Prompt: tokens, Adapters: adapters, MaxTokens: number(d, "max", 0), Top: number(d, "top", -1), NoReuse: d.HasArg("private"),
		Sampling: runtime.Sampling{Temperature: float32(number(d, "temperature", 0)), Seed: uint64(number(d, "seed", 0))},
	}
	r.Sampling.IgnoreEOS = r.MaxTokens > 0 && len(s.answers) == 0
	for _, a := range d.CmdArgs {
		if a.Key == "stop" {
			for _, v := range a.Vals {
				r.Stop = append(r.Stop, strings.ReplaceAll(v, "_", " "))
			}
		}
	}
	if limit := text(d, "deadline"); limit != "" {
		after, err := time.ParseDuration(limit)
		if err != nil {
			t.Fatal(err)
		}
		r.Deadline = s.now.Add(after)
	}
	stream, err := s.engine.Submit(context.Background(), r)
	if err != nil {
		fmt.Fprintf(&s.out, "%v\n", err)
		return
	}
	s.names = append(s.names, first(d))
	s.streams[first(d)] = &client{request: r, stream: stream}
}

// collect reads what has been sent to the streams, and prints which ended.
func (s *script) collect() {
	for _, name := range s.names {
		c := s.streams[name]
		if c.drainEvents(); c.err != nil && c.err != errReported {
			end := string(c.last.Finish)
			if c.err != io.EOF {
				end = c.err.Error()
			}
			fmt.Fprintf(&s.out, "  %s ends: %s\n", name, end)
			c.err = errReported
		}
	}
}

var errReported = errors.New("reported")

// drainEvents reads all events there are.
func (c *client) drainEvents() {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for c.err == nil {
		ev, err := c.stream.Next(done)
		if errors.Is(err, context.Canceled) {
			return
		}
		if err != nil {
			c.err = err
			return
		}
		c.text += ev.Text
		c.tokens = append(c.tokens, ev.Tokens...)
		c.last = ev
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
		patience = 20 * time.Millisecond
	}
	select {
	case s.loads[first(d)] <- err:
	case <-time.After(patience):
		s.out.WriteString("nobody loads it\n")
		return
	}
	for s.engine.Arrived() == arrived {
		time.Sleep(10 * time.Microsecond)
	}
}

func (s *script) fail(d *datadriven.TestData) {
	err := errors.New("the device is on fire")
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

func (s *script) read(c *client) {
	c.drainEvents()
	u := c.stream.Usage()
	fmt.Fprintf(&s.out, "%q", c.text)
	if c.last.Finish != "" {
		fmt.Fprintf(&s.out, " %s", c.last.Finish)
	}
	if c.last.Stop != "" {
		fmt.Fprintf(&s.out, " at %q", c.last.Stop)
	}
	fmt.Fprintf(&s.out, " prompt=%d cached=%d completion=%d tokens=%d\n", u.Prompt, u.Cached, u.Completion, len(c.tokens))
	for _, tok := range c.tokens {
		if len(tok.Top) > 0 {
			fmt.Fprintf(&s.out, "%q %.3f %v\n", tok.Bytes, tok.Logprob, tok.Top)
		}
	}
}

// cold runs the same request alone on an empty Engine.
func (s *script) cold(t *testing.T, c *client) {
	device, engine := s.open()
	stream, err := engine.Submit(context.Background(), c.request)
	if err != nil {
		t.Fatal(err)
	}
	fresh := &client{stream: stream}
	for fresh.err == nil {
		engine.Turn()
		fresh.drainEvents()
	}
	engine.CloseStepped()
	if err := device.Fault(); err != nil {
		t.Fatal(err)
	}
	if fresh.text == c.text && fresh.last.Finish == c.last.Finish && len(c.text) > 0 {
		s.out.WriteString("same\n")
	} else {
		fmt.Fprintf(&s.out, "differs: %q %s, cold %q %s\n", c.text, c.last.Finish, fresh.text, fresh.last.Finish)
	}
}

func (s *script) state() {
	st := s.engine.State()
	for _, r := range st.Running {
		fmt.Fprintf(&s.out, "running %s: sequence %d, %d of %d tokens\n", s.names[r.ID-1], r.Seq, r.Tokens-r.Lacks, r.Tokens)
	}
	for _, w := range st.Waiting {
		fmt.Fprintf(&s.out, "waiting in %q (served %d):", w.Flow, w.Served)
		for _, id := range w.IDs {
			fmt.Fprintf(&s.out, " %s", s.names[id-1])
		}
		if w.Loading {
			s.out.WriteString(", loading")
		} else if w.Loaded {
			s.out.WriteString(", loaded")
		}
		s.out.WriteString("\n")
	}
	for _, c := range st.Cached {
		fmt.Fprintf(&s.out, "cached in %d: key %q, %d tokens", c.Seq, c.Key, c.Tokens)
		if c.Doubt {
			s.out.WriteString(", in doubt")
		}
		s.out.WriteString("\n")
	}
	fmt.Fprintf(&s.out, "cells: %d of %d used, %d by running\n", st.Used, s.limits.Cells, st.Busy)
	fmt.Fprintf(&s.out, "leases: %d, samplers: %d\n", s.library.Leases(), s.model.Samplers())
	if n := s.device.Cells(); n != st.Used {
		fmt.Fprintf(&s.out, "THE DEVICE HOLDS %d CELLS\n", n)
	}
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

// first returns the first argument's name: what a command is about.
func first(d *datadriven.TestData) string { return d.CmdArgs[0].Key }

func text(d *datadriven.TestData, key string) string {
	for _, a := range d.CmdArgs {
		if a.Key == key && len(a.Vals) == 1 {
			return a.Vals[0]
		}
	}
	return ""
}

func number(d *datadriven.TestData, key string, otherwise int) int {
	if v := text(d, key); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			panic(err)
		}
		return n
	}
	return otherwise
}

// prompt puts words together, each as often as it says.
func prompt(d *datadriven.TestData, key string) string {
	var b strings.Builder
	for _, a := range d.CmdArgs {
		if a.Key != key {
			continue
		}
		for _, word := range a.Vals {
			word, times, _ := strings.Cut(word, "*")
			n, err := strconv.Atoi(times)
			if err != nil {
				n = 1
			}
			b.WriteString(strings.ReplaceAll(strings.Repeat(word, n), "_", " "))
		}
	}
	return b.String()
}
