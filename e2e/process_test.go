package e2e

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os/exec"
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
