package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// client is a stream and what was read from it.
type client struct {
	request runtime.Request
	stream  *runtime.Stream
	text    string
	tokens  []runtime.TokenText
	prompt  []runtime.TokenText
	last    runtime.Event
	err     error
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
	r.KeepEnd, r.Exact = d.HasArg("end"), d.HasArg("exact")
	r.Score, r.PromptOnly, r.Pooling = d.HasArg("score"), d.HasArg("only"), runtime.Pooling(number(d, "pooling", 0))
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
		c.prompt = append(c.prompt, ev.Prompt...)
		c.last = ev
	}
}
