package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
)

// dial opens a connection of the test's own.
func (h *testServer) dial() *net.TCPConn {
	h.t.Helper()
	c, err := net.Dial("tcp", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// raw is an HTTP request as bytes.
func raw(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

// long keeps the fake device busy for seconds.
const long = `"ignore_eos":true,"max_tokens":3000`

// A client that disconnects frees its sequence within a second, wherever its request is, whether it streams or
// not, and whether the connection ends with FIN or with RST.
func TestDisconnectFreesTheSequence(t *testing.T) {
	slow := slowly(10 * time.Millisecond)
	busy := func(p *setup, _ chan struct{}) { slow(p) }
	states := map[string]struct {
		prepare func(p *setup, stuck chan struct{}) // stuck is closed when all has been seen
		body    string
		at      func(engine.Stats) bool
	}{
		"running": {busy, completion("a", long), func(s engine.Stats) bool { return s.Running == 2 && s.CellsRunning > 4 }},
		"prefill": {
			func(p *setup, _ chan struct{}) { slow(p); p.engine.Chunk = 8 }, completion(strings.Repeat("a", 3000), long),
			func(s engine.Stats) bool { return s.Running == 2 && s.CellsRunning > 16 },
		},
		"queued": {
			func(p *setup, _ chan struct{}) { slow(p); p.limits.Sequences = 1 }, completion("a", long),
			func(s engine.Stats) bool { return s.Waiting == 1 },
		},
		"loading": {
			func(p *setup, stuck chan struct{}) {
				slow(p)
				p.pack = func(*runtime.LoRA) (runtime.Packed, error) {
					<-stuck
					return nil, errors.New("too late")
				}
			}, completion("a", long, `"adapter":"pirate"`),
			func(s engine.Stats) bool { return s.Loading == 1 },
		},
		"all of n": {busy, completion("a", long, `"n":4`), func(s engine.Stats) bool { return s.Running == 5 }},
	}
	for name, state := range states {
		for _, stream := range []bool{false, true} {
			for _, reset := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s stream=%v reset=%v", name, stream, reset), func(t *testing.T) {
					t.Parallel()
					stuck := make(chan struct{})
					defer close(stuck)
					h := open(t, func(p *setup) { state.prepare(p, stuck) })
					h.add("pirate", 1)
					// The first request stays, which shows that only the other one ends.
					first := h.dial()
					io.WriteString(first, raw("/v1/completions", completion("b", long)))
					waitUntil(t, "the first runs", 2*time.Second, func() bool { return h.engine.Stats().Running == 1 })
					second := h.dial()
					body := state.body
					if stream {
						body = body[:len(body)-1] + `,"stream":true}`
					}
					io.WriteString(second, raw("/v1/completions", body))
					waitUntil(t, "the second is "+name, 2*time.Second, func() bool { return state.at(h.engine.Stats()) })
					if reset {
						second.SetLinger(0)
					}
					second.Close()
					waitUntil(t, "its sequence is free", time.Second, func() bool { s := h.engine.Stats(); return s.Running == 1 && s.Waiting == 0 })
					first.Close()
					waitUntil(t, "all is free", time.Second, func() bool { s := h.engine.Stats(); return s.Running+s.Waiting == 0 })
				})
			}
		}
	}
}

// Where the connection cannot be watched, heartbeats show that the client has disconnected.
func TestDisconnectOfAnUnwatchedConnection(t *testing.T) {
	h := open(t, func(p *setup) {
		p.limits.Sequences = 1
		slowly(10 * time.Millisecond)(p)
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.do("GET", "/healthz", "")        // Fiber finishes its routes when it begins to serve
	go h.server.app.Server().Serve(ln) // without the listener that makes connections watchable
	h.address = ln.Addr().String()
	var clients []*net.TCPConn
	for range 2 { // one runs, one is queued
		c := h.dial()
		clients = append(clients, c)
		io.WriteString(c, raw("/v1/completions", completion("a", long, `"stream":true`)))
	}
	waitUntil(t, "one is queued", 2*time.Second, func() bool { return h.engine.Stats().Waiting == 1 })
	for _, c := range clients {
		c.Close()
	}
	waitUntil(t, "both are free", 3*time.Second, func() bool { s := h.engine.Stats(); return s.Running+s.Waiting == 0 })
}

// What a client sends while it waits for an answer is its next request, and is answered in turn.
func TestPipelining(t *testing.T) {
	h := open(t, slowly(5*time.Millisecond))
	c := h.dial()
	bodies := []string{
		completion("a", `"ignore_eos":true`), completion("b", `"stream":true,"ignore_eos":true`),
		completion(strings.Repeat("long ", 400), `"max_tokens":1`), completion("a", `"n":0`), completion("c"),
	}
	send := func(s string) {
		if _, err := io.WriteString(c, s); err != nil {
			t.Error(err)
		}
	}
	send(raw("/v1/completions", bodies[0]) + raw("/v1/completions", bodies[1])) // at once
	go func() {
		for _, b := range bodies[2:] { // in pieces, while the first are answered
			request := raw("/v1/completions", b)
			for len(request) > 0 {
				n := min(len(request), 700)
				send(request[:n])
				request = request[n:]
				time.Sleep(10 * time.Millisecond)
			}
		}
	}()
	r := bufio.NewReader(c)
	for i, b := range bodies {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		switch {
		case strings.Contains(b, "stream"):
			if !bytes.HasSuffix(text, []byte("data: [DONE]\n\n")) {
				t.Errorf("answer %d is %s", i, text)
			}
		case strings.Contains(b, `"n":0`):
			if resp.StatusCode != 400 {
				t.Errorf("answer %d is %s", i, text)
			}
		case resp.StatusCode != 200 || !bytes.Contains(text, []byte(`"text_completion"`)):
			t.Errorf("answer %d is %d %s", i, resp.StatusCode, text)
		}
	}
}

// A client that sends more than is kept for it is served all the same.
func TestManyBytesWhileWaiting(t *testing.T) {
	h := open(t, slowly(10*time.Millisecond))
	c := h.dial()
	big := raw("/v1/completions", completion("a", `"user":"`+strings.Repeat("x", 3*maxUnread)+`"`))
	go io.WriteString(c, raw("/v1/completions", completion("a", `"ignore_eos":true`))+big)
	r := bufio.NewReader(c)
	for i := range 2 {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 {
			t.Errorf("answer %d: %v %s", i, err, text)
		}
	}
}

// Readers, watchers and deadlines of a connection, without HTTP.
func TestWatch(t *testing.T) {
	client, end := net.Pipe()
	c := &conn{Conn: end}
	ctx, stop := c.watch()
	if _, err := io.WriteString(client, "next"); err != nil {
		t.Fatal(err)
	}
	stop()
	stop()
	if ctx.Err() == nil || errors.Is(context.Cause(ctx), errClientGone) {
		t.Errorf("a stopped watch ends with %v", context.Cause(ctx))
	}
	buf := make([]byte, 3)
	for _, want := range []string{"nex", "t"} {
		if n, err := c.Read(buf); err != nil || string(buf[:n]) != want {
			t.Errorf("read %q, %v", buf[:n], err)
		}
	}
	go io.WriteString(client, "more")
	if n, err := c.Read(buf); err != nil || n == 0 {
		t.Errorf("read %q, %v: the deadline of the watch is left", buf[:n], err)
	}
	c.Read(buf)
	ctx, stop = c.watch()
	defer stop()
	client.Close()
	select {
	case <-ctx.Done():
		if !errors.Is(context.Cause(ctx), errClientGone) {
			t.Errorf("the watch ends with %v", context.Cause(ctx))
		}
	case <-time.After(time.Second):
		t.Error("the disconnect was not noticed")
	}
}
