package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

// TestDistIsWhatTheSourcesGive builds the page from its sources and compares with the files in the repository.
func TestDistIsWhatTheSourcesGive(t *testing.T) {
	node, _ := testtools.Node(t)
	t.Setenv("PATH", filepath.Dir(node)+string(os.PathListSeparator)+os.Getenv("PATH"))
	out := t.TempDir()
	if err := build(t.Context(), "..", out); errors.Is(err, errPackages) {
		testtools.Missing(t, err)
	} else if err != nil {
		t.Fatal(err)
	}
	want, got := contents(t, out), contents(t, "../dist")
	for name, text := range want {
		if !bytes.Equal(got[name], text) {
			t.Errorf("page/dist/%s is not what the sources give: run make page", name)
		}
	}
	for name := range got {
		if want[name] == nil {
			t.Errorf("page/dist/%s is not made by the sources: run make page", name)
		}
	}
}

// TestScripts runs the tests of the page's own code, page/tests, with Node's test runner.
func TestScripts(t *testing.T) {
	node, _ := testtools.Node(t)
	t.Setenv("PATH", filepath.Dir(node)+string(os.PathListSeparator)+os.Getenv("PATH"))
	if err := install(t.Context(), ".."); err != nil {
		testtools.Missing(t, err)
	}
	cmd := exec.CommandContext(t.Context(), node, "--test", "tests/*.test.ts")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func contents(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = text
	}
	return all
}
