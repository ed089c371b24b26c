// Package e2e runs the program as its users do: as a process of its own, with its flags and environment, spoken to
// over HTTP. Its tests start in the root of the repository.
package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/diskfaults"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

func TestMain(m *testing.M) {
	diskfaults.Launch()
	if err := os.Chdir(".."); err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(built.folder)
	os.Exit(status)
}

// built is the program, which the first test that runs it builds.
var built struct {
	once   sync.Once
	folder string
	path   string
	err    error
}

// binary returns the path of the program.
func binary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.folder, built.err = os.MkdirTemp("", "lorikeet-e2e-"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.folder, "lorikeet")
		if out, err := exec.Command("go", "build", "-o", built.path, "./cmd/lorikeet").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("building the program: %w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// program is a command that runs the program in the environment env and nothing else.
func program(t testing.TB, env map[string]string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(binary(t), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// command runs the program with args and returns its exit status and output.
func command(t testing.TB, env map[string]string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := program(t, env, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// plainLines reports whether a text is whole lines that nothing was drawn over, as files and pipes are to have them.
func plainLines(text string) bool {
	return strings.HasSuffix(text, "\n") && !strings.ContainsAny(text, "\r\x1b")
}

// process is a running server.
type process struct {
	*exec.Cmd
	address string // http://host:port, which it printed
	data    string // its --data
	out     *lockedBuffer
	errs    *lockedBuffer
	ended   chan error // what Wait returned, once
}

// startTimeout is how long a server may take to be ready. A model may have to be converted first.
const startTimeout = 60 * time.Second

// startProcess runs serve on a free port, with what args add, and waits until it has printed its address. The
// process is killed when the test ends.
func startProcess(t testing.TB, args ...string) *process {
	t.Helper()
	return startIn(t, nil, args...)
}

// startIn is startProcess in an environment.
func startIn(t testing.TB, env map[string]string, args ...string) *process {
	t.Helper()
	p := launch(t, env, args...)
	p.awaitReady(t)
	return p
}

// awaitReady waits until the server has printed its address.
func (p *process) awaitReady(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(5 * time.Millisecond) {
		if m := regexp.MustCompile(`(?m)^ *address +(http://\S+)$`).FindStringSubmatch(p.out.String()); m != nil {
			p.address = m[1]
			return
		}
		select {
		case err := <-p.ended:
			t.Fatalf("the server ended: %v: %s%s", err, p.out.String(), p.errs.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server is not ready: %s%s", p.out.String(), p.errs.String())
		}
	}
}

// launch starts serve and does not wait.
func launch(t testing.TB, env map[string]string, args ...string) *process {
	t.Helper()
	p := serve(t, env, args...)
	p.begin(t)
	return p
}

// serve makes the command, which begin starts.
func serve(t testing.TB, env map[string]string, args ...string) *process {
	t.Helper()
	p := &process{data: env["LORIKEET_DATA"], out: &lockedBuffer{}, errs: &lockedBuffer{}, ended: make(chan error, 1)}
	if i := slices.Index(args, "--data"); i >= 0 {
		p.data = args[i+1]
	}
	if p.data == "" {
		p.data = t.TempDir()
	}
	standard := []string{"serve", "--listen", "127.0.0.1:0", "--data", p.data, "--log-level", "warn"}
	p.Cmd = program(t, env, append(standard, args...)...)
	p.Stdout, p.Stderr = p.out, p.errs
	return p
}

// begin starts the command.
func (p *process) begin(t testing.TB) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.follow(t)
}

// follow waits for the end of a command that was started, and ends it with the test.
func (p *process) follow(t testing.TB) {
	t.Helper()
	go func() { p.ended <- p.Wait() }()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		if t.Failed() {
			t.Logf("the server's log:\n%s", p.errs.String())
		}
	})
}

// wait waits until the process has ended, and returns what Wait did.
func (p *process) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-p.ended:
		p.ended <- err
		return err
	case <-time.After(startTimeout):
		t.Fatal("the server does not end")
		return nil
	}
}

// kill ends the process as kill -9 does, and waits.
func (p *process) kill(t testing.TB) {
	t.Helper()
	_ = p.Process.Kill()
	_ = p.wait(t)
}

// booted is a server that a test asks.
type booted struct {
	*process
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
	return attend(t, startIn(t, env, args...))
}

// attend stops a running server when the test ends.
func attend(t testing.TB, p *process) *booted {
	t.Helper()
	stop := sync.OnceFunc(func() {
		_ = p.Process.Signal(syscall.SIGTERM)
		if err := p.wait(t); err != nil {
			t.Errorf("the server ended with %v: %s", err, p.errs.String())
		}
	})
	t.Cleanup(stop)
	return &booted{process: p, t: t, stop: stop}
}

// url is where the server is.
func (p *process) url() string { return p.address }

// get decodes what the server answers at path.
func (b *booted) get(path string, answer any) {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodGet, b.url()+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.key != "" {
		req.Header.Set("Authorization", "Bearer "+b.key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s: %s %v", path, resp.Status, err)
	}
}

// name is the id of the base model.
func (b *booted) name() string {
	b.t.Helper()
	var list openapi.ModelList
	b.get("/v1/models", &list)
	return list.Data[0].Id
}

// facts is what the server says of the base model.
func (b *booted) facts() *openapi.ModelFacts {
	b.t.Helper()
	var model openapi.Model
	b.get("/v1/models/"+b.name(), &model)
	return model.Facts
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
