package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestNoSpace(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}
	quota := fmt.Errorf("copy: %w", syscall.EDQUOT)
	for _, err := range []error{full, quota, errors.Join(io.ErrShortWrite, full)} {
		got := NoSpace(err)
		if !errors.Is(got, ErrNoSpace) || !errors.Is(got, err) {
			t.Errorf("NoSpace(%v) = %v, which does not wrap both", err, got)
		}
		if again := NoSpace(got); again != got {
			t.Errorf("a second call wrapped it again: %v", again)
		}
	}
	if got := NoSpace(fs.ErrPermission); got != fs.ErrPermission {
		t.Errorf("NoSpace(%v) = %v", fs.ErrPermission, got)
	}
	if got := NoSpace(nil); got != nil {
		t.Errorf("NoSpace(nil) = %v", got)
	}
}

func TestCheckSpace(t *testing.T) {
	dir := t.TempDir()
	if err := CheckSpace(dir, 1); err != nil {
		t.Error(err)
	}
	if err := CheckSpace(dir, math.MaxInt64); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), fmt.Sprint(math.MaxInt64)) {
		t.Errorf("a file of the largest size fits: %v", err)
	}
	if err := CheckSpace(filepath.Join(dir, "none"), math.MaxInt64); err != nil {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestWriteFileReplacesInOneStep(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	if err := WriteFile(path, 0o640, text("one")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := WriteFile(path, 0o640, func(w io.Writer) error {
		if got, _ := os.ReadFile(path); string(got) != "one" {
			t.Errorf("a reader sees %q while the new file is written", got)
		}
		return errors.Join(text("tw")(w), broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("the writer's error is %v", err)
	}
	if err := WriteFile(path, 0o640, func(io.Writer) error { return syscall.ENOSPC }); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a full disk is %v", err)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != "one" {
		t.Errorf("after the failures the file is %q, %v", got, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("the folder holds %v", entries)
	}
}

func TestLockKeepsOthersOut(t *testing.T) {
	dir := t.TempDir()
	f, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second lock: %v", err)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	if _, err := LockWait(ctx, dir, func() { cancel(cause) }); err != cause {
		t.Errorf("the wait ended with %v", err)
	}
	waits := 0
	g, err := LockWait(t.Context(), dir, func() { waits++; f.Close() })
	if err != nil || waits != 1 {
		t.Fatalf("the wait ended with %v after %d calls", err, waits)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if g, err = Lock(dir); err != nil {
		t.Errorf("the lock of a closed file: %v", err)
	}
	g.Close()
	if _, err := Lock(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
