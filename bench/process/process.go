// Package process runs a lorikeet server to measure or to stress it, as its users run it: another process, spoken to
// over HTTP.
package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Server is a running server. It is a load.Target.
type Server struct {
	URL string
	cmd *exec.Cmd
	log string
}

// Start runs binary with the flags of `lorikeet serve` on a free port, and waits until it is ready. Its output
// goes to the file log.
func Start(ctx context.Context, binary, log string, flags ...string) (*Server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return nil, err
	}
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	s := &Server{URL: "http://" + address, log: log}
	s.cmd = exec.CommandContext(ctx, binary, append([]string{"serve", "--listen", address}, flags...)...)
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		_ = s.Stop()
		return nil, fmt.Errorf("%w (see %s)", err, log)
	}
	return s, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (s *Server) ready(ctx context.Context) error {
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		resp, err := http.Get(s.URL + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return errors.New("the server is not ready after two minutes")
}

// Stop ends the server as a user would, and waits. The error says how it ended where that was not well.
func (s *Server) Stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	return s.cmd.Wait()
}

// Kill ends the server at once (SIGKILL).
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// Resident returns the server's resident memory in bytes.
func (s *Server) Resident() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, errors.New("there is no VmRSS in /proc")
}

// Request asks the bare base for exactly tokens answer tokens; nothing is cached.
func (s *Server) Request(prompt []int, tokens, _ int) (url string, body any) {
	return s.URL + "/v1/completions", map[string]any{"prompt": prompt, "max_tokens": tokens, "temperature": 0,
		"stream": true, "ignore_eos": true, "cache_prompt": false}
}
