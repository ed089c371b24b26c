// Package pytools gives tests a Python interpreter with packages of fixed versions, so that they can compare what
// this project computes with the library it has to agree with. It is for tests only; no program imports it.
package pytools

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// requireVariable is the environment variable that turns a skip for want of a tool into a failure.
const requireVariable = "LORIKEET_REQUIRE_TOOLS"

// installLimit bounds the making of an environment, which downloads packages.
const installLimit = 10 * time.Minute

// Python returns the path of an interpreter that has the packages, each given with its version as "name==1.2.3".
// The first call for a set of packages makes a virtual environment in the user's cache folder; later ones, of any
// test program, find it there. Where that is impossible (no python3, no network) the test is skipped with the
// reason, or fails if LORIKEET_REQUIRE_TOOLS is 1.
func Python(t testing.TB, packages ...string) string {
	t.Helper()
	python, err := environment(packages)
	if err == nil {
		return python
	}
	if os.Getenv(requireVariable) == "1" {
		t.Fatalf("%v (%s is 1)", err, requireVariable)
	}
	t.Skipf("%v", err)
	return ""
}

func environment(packages []string) (python string, err error) {
	for _, p := range packages {
		if name, version, ok := strings.Cut(p, "=="); !ok || name == "" || version == "" {
			return "", fmt.Errorf("package %q does not state its version as name==version", p)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	packages = slices.Sorted(slices.Values(packages))
	sum := sha256.Sum256([]byte(strings.Join(packages, "\n")))
	folder := filepath.Join(cache, "lorikeet-test", "python-"+hex.EncodeToString(sum[:6]))
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(folder + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	python = filepath.Join(folder, "bin", "python")
	complete := filepath.Join(folder, "complete")
	if _, err := os.Stat(complete); err == nil {
		return python, nil
	}
	if err := install(folder, python, packages); err != nil {
		return "", errors.Join(err, os.RemoveAll(folder))
	}
	return python, os.WriteFile(complete, []byte(strings.Join(packages, "\n")+"\n"), 0o644)
}

// lock waits for a file's lock: test programs run side by side.
func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing it releases the lock
}

func install(folder, python string, packages []string) error {
	base, err := exec.LookPath("python3")
	if err != nil {
		return fmt.Errorf("python3 is needed for the comparison with %s: %w", strings.Join(packages, ", "), err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), installLimit)
	defer cancel()
	for _, command := range [][]string{
		{base, "-m", "venv", "--clear", folder},
		append([]string{python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"}, packages...),
	} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
		}
	}
	return nil
}
