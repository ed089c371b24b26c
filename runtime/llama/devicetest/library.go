package devicetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Library builds the device as a back end that a program loads, libggml-devicetest-VERSION.so, in a folder of the test's, and
// returns the folder. The C++ compiler and the sources of ggml are those that the project is built with.
func Library(t testing.TB, version string) string {
	t.Helper()
	list := func(args ...string) string {
		out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
		if err != nil {
			t.Fatalf("go list %v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	ggml := filepath.Join(list("-m", "-f", "{{.Dir}}", "github.com/ollama/ollama"), "ml/backend/ggml/ggml")
	sources, err := filepath.Glob(filepath.Join(list("-f", "{{.Dir}}", "github.com/lorikeet-ai/lorikeet/runtime/llama/devicetest"), "*.cpp"))
	if err != nil {
		t.Fatal(err)
	}
	compiler := []string{"g++"}
	if words := strings.Fields(os.Getenv("CXX")); len(words) > 0 {
		compiler = words
	}
	dir := t.TempDir()
	args := []string{"-shared", "-fPIC", "-O1", "-std=c++17", "-DNDEBUG", "-DGGML_BACKEND_DL", "-DGGML_BACKEND_SHARED", "-DGGML_BACKEND_BUILD",
		"-I" + filepath.Join(ggml, "include"), "-I" + filepath.Join(ggml, "src"), "-o", filepath.Join(dir, "libggml-devicetest-"+version+".so")}
	cmd := exec.Command(compiler[0], append(append(compiler[1:], args...), sources...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(compiler, " "), err, out)
	}
	return dir
}
