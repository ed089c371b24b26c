package e2e

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// publicHeaders are the C headers that other packages may include: package by package, what a package offers. All other headers
// belong to the package that they lie in.
var publicHeaders = map[string][]string{
	"runtime/kernels": {"kernels.h", "layout.h"},
	"runtime/qlora":   {"read.h"},
}

// outsideHeaders begin the names of the quoted includes that come from llama.cpp and ggml.
var outsideHeaders = regexp.MustCompile(`^(ggml|gguf|llama)[a-z-]*\.h$`)

var includeLine = regexp.MustCompile(`(?m)^[ \t]*(?://)?[ \t]*#[ \t]*include[ \t]+"([^"]+)"`)

type include struct {
	file, header string // the file that includes, and the header as it is written there
	target       string // the header's path in the module, or "" where it is not a file of ours
}

// TestIncludesFollowTheArrows holds the #include lines of C and C++ to the arrows between packages: a package includes its own
// headers, the public ones of packages that it may import, and those of llama.cpp and ggml. The test helpers of a package, as
// runtime/llama/llamatest, include all of its headers, and what the package may.
func TestIncludesFollowTheArrows(t *testing.T) {
	all := includesOfProject(t)
	crossing := 0
	for _, in := range all {
		pkg := path.Dir(in.file)
		if in.target == "" {
			if !outsideHeaders.MatchString(path.Base(in.header)) {
				t.Errorf("%s includes %q, which is neither a file beside it nor a header of llama.cpp or ggml", in.file, in.header)
			}
			continue
		}
		if strings.HasSuffix(pkg, "test") {
			pkg = path.Dir(pkg) // a package's own test helpers look inside it, and include what it may
		}
		target := path.Dir(in.target)
		if target == pkg || target == path.Dir(in.file) {
			continue
		}
		crossing++
		if !slices.Contains(arrows[pkg], target) {
			t.Errorf("%s: package %q must not include %q of package %q", in.file, pkg, in.header, target)
		} else if !slices.Contains(publicHeaders[target], path.Base(in.target)) {
			t.Errorf("%s includes %q, which package %q keeps to itself: it offers %v", in.file, in.header, target, publicHeaders[target])
		}
	}
	if crossing == 0 {
		t.Error("no include crosses from one package to another: the test does not see them")
	}
}

// includesOfProject reads the quoted includes of every C and C++ file, and those of the C preambles of Go files.
func includesOfProject(t *testing.T) []include {
	t.Helper()
	var all []include
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && file != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !slices.Contains([]string{".c", ".h", ".cpp", ".go"}, filepath.Ext(file)) || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		file = filepath.ToSlash(file)
		for _, m := range includeLine.FindAllSubmatch(text, -1) {
			in := include{file: file, header: string(m[1])}
			if at := path.Join(path.Dir(file), in.header); fileExists(at) {
				in.target = at
			}
			all = append(all, in)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("found no includes: does the test run in the root of the module?")
	}
	return all
}

func fileExists(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}
