package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/pflag"
)

// asMain makes this test binary be the program, for tests that need a process of their own.
const asMain = "LORIKEET_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// environment is a lookup of the given variables.
func environment(vars map[string]string) lookup {
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

// parse reads the arguments of serve.
func parse(args []string, env lookup) (c config, err error) {
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	c.bind(flags, dataDir(env))
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if err := readEnv(flags, env); err != nil {
		return c, err
	}
	c.Fetch = fetchOptions(env, c.Data)
	return c, c.check(flags)
}

// booted is a server of the real program in this process.
type booted struct {
	*program
	t    testing.TB
	key  string // sent with every request where it is not empty
	stop func() // ends it as a signal would, and waits; twice is fine
}

// boot serves the embedded base on a free port, with what args add, until the test ends.
func boot(t testing.TB, args ...string) *booted {
	t.Helper()
	return bootWith(t, nil, args...)
}

// bootWith is boot in an environment.
func bootWith(t testing.TB, env map[string]string, args ...string) *booted {
	t.Helper()
	c, err := parse(append([]string{"--listen", "127.0.0.1:0", "--data", t.TempDir(), "--log-level", "warn"}, args...), environment(env))
	if err != nil {
		t.Fatal(err)
	}
	p := newProgram(c, io.Discard, t.Output())
	if err := p.open(); err != nil {
		p.close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.serve(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		p.close()
	})
	t.Cleanup(stop)
	return &booted{program: p, t: t, stop: stop}
}

// question is a request of one user message.
func question(text string, more ...any) map[string]any {
	body := map[string]any{
		"messages": []any{map[string]any{"role": "user", "content": text}}, "temperature": 0, "max_tokens": 80,
	}
	for i := 0; i+1 < len(more); i += 2 {
		body[more[i].(string)] = more[i+1]
	}
	return body
}

// post sends body as JSON and returns the status and the answer.
func (b *booted) post(path string, body any) (int, []byte, error) {
	return postTo(b.url()+path, b.key, body)
}

// postTo is post for a server that may be another process; key is sent where it is not empty.
func postTo(url, key string, body any) (int, []byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// ask returns the text of a chat completion. It may be called from any goroutine.
func (b *booted) ask(body map[string]any) (string, error) {
	status, raw, err := b.post("/v1/chat/completions", body)
	if err != nil {
		return "", err
	}
	var answer struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.Unmarshal(raw, &answer); err != nil || status != http.StatusOK || len(answer.Choices) == 0 {
		return "", fmt.Errorf("status %d: %s", status, raw)
	}
	return answer.Choices[0].Message.Content, nil
}

// mustAsk is ask for the test's own goroutine.
func (b *booted) mustAsk(body map[string]any) string {
	b.t.Helper()
	text, err := b.ask(body)
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

// metric returns the sum of a metric over its labels.
func (b *booted) metric(name string) float64 { return metric(b.t, b.url(), name) }

func metric(t testing.TB, url, name string) (sum float64) {
	t.Helper()
	resp, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	line, found := regexp.MustCompile(`^`+regexp.QuoteMeta(name)+`(\{.*\})? (\S+)$`), false
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if m := line.FindStringSubmatch(strings.TrimSpace(lines.Text())); m != nil {
			v, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum, found = sum+v, true
		}
	}
	if !found {
		t.Fatalf("there is no metric %s", name)
	}
	return sum
}

// lockedBuffer is a buffer that one goroutine writes while another reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
