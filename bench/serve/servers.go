package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/randmodel"
)

// server is a running process under load; it is a load.Target.
type server struct {
	name string
	url  string
	cmd  *exec.Cmd
	ours bool
	bare *server // llama-server alone: a second one without adapters, which cost it even where they have no weight
}

// start runs the server of that name and waits until it is ready. It returns nil for a llama-server that is
// not at hand.
func start(ctx context.Context, name string, s settings, f randmodel.Files) (*server, error) {
	sv, err := launch(ctx, name, s, f)
	if err != nil || sv == nil || sv.ours {
		return sv, err
	}
	f.AdapterFiles = nil
	if sv.bare, err = launch(ctx, name, s, f); err != nil {
		sv.stop()
		return nil, err
	}
	return sv, nil
}

// launch runs one process.
func launch(ctx context.Context, name string, s settings, f randmodel.Files) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	sv := &server{name: name, url: "http://127.0.0.1:" + strconv.Itoa(port), ours: name != "llama-server"}
	if sv.ours {
		sv.cmd = exec.CommandContext(ctx, s.binary, lorikeetArgs(name, port, s, f)...)
	} else {
		path := os.Getenv("LLAMA_SERVER")
		if path == "" {
			fmt.Fprintln(os.Stderr, "LLAMA_SERVER is not set: comparing with --grouped only")
			return nil, nil
		}
		sv.cmd = exec.CommandContext(ctx, path, llamaArgs(port, s, f)...)
	}
	log, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	sv.cmd.Stdout, sv.cmd.Stderr = log, log
	sv.cmd.Cancel = func() error { return sv.cmd.Process.Signal(syscall.SIGTERM) }
	if err := sv.cmd.Start(); err != nil {
		return nil, err
	}
	if err := sv.ready(ctx); err != nil {
		sv.stop()
		return nil, fmt.Errorf("%w (see %s)", err, log.Name())
	}
	return sv, nil
}

func lorikeetArgs(name string, port int, s settings, f randmodel.Files) []string {
	model := f.Q40
	if name == "nf4" {
		model = f.NF4
	}
	args := []string{"serve", "--model", model, "--adapter-dir", f.AdapterDir,
		"--listen", "127.0.0.1:" + strconv.Itoa(port), "--threads", strconv.Itoa(s.threads),
		"--data", filepath.Join(s.dir, "data-"+name), "--ctx", strconv.Itoa(context16(s)), "--adapter-memory", "1GiB"}
	if name == "grouped" {
		args = append(args, "--grouped")
	}
	return args
}

func llamaArgs(port int, s settings, f randmodel.Files) []string {
	args := []string{"-m", f.Q40, "--host", "127.0.0.1", "--port", strconv.Itoa(port),
		"-t", strconv.Itoa(s.threads), "-np", strconv.Itoa(randmodel.Adapters), "-c", strconv.Itoa(context16(s)),
		"--no-webui", "--kv-unified"}
	if len(f.AdapterFiles) > 0 {
		args = append(args, "--lora", strings.Join(f.AdapterFiles, ","), "--lora-init-without-apply")
	}
	return args
}

// context16 is the KV cache that the widest load needs.
func context16(s settings) int { return randmodel.Adapters * (s.prompt + s.tokens + 64) }

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (sv *server) ready(ctx context.Context) error {
	path := "/readyz"
	if !sv.ours {
		path = "/health"
	}
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		resp, err := http.Get(sv.url + path)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return errors.New("not ready after two minutes")
}

func (sv *server) stop() {
	if sv.bare != nil {
		sv.bare.stop()
	}
	_ = sv.cmd.Process.Signal(syscall.SIGTERM)
	_ = sv.cmd.Wait()
}

// Request asks for exactly tokens answer tokens: end-of-generation tokens are ignored, nothing is cached.
func (sv *server) Request(prompt []int, tokens, adapter int) (string, any) {
	if sv.ours {
		body := map[string]any{"prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": true,
			"ignore_eos": true, "cache_prompt": false}
		if adapter >= 0 {
			body["adapter"] = randmodel.AdapterName(adapter)
		}
		return sv.url + "/v1/completions", body
	}
	body := map[string]any{"prompt": prompt, "n_predict": tokens, "temperature": 0, "stream": true,
		"ignore_eos": true, "cache_prompt": false}
	if adapter < 0 {
		return sv.bare.url + "/completion", body
	}
	body["lora"] = []map[string]any{{"id": adapter, "scale": 1.0}}
	return sv.url + "/completion", body
}
