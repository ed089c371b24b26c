// Package testtools gives tests the interpreters of other languages with packages of fixed versions: Python, to compare
// what this project computes with the library it has to agree with, and Node, to run the clients that people have. It also
// holds the sections of documents that are made from the source against it. It is for tests only; no program imports it.
package testtools

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
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// requireVariable is the environment variable that turns a skip for want of a tool into a failure.
const requireVariable = "LORIKEET_REQUIRE_TOOLS"

// installLimit bounds the making of an environment, which downloads packages.
const installLimit = 10 * time.Minute

// environment returns a folder of the user's cache that install has filled with packages. The first call for a set of
// packages installs them; later ones, of any test program, find the folder. kind begins its name. Where that is
// impossible (no interpreter, no network) the test is skipped with the reason, or fails if LORIKEET_REQUIRE_TOOLS is 1.
func environment(t testing.TB, kind, separator string, packages []string, install func(ctx context.Context, folder string) error) string {
	t.Helper()
	folder, err := cached(kind, separator, packages, install)
	if err == nil {
		return folder
	}
	Missing(t, err)
	return ""
}

// Missing skips a test that lacks something which not every machine has, or fails it if LORIKEET_REQUIRE_TOOLS is 1.
func Missing(t testing.TB, err error) {
	t.Helper()
	if os.Getenv(requireVariable) == "1" {
		t.Fatalf("%v (%s is 1)", err, requireVariable)
	}
	t.Skipf("%v", err)
}

func cached(kind, separator string, packages []string, install func(ctx context.Context, folder string) error) (folder string, err error) {
	for _, p := range packages {
		i := strings.LastIndex(p, separator)
		if i <= 0 || i+len(separator) == len(p) {
			return "", fmt.Errorf("package %q does not state its version as name%sversion", p, separator)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	list := strings.Join(slices.Sorted(slices.Values(packages)), "\n")
	sum := sha256.Sum256([]byte(list))
	folder = filepath.Join(cache, "lorikeet-test", kind+"-"+hex.EncodeToString(sum[:6]))
	locks := folder + ".locks" // beside the folder, which an installation may clear
	if err := os.MkdirAll(locks, 0o755); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), installLimit)
	defer cancel()
	lock, err := disk.LockWait(ctx, locks, func() {})
	if err != nil {
		return "", err
	}
	defer lock.Close()
	complete := filepath.Join(folder, "complete")
	if _, err := os.Stat(complete); err == nil {
		return folder, nil
	}
	if err := install(ctx, folder); err != nil {
		return "", errors.Join(err, os.RemoveAll(folder))
	}
	return folder, os.WriteFile(complete, []byte(list+"\n"), 0o644)
}

// command runs a program; its error has what the program printed.
func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
