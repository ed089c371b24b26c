package testtools

import (
	"errors"
	"os/exec"
	"testing"
)

// Chromium returns the path of the browser, for tests of the page. It is not installed: it is a package of the system.
func Chromium(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Missing(t, errors.New("a test of the page needs Chromium (Debian: apt-get install chromium)"))
	return ""
}
