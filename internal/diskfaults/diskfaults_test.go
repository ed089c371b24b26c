//go:build linux && (amd64 || arm64)

package diskfaults

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

const writerVariable = "LORIKEET_TEST_WRITER"

func TestMain(m *testing.M) {
	Launch()
	if dir := os.Getenv(writerVariable); dir != "" {
		os.Exit(writer(dir))
	}
	if os.Getenv(clockVariable) != "" {
		os.Exit(tellTime())
	}
	os.Exit(m.Run())
}

// writer is the child: for each line of its input it replaces a file, and says how that went.
func writer(dir string) int {
	var line string
	for {
		if _, err := fmt.Scanln(&line); err != nil {
			return 0
		}
		err := os.MkdirAll(filepath.Join(dir, "in"), 0o700)
		if err == nil {
			err = disk.WriteFile(filepath.Join(dir, "in", "f"), 0o600, func(w io.Writer) error {
				_, err := w.Write([]byte(line))
				return err
			})
		}
		fmt.Println(err)
	}
}

// TestEveryCallFails has each call of a child's write fail in turn: the child is told so, the file is the old or the new one,
// and nothing else is left.
func TestEveryCallFails(t *testing.T) {
	Need(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerVariable+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	started, err := Wrap(cmd, Rule{}, dir)
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
	write := func(text string, r Rule) string {
		f.Set(r)
		fmt.Fprintln(in, text)
		var line bytes.Buffer
		for b := make([]byte, 1); ; line.Write(b) {
			if _, err := out.Read(b); err != nil {
				t.Fatal(err)
			}
			if b[0] == '\n' {
				return line.String()
			}
		}
	}
	if said := write("zero", Rule{}); said != "<nil>" {
		t.Fatal(said)
	}
	calls, _ := f.Calls()
	if got := fmt.Sprint(len(calls), calls); len(calls) != 6 {
		t.Fatalf("mkdir, create, write, fsync, rename and the folder's fsync are %s", got)
	}
	for n := 1; n < len(calls); n++ {
		for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
			said := write(fmt.Sprint("text", n), Rule{At: n, Errno: errno})
			if _, failed := f.Calls(); len(failed) != 1 || !strings.Contains(said, errno.Error()) {
				t.Errorf("call %d of %v with %v: %v failed and the child says %q", n, calls, errno, failed, said)
			}
			left, _ := os.ReadDir(filepath.Join(dir, "in"))
			if len(left) != 1 || left[0].Name() != "f" {
				t.Errorf("call %d with %v leaves %v", n, errno, left)
			}
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
