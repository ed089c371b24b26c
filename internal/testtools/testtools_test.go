package testtools

import (
	"os/exec"
	"strings"
	"testing"
)

func TestPackagesNeedVersions(t *testing.T) {
	for _, p := range []string{"numpy", "numpy==", "==1.0", "numpy>=1"} {
		if _, err := cached("python", "==", []string{p}, nil); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, p := range []string{"zod", "@zod/core", "zod@"} {
		if _, err := cached("node", "@", []string{p}, nil); err == nil || !strings.Contains(err.Error(), p) {
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

// TestNode makes a folder with one small package, which a script there finds.
func TestNode(t *testing.T) {
	node, folder := Node(t, "left-pad@1.3.0")
	cmd := exec.Command(node, "--input-type=module", "-e", `import pad from "left-pad"; console.log(pad("7", 3, "0"))`)
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "007" {
		t.Errorf("%v: %s", err, out)
	}
}
