package diskfaults

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
	"golang.org/x/sys/unix"
)

// Need skips a test where the kernel does not let a process watch another one's calls: before Linux 5.19, or in a
// container that forbids it. With LORIKEET_REQUIRE_TOOLS=1 the test fails instead.
func Need(t testing.TB) {
	t.Helper()
	if err := available(); err != nil {
		testtools.Missing(t, err)
	}
}

// available tries it on a program that does nothing.
var available = sync.OnceValue(func() error {
	path, err := exec.LookPath("true")
	if err != nil {
		return err
	}
	cmd := exec.Command(path)
	cmd.Env = os.Environ()
	receive, err := wrap(cmd, askFiles)
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Wait() }() // how it ends does not matter: nobody answers its calls
	listener, err := receive()
	if err != nil {
		return fmt.Errorf("the calls of a program cannot be watched here: %w", err)
	}
	return unix.Close(listener)
})
