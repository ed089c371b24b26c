package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// crowd opens connections that misbehave in the ways that clients do, until the test ends.
type crowd struct {
	t       *testing.T
	address string
	ended   chan struct{}
	conns   []net.Conn
	work    sync.WaitGroup
}

func newCrowd(t *testing.T, url string) *crowd {
	c := &crowd{t: t, address: strings.TrimPrefix(url, "http://"), ended: make(chan struct{})}
	t.Cleanup(func() {
		close(c.ended)
		for _, conn := range c.conns {
			conn.Close()
		}
		c.work.Wait()
	})
	return c
}

// add opens n connections and sends what they begin with.
func (c *crowd) add(n int, begin string) []net.Conn {
	c.t.Helper()
	var added []net.Conn
	for range n {
		conn, err := net.DialTimeout("tcp", c.address, 10*time.Second)
		if err != nil {
			c.t.Fatal(err)
		}
		if _, err := io.WriteString(conn, begin); err != nil {
			c.t.Fatal(err)
		}
		added = append(added, conn)
	}
	c.conns = append(c.conns, added...)
	return added
}

// slowly sends one byte a while on each connection.
func (c *crowd) slowly(conns []net.Conn) {
	c.work.Go(func() {
		for {
			select {
			case <-c.ended:
				return
			case <-time.After(200 * time.Millisecond):
			}
			for _, conn := range conns {
				_ = conn.SetWriteDeadline(time.Now().Add(time.Millisecond))
				_, _ = conn.Write([]byte("x")) // the server may have closed it
			}
		}
	})
}

// TestThousandConnections holds a thousand connections open that are idle, send slowly, never read, or stream slowly.
// Meanwhile chats are answered as without them, and the first token of each comes within two seconds.
func TestThousandConnections(t *testing.T) {
	b := boot(t)
	questions := []string{"What can you do?", "Who are you?", "Tell me about cats.", "How are you?"}
	want := map[string]string{}
	for _, q := range questions {
		want[q] = b.mustAsk(question(q, "max_tokens", 24))
	}
	c := newCrowd(t, b.url())
	c.add(400, "")
	c.slowly(c.add(200, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: "))
	c.slowly(c.add(200, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{\""))
	c.add(150, strings.Repeat("GET /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n", 60)) // more than sockets hold
	stream := `{"messages":[{"role":"user","content":"hi"}],"stream":true,"ignore_eos":true,"max_tokens":8}`
	c.add(50, fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(stream), stream))
	for deadline := time.Now().Add(startTimeout); b.metric("lorikeet_requests_running")+b.metric("lorikeet_requests_waiting") > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the crowd's own streams do not end")
		}
	}
	var asked sync.WaitGroup
	for worker := range 4 {
		asked.Go(func() {
			for i := range 10 {
				q := questions[(worker+i)%len(questions)]
				if got, err := b.ask(question(q, "max_tokens", 24)); err != nil || got != want[q] {
					t.Errorf("%s: %q and %v, want %q", q, got, err, want[q])
				}
				start := time.Now()
				resp, _, err := openStream(context.Background(), b.url(), question(q, "max_tokens", 4, "stream", true))
				if err != nil {
					t.Errorf("%s: %v", q, err)
					continue
				}
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("the first token took %v", took)
				}
				resp.Body.Close()
			}
		})
	}
	asked.Wait()
}

// memory returns a size of the process in bytes, by its name in /proc.
func (p *process) memory(t *testing.T, name string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

// TestHundredLargestBodies sends a hundred bodies of the largest size at once. The server's memory grows by less than half
// a GiB, each client gets an answer, and small requests are answered meanwhile.
func TestHundredLargestBodies(t *testing.T) {
	const bound = 512 << 20
	b := boot(t)
	b.mustAsk(question("hi", "max_tokens", 4))
	before := b.memory(t, "VmRSS")
	text := strings.Repeat("word ", (8<<20-200)/5)
	chat := `{"messages":[{"role":"user","content":"` + text + `"}],"max_tokens":1}`
	values := `{"prompt":"a","ignored":[` + strings.Repeat("0,", 4<<20-100) + `0]}`
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			path, body := "/v1/chat/completions", chat
			if i%4 == 0 {
				path, body = "/v1/completions", values
			}
			resp, err := client.Post(b.url()+path, "application/json", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			answer, err := io.ReadAll(resp.Body)
			busy := resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != ""
			if err != nil || resp.StatusCode != http.StatusBadRequest && !busy {
				t.Errorf("%d %s %v", resp.StatusCode, answer, err)
			}
		})
	}
	if _, err := b.ask(question("hi", "max_tokens", 4)); err != nil {
		t.Error(err)
	}
	all.Wait()
	if grown := b.memory(t, "VmHWM") - before; grown > bound {
		t.Errorf("the memory grew by %d MiB, more than %d", grown>>20, bound>>20)
	} else {
		t.Logf("the memory grew by %d MiB", grown>>20)
	}
}
