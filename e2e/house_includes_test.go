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

// publicHeaders are the C headers that other rooms may include: room by room, what a room offers. All other headers
// belong to the room that they lie in.
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

// TestIncludesFollowTheArrows holds the #include lines of C and C++ to the arrows between rooms: a room includes its own
// headers, the public ones of rooms that it may import, and those of llama.cpp and ggml. The test helpers of a room, as
// runtime/llama/llamatest, include all of its headers, and what the room may.
func TestIncludesFollowTheArrows(t *testing.T) {
	all := includesOfHouse(t)
	crossing := 0
	for _, in := range all {
		room := path.Dir(in.file)
		if in.target == "" {
			if !outsideHeaders.MatchString(path.Base(in.header)) {
				t.Errorf("%s includes %q, which is neither a file beside it nor a header of llama.cpp or ggml", in.file, in.header)
			}
			continue
		}
		if strings.HasSuffix(room, "test") {
			room = path.Dir(room) // a room's own test helpers look inside it, and include what it may
		}
		target := path.Dir(in.target)
		if target == room || target == path.Dir(in.file) {
			continue
		}
		crossing++
		if !slices.Contains(arrows[room], target) {
			t.Errorf("%s: room %q must not include %q of room %q", in.file, room, in.header, target)
		} else if !slices.Contains(publicHeaders[target], path.Base(in.target)) {
			t.Errorf("%s includes %q, which room %q keeps to itself: it offers %v", in.file, in.header, target, publicHeaders[target])
		}
	}
	if crossing == 0 {
		t.Error("no include crosses from one room to another: the test does not see them")
	}
}

// includesOfHouse reads the quoted includes of every C and C++ file, and those of the C preambles of Go files.
func includesOfHouse(t *testing.T) []include {
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
