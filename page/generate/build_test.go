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

// sources copies what the page is built from, so that a test writes nothing beside it, and puts Node in PATH.
func sources(t *testing.T) (folder string) {
	t.Helper()
	node, _ := testtools.Node(t)
	t.Setenv("PATH", filepath.Dir(node)+string(os.PathListSeparator)+os.Getenv("PATH"))
	top := t.TempDir()
	folder = filepath.Join(top, "page")
	for from, to := range map[string]string{"../src": "page/src", "../tests": "page/tests", "../../openapi": "openapi"} {
		if err := os.CopyFS(filepath.Join(top, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc", "tsconfig.json", "vite.config.js", "index.html"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// TestDistIsWhatTheSourcesGive builds the page from its sources and compares with the files in the repository.
func TestDistIsWhatTheSourcesGive(t *testing.T) {
	folder := sources(t)
	if err := build(t.Context(), folder, ""); errors.Is(err, errPackages) {
		testtools.Missing(t, err)
	} else if err != nil {
		t.Fatal(err)
	}
	want, got := contents(t, filepath.Join(folder, "dist")), contents(t, "../dist")
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
	folder := sources(t)
	if err := install(t.Context(), folder); err != nil {
		testtools.Missing(t, err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "--test", "tests/*.test.ts")
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("fail 0")) || bytes.Contains(out, []byte("pass 0")) {
		t.Fatalf("no test has run:\n%s", out)
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
