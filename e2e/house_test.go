package e2e

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

const module = "github.com/lorikeet-ai/lorikeet"

// arrows are the imports that a room may have of other rooms. A new arrow is drawn here before it is used, and
// ARCHITECTURE.md shows them (go test ./e2e -run Architecture -update writes them there). All of them point down:
// cmd -> internal/program -> server -> training -> adapters -> runtime -> quant.
var arrows = map[string][]string{
	"cmd/lorikeet":        {"internal/program", "responses", "tenants", "adapters", "adapters/merge", "adapters/peft", "fetch", "runtime", "runtime/llama", "quant", "quant/huggingface", "demo"},
	"internal/program":    {"server", "batches", "responses", "tenants", "training", "adapters", "chat", "fetch", "runtime", "runtime/engine", "runtime/llama", "runtime/qlora", "demo"},
	"server":              {"openapi", "batches", "responses", "tenants", "training", "adapters", "adapters/merge", "adapters/peft", "chat", "chat/calls", "grammar", "fetch", "runtime", "runtime/engine"},
	"batches":             {},
	"training":            {"training/dataset", "adapters", "adapters/peft", "chat", "runtime"},
	"training/dataset":    {"chat", "runtime"},
	"adapters":            {"adapters/merge", "adapters/peft", "runtime"},
	"adapters/merge":      {"adapters/peft", "quant", "runtime"},
	"adapters/peft":       {"quant", "quant/safetensors", "runtime"},
	"chat":                {"chat/calls", "runtime"},
	"chat/calls":          {"grammar"},
	"grammar":             {},
	"responses":           {},
	"tenants":             {},
	"runtime":             {"quant"},
	"runtime/engine":      {"runtime"},
	"runtime/runtimetest": {"runtime"},
	"runtime/llama":       {"runtime", "runtime/kernels", "runtime/qlora", "grammar", "quant", "quant/modelfile", "tokenizer"}, // qlora reads the weights' rows
	"runtime/qlora":       {"runtime", "runtime/kernels"},
	"runtime/kernels":     {},
	"quant":               {},
	"tokenizer":           {"quant"},
	"quant/modelfile":     {"quant"},
	"quant/safetensors":   {},
	"quant/huggingface":   {"quant", "quant/safetensors"},
	"fetch":               {},
	"openapi":             {},
	"demo":                {},
	"demo/generate":       {"quant"},
	"docs/draw":           {},

	"quant/huggingface/hftest": {"quant"},                    // model folders for tests
	"runtime/llama/llamatest":  {"runtime"},                  // C++ for tests
	"runtime/qlora/qloratest":  {"runtime", "runtime/qlora"}, // C++ for tests
	"internal/testtools":       {},                           // Python and Node with packages, sections of documents: for tests
	"internal/diskfaults":      {},                           // makes the writes of a program under test fail
	"adapters/peft/pefttest":   {"quant", "runtime"},         // small adapters for tests
}

// helpers are small packages that every room may import; they import nothing of ours.
var helpers = []string{"internal/bytesize", "internal/disk", "internal/gitlfs", "internal/jsonvalue", "internal/parallel"}

// testArrows are further imports that the tests of a room may have: tests use the real packages beside them.
var testArrows = map[string][]string{
	"e2e":            {"bench/hostile", "bench/stress", "internal/diskfaults", "internal/testtools", "bench/randmodel", "openapi", "demo", "quant", "quant/huggingface/hftest", "runtime/llama"},
	"cmd/lorikeet":   {"internal/testtools"},
	"openapi":        {"internal/testtools"},
	"server":         {"runtime/runtimetest", "quant"},
	"training":       {"runtime/runtimetest"},
	"adapters":       {"runtime/runtimetest", "demo", "quant", "adapters/peft/pefttest"},
	"adapters/merge": {"adapters/peft/pefttest"},
	"adapters/peft":  {"adapters/peft/pefttest", "demo"},
	"runtime/engine": {"runtime/runtimetest"},
	"chat":           {"runtime/runtimetest"},
	"runtime/llama":  {"internal/testtools", "runtime/llama/llamatest", "runtime/runtimetest", "runtime/engine", "demo", "adapters", "adapters/merge", "adapters/peft", "quant/huggingface", "quant/huggingface/hftest"},
	"runtime/qlora":  {"runtime/qlora/qloratest", "runtime/llama", "quant", "demo"},
	"demo":           {"quant"},
	"tokenizer":      {"internal/testtools"},

	"quant/huggingface": {"quant/huggingface/hftest", "quant/modelfile"},
	"quant/modelfile":   {"demo"},
	"training/dataset":  {"runtime/runtimetest", "runtime/llama", "demo"},
}

// Imports of the outside world that one room alone may have.
var (
	cRooms     = []string{"runtime/kernels", "runtime/llama", "runtime/llama/llamatest", "runtime/qlora", "runtime/qlora/qloratest"}
	fiberRooms = []string{"server", "openapi"} // openapi: the interface generated for Fiber
)

type imported struct{ room, file, path string }

func TestArrowsPointDown(t *testing.T) {
	for _, im := range importsOfHouse(t) {
		target, ours := strings.CutPrefix(im.path, module)
		target = strings.TrimPrefix(target, "/")
		if !ours || target == im.room || strings.HasPrefix(im.room, "bench") {
			continue // bench measures whatever main may use
		}
		if slices.Contains(helpers, target) {
			continue
		}
		allowed, known := arrows[im.room]
		known = known || slices.Contains(helpers, im.room) || testArrows[im.room] != nil
		if !known {
			t.Errorf("%s: room %q is not in the house: add it to arrows", im.file, im.room)
			continue
		}
		if strings.HasSuffix(im.file, "_test.go") {
			allowed = slices.Concat(allowed, testArrows[im.room])
		}
		if !slices.Contains(allowed, target) {
			t.Errorf("%s: room %q must not import %q", im.file, im.room, target)
		}
	}
}

// What exists for tests is not part of the program: a package whose path ends in "test" is imported by tests, by
// such packages, and by the measuring programs of bench alone.
func TestTheProgramHasNoTestPackages(t *testing.T) {
	for _, im := range importsOfHouse(t) {
		ofTests := strings.HasSuffix(im.file, "_test.go") || strings.HasPrefix(im.room, "bench") || strings.Contains(im.room+"/", "test/")
		if strings.HasPrefix(im.path, module) && strings.HasSuffix(im.path, "test") && !ofTests {
			t.Errorf("%s imports %s, which is for tests", im.file, im.path)
		}
	}
}

func TestOnlyTheBindingsImportC(t *testing.T) {
	for _, im := range importsOfHouse(t) {
		if im.path == "C" && !slices.Contains(cRooms, im.room) {
			t.Errorf("%s imports \"C\": that belongs to %v", im.file, cRooms)
		}
		if strings.HasPrefix(im.path, "github.com/gofiber/fiber") && !slices.Contains(fiberRooms, im.room) &&
			!strings.HasSuffix(im.file, "_test.go") {
			t.Errorf("%s imports Fiber: that belongs to %v", im.file, fiberRooms)
		}
	}
}

// importsOfHouse reads the imports of every Go file, whatever its build tags.
func importsOfHouse(t *testing.T) []imported {
	t.Helper()
	var all []imported
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && file != "." && (strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			all = append(all, imported{room: path.Dir(filepath.ToSlash(file)), file: file, path: p})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("found no imports: does the test run in the root of the module?")
	}
	return all
}

// TestArchitectureShowsTheArrows holds the picture in ARCHITECTURE.md against the table above.
func TestArchitectureShowsTheArrows(t *testing.T) {
	var picture strings.Builder
	for _, room := range slices.Sorted(maps.Keys(arrows)) {
		if list := slices.Sorted(slices.Values(arrows[room])); len(list) > 0 {
			fmt.Fprintf(&picture, "%-24s -> %s\n", room, strings.Join(list, ", "))
		}
	}
	testtools.CheckSection(t, "ARCHITECTURE.md", "arrows", "```\n"+picture.String()+"```\n")
}

// TestArchitectureNamesEveryRoom finds each room in the list of rooms.
func TestArchitectureNamesEveryRoom(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for room := range arrows {
		if name := path.Base(room); !strings.Contains(string(text), name+"/") && !strings.Contains(string(text), "`"+room) {
			t.Errorf("ARCHITECTURE.md does not name %s", room)
		}
	}
}
