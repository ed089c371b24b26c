//go:build cgo

package kernels

import (
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
)

// What is compiled for instructions that this processor may have must compile where the flags allow none of them (MARCH): the
// target of a file is not that of what the compiler adds, such as a constructor.
func TestInstructionsAreTheFilesOwn(t *testing.T) {
	if goruntime.GOARCH != "amd64" {
		t.Skip("the files are for amd64")
	}
	if testing.Short() {
		t.Skip("-short compiles nothing")
	}
	compiler := []string{"g++"}
	if words := strings.Fields(os.Getenv("CXX")); len(words) > 0 {
		compiler = words
	}
	files, err := filepath.Glob("../*/*_avx*.cpp")
	if err != nil || len(files) < 8 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			args := append(append([]string{}, compiler[1:]...), "-c", "-O1", "-march=x86-64", "-std=c++17", "-w", "-o", filepath.Join(t.TempDir(), "out.o"), file)
			if out, err := exec.Command(compiler[0], args...).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
