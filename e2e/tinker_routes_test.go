package e2e

import (
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

// TestTinkerRoutes reads the paths that each SDK asks for out of its source, and asks a server for all of them: there is none
// that it does not know, be it to refuse it. A release with a new path fails here.
func TestTinkerRoutes(t *testing.T) {
	b := boot(t, "--api-key", "tml-sesame")
	for _, sdk := range tinkerSDKs {
		python := testtools.Python(t, "tinker=="+sdk, "numpy==2.4.6")
		paths := calledPaths(t, filepath.Join(sitePackages(t, python), "tinker"))
		if len(paths) < 30 || !slices.Contains(paths, "/api/v1/forward_backward") || !slices.Contains(paths, "/api/v1/training_runs/x/checkpoints/weights/x/publish") {
			t.Fatalf("the SDK %s has the paths %q: they are not read as they are written any more", sdk, paths)
		}
		t.Logf("the SDK %s has %d paths", sdk, len(paths))
		for _, path := range paths {
			if !knowsPath(t, b.url()+path) {
				t.Errorf("the SDK %s asks for %s, which the server does not know", sdk, path)
			}
		}
	}
}

// calledPaths returns the paths in the string literals of a package's modules, without its own tests.
func calledPaths(t *testing.T, folder string) (paths []string) {
	t.Helper()
	literal, part := regexp.MustCompile(`["'](/api/v1/[^"'\s]*)["']`), regexp.MustCompile(`\{[^}]*\}`)
	err := filepath.WalkDir(folder, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(file, ".py") || strings.HasSuffix(file, "_test.py") {
			return err
		}
		source, err := os.ReadFile(file)
		for _, found := range literal.FindAllStringSubmatch(string(source), -1) {
			paths = append(paths, part.ReplaceAllStringFunc(found[1], func(name string) string {
				if strings.Contains(name, "checkpoint") {
					return "weights/x"
				}
				return "x"
			}))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// knowsPath reports whether a server knows a path, with any method.
func knowsPath(t *testing.T, url string) bool {
	t.Helper()
	for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
		req, err := http.NewRequest(method, url, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-API-Key", "tml-sesame")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		var answer struct{ Error struct{ Code string } }
		_ = json.Unmarshal(body, &answer) // what is no JSON is an answer, too
		if resp.StatusCode != http.StatusMethodNotAllowed && answer.Error.Code != "unknown_url" {
			return true
		}
	}
	return false
}
