package e2e

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

// TestTinkerIsKilled kills the server in the middle of a loop that trains and saves with the SDK. The client ends with an error of the
// SDK's; what it had saved is there when the server runs again, and both ways of going on from it train bit for bit as if nothing
// had happened.
func TestTinkerIsKilled(t *testing.T) {
	newest, oldest := tinkerSDKs[0], tinkerSDKs[len(tinkerSDKs)-1]
	for _, c := range []struct{ sdk, script, when string }{
		{newest, "train", "loss 10 "}, // two steps after the third checkpoint, between calls
		{newest, "train-long", "waits"},
		{oldest, "train-long", "waits"},
	} {
		t.Run(c.sdk+" "+c.script, func(t *testing.T) {
			python := testtools.Python(t, "tinker=="+c.sdk, "numpy==2.4.6")
			p := startProcess(t, "--api-key", "tml-sesame")
			losses, saved := map[string]string{}, [][2]string{}
			lines, end := followTinker(t, python, p.url(), c.script)
			failed := ""
			for line := range lines {
				switch word, rest, _ := strings.Cut(line, " "); word {
				case "loss":
					n, loss, _ := strings.Cut(rest, " ")
					losses[n] = loss
				case "saved":
					n, path, _ := strings.Cut(rest, " ")
					saved = append(saved, [2]string{n, path})
				case "error":
					failed = line
				}
				if strings.HasPrefix(line, c.when) {
					p.kill(t)
					p = startProcess(t, "--api-key", "tml-sesame", "--data", p.data, "--listen", strings.TrimPrefix(p.url(), "http://"))
				}
			}
			if err := end(); err != nil || !strings.HasPrefix(failed, "error known ") {
				t.Errorf("the client ended with %q, %v: an error of the SDK's is wanted", failed, err)
			}
			t.Log(failed)
			if len(saved) != 3 {
				t.Fatalf("the checkpoints are %v", saved)
			}
			for _, checkpoint := range saved {
				resumeTinker(t, python, p.url(), checkpoint, losses)
			}
			p.kill(t)
		})
	}
}

// resumeTinker goes on from a checkpoint, which is the number of its step and its path, in both ways, and compares the losses.
func resumeTinker(t *testing.T, python, url string, checkpoint [2]string, losses map[string]string) {
	t.Helper()
	lines, end := followTinker(t, python, url, "resume", checkpoint[0], checkpoint[1])
	resumed := 0
	for line := range lines {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != "loss" || losses[fields[1]] != fields[2] {
			t.Errorf("resumed from %v: %q, the loss of that step was %s", checkpoint, line, losses[fields[1]])
		}
		resumed++
	}
	if err := end(); err != nil || resumed != 4 {
		t.Errorf("resumed from %v: %d steps, %v", checkpoint, resumed, err)
	}
}

// followTinker runs kill.py and returns the lines that it prints, and what waits for its end.
func followTinker(t *testing.T, python, url string, args ...string) (lines <-chan string, end func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, python, append([]string{"-W", "ignore", "e2e/testdata/tinker/kill.py"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TINKER_BASE_URL=" + url, "TINKER_API_KEY=tml-sesame", "TINKER_TELEMETRY=0"}
	errs := &lockedBuffer{}
	cmd.Stderr = errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	list := make(chan string)
	go func() {
		defer close(list)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			list <- scanner.Text()
		}
	}()
	return list, func() error {
		err := cmd.Wait()
		if err != nil {
			t.Log(errs.String())
		}
		return err
	}
}
