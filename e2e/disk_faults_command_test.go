package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/diskfaults"
)

// failingCommand runs the program with a rule for the calls in a folder.
func failingCommand(t *testing.T, folder string, r diskfaults.Rule, args ...string) (status int, said string, calls, failed []string) {
	t.Helper()
	diskfaults.Need(t)
	var out lockedBuffer
	cmd := program(t, nil, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	started, err := diskfaults.Wrap(cmd, r, folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f, err := started()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	calls, failed = f.Calls()
	return cmd.ProcessState.ExitCode(), out.String(), calls, failed
}

// TestCommandsOnAFailingDisk has every kind of write of the commands that write files fail in turn: the command says what is
// the matter and ends with status 1, what was there is there, and nothing else is left.
func TestCommandsOnAFailingDisk(t *testing.T) {
	b := boot(t, "--adapter-dir", demoAdapters)
	source := demoFolder(t)
	pirate := filepath.Join(demoAdapters, "pirate")
	for _, c := range []struct {
		name string
		old  string // what the command replaces; "": nothing
		args func(dir string) []string
	}{
		{"quantize nf4", "", func(dir string) []string {
			return []string{"quantize", "demo/demo-base.f16.gguf", filepath.Join(dir, "out.gguf"), "--type", "nf4"}
		}},
		{"quantize q4_0", "", func(dir string) []string {
			return []string{"quantize", "demo/demo-base.f16.gguf", filepath.Join(dir, "out.gguf"), "--type", "q4_0"}
		}},
		{"import", "", func(dir string) []string {
			return []string{"import", source, filepath.Join(dir, "out.gguf"), "--type", "q8_0"}
		}},
		{"merge", "", func(dir string) []string {
			return []string{"merge", "--base", "demo/demo-base.f16.gguf", "--adapter", pirate, filepath.Join(dir, "out.gguf")}
		}},
		{"export a folder", "", func(dir string) []string {
			return []string{"adapter", "export", "json", filepath.Join(dir, "out"), "--server", b.url()}
		}},
		{"export as GGUF", "", func(dir string) []string {
			return []string{"adapter", "export", "json", filepath.Join(dir, "out.gguf"), "--format", "gguf", "--server", b.url()}
		}},
		{"export from the folder", "", func(dir string) []string {
			return []string{"adapter", "export", "json", filepath.Join(dir, "out.zip"), "--data", b.data}
		}},
		{"make a key", "", func(dir string) []string {
			return []string{"keys", "add", "shop", "--file", filepath.Join(dir, "keys.json")}
		}},
		{"add a key", `{"keys": []}`, func(dir string) []string {
			return []string{"keys", "add", "shop", "--file", filepath.Join(dir, "keys.json")}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tried := 0
			for _, r := range modes {
				dir := t.TempDir()
				if c.old != "" {
					writeFile(t, filepath.Join(dir, "keys.json"), c.old)
				}
				status, said, calls, _ := failingCommand(t, dir, r, c.args(dir)...)
				if status != 0 || len(calls) == 0 {
					t.Fatalf("status %d after %d calls: %s", status, len(calls), said)
				}
				for _, r.At = range ofEachKind(calls, r.Errno) {
					dir := t.TempDir()
					if c.old != "" {
						writeFile(t, filepath.Join(dir, "keys.json"), c.old)
					}
					had := paths(t, dir)
					what := fmt.Sprintf("call %d of %d (%s), %v, stays: %v", r.At, len(calls), calls[r.At-1], r.Errno, r.Stays)
					status, said, _, failed := failingCommand(t, dir, r, c.args(dir)...)
					tried += len(failed)
					if status == 0 && len(failed) == 0 {
						continue
					}
					if status != 1 || strings.Contains(said, "goroutine ") ||
						r.Errno == syscall.ENOSPC && !strings.Contains(said, "no space") || r.Errno == syscall.EIO && !strings.Contains(said, r.Errno.Error()) {
						t.Errorf("%s: after %v: status %d: %s", what, failed, status, said)
					}
					if strings.Contains(said, "may not survive a power cut") && strings.HasSuffix(failed[0], dir) {
						continue // the folder could not be synced, after everything
					}
					comparePaths(t, what, had, paths(t, dir))
					if text, err := os.ReadFile(filepath.Join(dir, "keys.json")); c.old != "" && (err != nil || string(text) != c.old) {
						t.Errorf("%s: the file is %q, %v", what, text, err)
					}
				}
			}
			t.Logf("%d calls failed", tried)
		})
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
