package e2e

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// signal sends SIGTERM.
func (p *process) signal(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// TestDrain stops a server in the middle of an answer: the answer is finished, new requests are refused, and
// the process ends well.
func TestDrain(t *testing.T) {
	p := startProcess(t, "--threads", "1")
	resp, lines, err := openStream(context.Background(), p.url(), longAnswer(450))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p.signal(t)
	refused := make(chan bool, 1)
	go func() {
		for { // until the server has heard the signal
			again, err := http.Post(p.url()+"/v1/completions", "application/json", strings.NewReader(`{"prompt": "a", "max_tokens": 1}`))
			if err != nil {
				refused <- true
				return
			}
			again.Body.Close()
			if again.StatusCode == http.StatusServiceUnavailable {
				refused <- true
				return
			}
		}
	}()
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(rest), `"finish_reason":"length"`) || !strings.HasSuffix(strings.TrimSpace(string(rest)), "data: [DONE]") {
		t.Errorf("the answer was cut off: ...%s", rest[max(0, len(rest)-400):])
	}
	select {
	case <-refused:
	case <-time.After(10 * time.Second):
		t.Error("new requests are still taken")
	}
	if err := p.wait(t); err != nil {
		t.Errorf("the process ended with %v", err)
	}
}

// busy starts a server that answers one request at a time, gives it many that take their time, and returns
// once one runs and the others wait.
func busy(t *testing.T, args ...string) *process {
	t.Helper()
	p := startProcess(t, append([]string{"--threads", "1", "--parallel", "1"}, args...)...)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	for range 20 {
		go func() {
			if resp, lines, err := openStream(ctx, p.url(), longAnswer(450)); err == nil {
				_, _ = io.Copy(io.Discard, lines)
				resp.Body.Close()
			}
		}()
	}
	for deadline := time.Now().Add(20 * time.Second); metric(t, p.url(), "lorikeet_requests_waiting") < 16; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the requests do not queue")
		}
	}
	return p
}

// TestDrainHasAnEnd stops a server whose answers take longer than --drain.
func TestDrainHasAnEnd(t *testing.T) {
	p := busy(t, "--drain", "50ms")
	start := time.Now()
	p.signal(t)
	if err := p.wait(t); err != nil {
		t.Errorf("the process ended with %v", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

// TestSecondSignal ends a server at once that would drain for long.
func TestSecondSignal(t *testing.T) {
	p := busy(t)
	p.signal(t)
	for { // a second signal right after the first would count as one
		select {
		case err := <-p.ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
				t.Errorf("the process ended with %v, not by the second signal", err)
			}
			return
		case <-time.After(50 * time.Millisecond):
			_ = p.Process.Signal(syscall.SIGTERM) // it may have ended meanwhile
		case <-t.Context().Done():
			return
		}
	}
}

// TestSIGHUP sends SIGHUP, which a terminal does that is closed: the server finishes what it has, as at SIGTERM.
func TestSIGHUP(t *testing.T) {
	p := startProcess(t, "--threads", "1")
	resp, lines, err := openStream(context.Background(), p.url(), longAnswer(450))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(rest)), "data: [DONE]") {
		t.Errorf("the answer was cut off: %v ...%s", err, rest[max(0, len(rest)-400):])
	}
	if err := p.wait(t); err != nil {
		t.Errorf("the process ended with %v", err)
	}
}

// TestSIGHUPReopensTheLog sends SIGHUP to a server whose log is a file, as logrotate does after it has moved the file.
func TestSIGHUPReopensTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lorikeet.log")
	p := startProcess(t, "--log-file", path, "--log-level", "info")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(5 * time.Millisecond) {
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "opened anew") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the log is not opened anew")
		}
	}
	if status, _, err := postTo(p.url()+"/v1/completions", "", map[string]any{"prompt": "a", "max_tokens": 1}); err != nil || status != http.StatusOK {
		t.Errorf("afterwards the server answers %d, %v", status, err)
	}
}

// TestTakenPort starts a second server on the port of the first: it ends before it reads its model, which is no model.
func TestTakenPort(t *testing.T) {
	p := startProcess(t)
	model := filepath.Join(t.TempDir(), "broken.gguf")
	if err := os.WriteFile(model, []byte("not a model"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(p.url(), "http://")
	status, _, stderr := command(t, nil, "serve", "--listen", address, "--data", t.TempDir(), "--model", model)
	if status != 1 || !strings.Contains(stderr, "--listen "+address) {
		t.Errorf("status %d: %s", status, stderr)
	}
}
