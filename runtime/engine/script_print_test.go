package engine_test

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
)

// This file prints what the scripts ask for, and reads their arguments.

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
	if len(c.prompt) > 0 {
		fmt.Fprintf(&s.out, "scores of %d tokens, the last %q %.3f %v\n", len(c.prompt), c.prompt[len(c.prompt)-1].Bytes, c.prompt[len(c.prompt)-1].Logprob, c.prompt[len(c.prompt)-1].Top)
	}
	if c.last.Embedding != nil {
		fmt.Fprintf(&s.out, "embedding %.2f\n", c.last.Embedding)
	}
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
	same := reflect.DeepEqual(fresh.prompt, c.prompt) && reflect.DeepEqual(fresh.last.Embedding, c.last.Embedding)
	if same && fresh.text == c.text && fresh.last.Finish == c.last.Finish && len(c.text)+len(c.prompt)+len(c.last.Embedding) > 0 {
		s.out.WriteString("same\n")
	} else {
		fmt.Fprintf(&s.out, "differs: %q %s, cold %q %s\n", c.text, c.last.Finish, fresh.text, fresh.last.Finish)
	}
}

// Turn notes what the Observer is told of a turn, to be printed by stats.
func (s *script) Turn(t engine.Turn) {
	s.heard = append(s.heard, fmt.Sprintf("turn of %d rows, %d of prompts, %d adapters", t.Rows, t.Prefill, t.Adapters))
}

// Token notes a token.
func (s *script) Token(flow string, first bool, wait time.Duration) {
	what := "a token"
	if first {
		what = "the first token"
	}
	s.heard = append(s.heard, fmt.Sprintf("%s for %q after %v", what, flow, wait.Round(time.Second)))
}

// Worked is not noted: scripts have no background work.
func (s *script) Worked(time.Duration) {}

// Finished notes the end of a request.
func (s *script) Finished(flow string, u runtime.Usage, err error) {
	s.heard = append(s.heard, fmt.Sprintf("%q finished with %d tokens: %v", flow, u.Completion, err))
}

// stats prints Stats, and what the Observer was told since the last time.
func (s *script) stats(brief bool) {
	for _, line := range s.heard {
		if !brief {
			s.out.WriteString(line + "\n")
		}
	}
	s.heard = nil
	fmt.Fprintf(&s.out, "%+v\n", s.engine.Stats())
}

func (s *script) state() {
	st := s.engine.State()
	for _, r := range st.Running {
		fmt.Fprintf(&s.out, "running %s: sequence %d, %d of %d tokens\n", s.names[r.ID-1], r.Seq, r.Tokens-r.Uncached, r.Tokens)
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
		if c.NeedsReset {
			s.out.WriteString(", needs reset")
		}
		s.out.WriteString("\n")
	}
	fmt.Fprintf(&s.out, "cells: %d of %d used, %d by running\n", st.Used, s.limits.Cells, st.Busy)
	fmt.Fprintf(&s.out, "leases: %d, samplers: %d\n", s.library.Leases(), s.model.Samplers())
	if n := s.device.Cells(); n != st.Used {
		fmt.Fprintf(&s.out, "THE DEVICE HOLDS %d CELLS\n", n)
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
