package pytools

import (
	"os/exec"
	"strings"
	"testing"
)

func TestPackagesNeedVersions(t *testing.T) {
	for _, p := range []string{"numpy", "numpy==", "==1.0", "numpy>=1"} {
		if _, err := environment([]string{p}); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%q: %v", p, err)
		}
	}
}

// TestPython makes an environment of one small package, and finds it again.
func TestPython(t *testing.T) {
	python := Python(t, "six==1.17.0")
	out, err := exec.Command(python, "-c", "import six; print(six.__version__)").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "1.17.0" {
		t.Errorf("%v: %s", err, out)
	}
	if again := Python(t, "six==1.17.0"); again != python {
		t.Errorf("%s, then %s", python, again)
	}
}
