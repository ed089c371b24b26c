package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// largeChat is a chat request of about so many bytes.
func largeChat(size int) string { return chatBody(strings.Repeat("word ", size/5)) }

// A prompt that cannot fit is refused by its length, without being tokenized.
func TestRefusedByLength(t *testing.T) {
	h := open(t, func(p *setup) { p.facts = func(f *runtime.Facts) { f.TokenBytes = 12 } })
	refused(t, h.do("POST", chatURL, largeChat(1<<20)), 400, "context_length_exceeded", "messages", "your messages resulted in at least ")
	refused(t, h.do("POST", textURL, completion(strings.Repeat("x", 1<<20))), 400, "context_length_exceeded", "prompt", "your prompt resulted in at least ")
	refused(t, h.do("POST", textURL, completion(strings.Repeat("x", 4200))), 400, "context_length_exceeded", "prompt", "your prompt resulted in 42")
}

// While large bodies have the whole budget, another one is answered 503 with the time to wait, and small ones are answered.
func TestLargeBodiesShareABudget(t *testing.T) {
	h := open(t, func(p *setup) { p.options.BodyMemory = 1 << 20 })
	h.server.bodies.wait = 50 * time.Millisecond
	give, err := h.server.bodies.take(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	r := h.do("POST", chatURL, largeChat(100<<10))
	refused(t, r, http.StatusServiceUnavailable, "busy", "", "busy")
	if r.header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
	if r := h.do("POST", chatURL, chatBody("a", `"max_tokens":1`)); r.status != 200 {
		t.Errorf("a small body: %d %s", r.status, r.body)
	}
	give()
	give() // twice is once
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if r := h.do("POST", chatURL, largeChat(900<<10)); r.status != 400 && r.status != 503 {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	all.Wait()
	waitUntil(t, "all shares are given back", time.Second, func() bool { return h.server.bodies.TryAcquire(1 << 20) })
}

// A client that says much and sends little, or nothing, holds its share for a bounded time only. What it has sent is all
// the memory that it gets.
func TestSlowBodies(t *testing.T) {
	h := open(t)
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n%s", chatURL, strings.Repeat(" ", 100<<10))
	waitUntil(t, "its share is taken", time.Second, func() bool { return !h.server.bodies.TryAcquire(bodyMemory) || release(h, bodyMemory) })
	conn.Close()
	waitUntil(t, "its share is given back", time.Second, func() bool { return h.server.bodies.TryAcquire(bodyMemory) })
}

// release gives back what a test should not have got.
func release(h *testServer, n int64) bool {
	h.server.bodies.Release(n)
	return false
}

func TestReadAtMost(t *testing.T) {
	text := strings.Repeat("0123456789", 30_000)
	for _, c := range []struct{ limit, expected int64 }{{300_000, 300_000}, {1 << 20, 300_000}, {1 << 20, 5}, {300_000, 0}, {1 << 20, 1 << 20}} {
		got, err := readAtMost(iotest.HalfReader(strings.NewReader(text)), c.limit, c.expected)
		if err != nil || string(got) != text || int64(cap(got)) > max(2*int64(len(text)), c.expected+1) {
			t.Errorf("%+v: %d bytes, room for %d, %v", c, len(got), cap(got), err)
		}
	}
	if _, err := readAtMost(strings.NewReader(text), 299_999, 299_999); !errors.Is(err, errTooLong) {
		t.Errorf("a byte too many: %v", err)
	}
	if got, err := readAtMost(io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(io.ErrUnexpectedEOF)), 10, 10); !errors.Is(err, io.ErrUnexpectedEOF) || string(got) != "ab" {
		t.Errorf("%q %v", got, err)
	}
	few := strings.NewReader("ab")
	if got, _ := readAtMost(few, 8<<20, 8<<20); cap(got) > 128<<10 {
		t.Errorf("two bytes have room for %d", cap(got))
	}
}

// A token that begins within a character has that character's offset, and none is counted twice.
func TestTextOffsets(t *testing.T) {
	h := open(t)
	token := func(s string) runtime.TokenText { return runtime.TokenText{Bytes: []byte(s)} }
	for _, c := range []struct {
		tokens []string
		want   string
	}{
		{[]string{"a", "bc", "d"}, "[7 8 10]"},
		{[]string{"\xc3", "\xa9", "x"}, "[7 7 8]"},
		{[]string{"\xf0", "\x9f", "\x98", "\x80", "x"}, "[7 7 7 7 8]"},
		{[]string{"a\xf0\x9f", "\x98\x80b", "c"}, "[7 8 10]"},
		{[]string{"\xff", "a", "\xff\xff", "b"}, "[7 8 9 11]"},
		{[]string{"", "a", ""}, "[7 7 8]"},
	} {
		var list []runtime.TokenText
		for _, s := range c.tokens {
			list = append(list, token(s))
		}
		if got := fmt.Sprint(h.server.textLogprobs(list, 7, 0).TextOffset); got != c.want {
			t.Errorf("%q: %s, want %s", c.tokens, got, c.want)
		}
	}
}

// The offsets of an answer whose tokens are single bytes are those of its characters, whole and as a stream.
func TestTextOffsetsOfAnswers(t *testing.T) {
	text := "é€😀x"
	h := open(t, func(p *setup) {
		p.answer = func(history string) (runtime.Token, bool) {
			if said := history[1:]; len(said) < len(text) {
				return runtime.Token(text[len(said)]), true
			}
			return 0, false
		}
	})
	body := completion("a", fmt.Sprintf(`"max_tokens":%d,"logprobs":0`, len(text)))
	var got openapi.Completion
	h.post(textURL, body, &got)
	if offsets := fmt.Sprint(got.Choices[0].Logprobs.TextOffset); got.Choices[0].Text != text || offsets != "[0 0 1 1 1 2 2 2 2 3]" {
		t.Errorf("%q: %s", got.Choices[0].Text, offsets)
	}
}
