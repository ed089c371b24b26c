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

// arrows are the imports that a package may have of other packages. A new arrow is drawn here before it is used, and
// ARCHITECTURE.md shows them (go test ./e2e -run Architecture -update writes them there). All of them point down:
// cmd -> internal/program -> server -> training -> adapters -> runtime -> quant.
var arrows = map[string][]string{
	"cmd/lorikeet":             {"internal/program", "responses", "tenants", "adapters", "adapters/merge", "adapters/peft", "fetch", "runtime", "runtime/llama", "quant", "quant/huggingface", "demo"},
	"internal/program":         {"server", "quant", "quant/original", "cluster", "graders", "batches", "tinker", "responses", "tenants", "training", "adapters", "chat", "fetch", "runtime", "runtime/engine", "runtime/llama", "runtime/qlora", "demo"},
	"server":                   {"openapi", "page", "graders", "batches", "tinker", "tinker/wire", "responses", "tenants", "training", "adapters", "adapters/merge", "adapters/peft", "chat", "chat/calls", "grammar", "fetch", "runtime", "runtime/engine"},
	"batches":                  {},
	"tinker":                   {"adapters", "training/loss", "runtime"},
	"tinker/wire":              {},
	"graders":                  {},
	"training":                 {"training/dataset", "training/loss", "graders", "grammar", "adapters", "adapters/peft", "chat", "chat/calls", "runtime"},
	"training/dataset":         {"chat", "runtime", "training/dataset/parquet"},
	"training/loss":            {},
	"adapters":                 {"adapters/merge", "adapters/peft", "runtime"},
	"cluster":                  {"adapters"},
	"route":                    {},
	"adapters/merge":           {"adapters/peft", "quant", "runtime"},
	"adapters/peft":            {"quant", "quant/safetensors", "runtime"},
	"chat":                     {"chat/calls", "runtime"},
	"chat/calls":               {"grammar"},
	"grammar":                  {"grammar/automaton"},
	"grammar/automaton":        {},
	"responses":                {},
	"training/dataset/parquet": {},
	"tenants":                  {},
	"runtime":                  {"grammar", "quant"},
	"runtime/engine":           {"runtime"},
	"runtime/runtimetest":      {"grammar", "runtime"},
	"runtime/llama":            {"runtime", "runtime/kernels", "runtime/qlora", "grammar", "quant", "quant/modelfile", "tokenizer"}, // qlora reads the weights' rows
	"runtime/qlora":            {"runtime", "runtime/kernels"},
	"runtime/kernels":          {},
	"quant":                    {},
	"tokenizer":                {"quant"},
	"quant/modelfile":          {"quant"},
	"quant/safetensors":        {},
	"quant/huggingface":        {"quant", "quant/safetensors"},
	"quant/original":           {"quant", "quant/huggingface"},
	"fetch":                    {},
	"openapi":                  {},
	"demo":                     {},
	"demo/generate":            {"quant"},
	"docs/draw":                {},
	"page":                     {},
	"page/generate":            {}, // builds page/dist

	"tinker/wire/generate":              {},                           // makes wire.pb.go
	"quant/huggingface/hftest":          {"quant"},                    // model folders for tests
	"grammar/grammartest":               {},                           // JSON schemas for tests
	"runtime/llama/llamatest":           {"runtime"},                  // C++ for tests
	"runtime/llama/devicetest/generate": {},                           // asks ggml's back ends which operations they take
	"runtime/llama/devicetest":          {},                           // C++ for tests: a device of GPU type
	"runtime/qlora/qloratest":           {"runtime", "runtime/qlora"}, // C++ for tests
	"internal/testtools":                {},                           // Python and Node with packages, sections of documents: for tests
	"internal/diskfaults":               {"internal/testtools"},       // makes the writes of a program under test fail
	"adapters/peft/pefttest":            {"quant", "runtime"},         // small adapters for tests
	"adapters/storetest":                {"adapters", "adapters/peft", "adapters/peft/pefttest", "runtime"},
}

// helpers are small packages that every package may import; they import nothing of ours.
var helpers = []string{"internal/bytesize", "internal/disk", "internal/gitlfs", "internal/jsonvalue", "internal/parallel"}

// testArrows are further imports that the tests of a package may have: tests use the real packages beside them.
var testArrows = map[string][]string{
	"e2e":            {"runtime/llama/devicetest", "grammar/grammartest", "bench/hostile", "bench/stress", "internal/diskfaults", "internal/testtools", "bench/randmodel", "openapi", "demo", "quant", "quant/huggingface/hftest", "runtime/llama"},
	"cmd/lorikeet":   {"internal/testtools"},
	"openapi":        {"internal/testtools"},
	"grammar":        {"grammar/grammartest", "internal/testtools"},
	"graders":        {"internal/testtools"},
	"server":         {"runtime/runtimetest", "quant"},
	"training":       {"runtime/runtimetest"},
	"adapters":       {"runtime/runtimetest", "demo", "quant", "adapters/peft/pefttest", "adapters/storetest"},
	"cluster":        {"adapters/peft", "adapters/peft/pefttest", "adapters/storetest"},
	"adapters/merge": {"adapters/peft/pefttest"},
	"adapters/peft":  {"adapters/peft/pefttest", "demo"},
	"runtime/engine": {"runtime/runtimetest"},
	"chat":           {"runtime/runtimetest"},
	"runtime/llama":  {"internal/testtools", "runtime/llama/devicetest", "runtime/llama/llamatest", "runtime/runtimetest", "runtime/engine", "demo", "adapters", "adapters/merge", "adapters/peft", "quant/huggingface", "quant/huggingface/hftest"},
	"runtime/qlora":  {"runtime/qlora/qloratest", "runtime/engine", "runtime/llama", "runtime/llama/devicetest", "quant", "quant/original", "quant/huggingface/hftest", "demo", "adapters", "internal/testtools"},
	"demo":           {"quant"},
	"deploy":         {"internal/testtools"},
	"page/generate":  {"internal/testtools"},
	"tokenizer":      {"internal/testtools"},

	"internal/program":  {"runtime/llama/devicetest"},
	"quant/huggingface": {"internal/testtools", "quant/huggingface/hftest", "quant/modelfile", "tokenizer"},
	"quant/original":    {"quant/huggingface/hftest"},
	"quant/modelfile":   {"demo"},

	"runtime/llama/backends": {"quant"},                                                                                                                             // the codebook that the back ends are built with
	"training/loss":          {"runtime", "runtime/llama", "runtime/qlora", "adapters/peft", "quant/huggingface", "quant/huggingface/hftest", "internal/testtools"}, // steps beside TRL's
	"training/dataset":       {"runtime/runtimetest", "runtime/llama", "demo"},

	"training/dataset/parquet": {"internal/testtools"},
}

// Imports of the outside world that one package alone may have.
var (
	cPackages     = []string{"runtime/kernels", "runtime/llama", "runtime/llama/devicetest", "runtime/llama/llamatest", "runtime/qlora", "runtime/qlora/qloratest"}
	natsPackages  = []string{"cluster"}
	fiberPackages = []string{"server", "openapi"} // openapi: the interface generated for Fiber
)

type imported struct{ pkg, file, path string }

func TestArrowsPointDown(t *testing.T) {
	for _, im := range importsOfProject(t) {
		target, ours := strings.CutPrefix(im.path, module)
		target = strings.TrimPrefix(target, "/")
		if !ours || target == im.pkg || strings.HasPrefix(im.pkg, "bench") {
			continue // bench measures whatever main may use
		}
		if slices.Contains(helpers, target) {
			continue
		}
		allowed, known := arrows[im.pkg]
		known = known || slices.Contains(helpers, im.pkg) || testArrows[im.pkg] != nil
		if !known {
			t.Errorf("%s: package %q is not in the table: add it to arrows", im.file, im.pkg)
			continue
		}
		if strings.HasSuffix(im.file, "_test.go") {
			allowed = slices.Concat(allowed, testArrows[im.pkg])
		}
		if !slices.Contains(allowed, target) {
			t.Errorf("%s: package %q must not import %q", im.file, im.pkg, target)
		}
	}
}

// What exists for tests is not part of the program: a package whose path ends in "test" is imported by tests, by
// such packages, and by the measuring programs of bench alone.
func TestTheProgramHasNoTestPackages(t *testing.T) {
	for _, im := range importsOfProject(t) {
		ofTests := strings.HasSuffix(im.file, "_test.go") || strings.HasPrefix(im.pkg, "bench") || strings.Contains(im.pkg+"/", "test/")
		if strings.HasPrefix(im.path, module) && strings.HasSuffix(im.path, "test") && !ofTests {
			t.Errorf("%s imports %s, which is for tests", im.file, im.path)
		}
	}
}

func TestOnlyTheBindingsImportC(t *testing.T) {
	for _, im := range importsOfProject(t) {
		if im.path == "C" && !slices.Contains(cPackages, im.pkg) {
			t.Errorf("%s imports \"C\": that belongs to %v", im.file, cPackages)
		}
		if strings.HasPrefix(im.path, "github.com/gofiber/fiber") && !slices.Contains(fiberPackages, im.pkg) &&
			!strings.HasSuffix(im.file, "_test.go") {
			t.Errorf("%s imports Fiber: that belongs to %v", im.file, fiberPackages)
		}
		if strings.HasPrefix(im.path, "github.com/nats-io/") && !slices.Contains(natsPackages, im.pkg) {
			t.Errorf("%s imports NATS: that belongs to %v", im.file, natsPackages)
		}
	}
}

// importsOfProject reads the imports of every Go file, whatever its build tags.
func importsOfProject(t *testing.T) []imported {
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
			all = append(all, imported{pkg: path.Dir(filepath.ToSlash(file)), file: file, path: p})
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
	for _, pkg := range slices.Sorted(maps.Keys(arrows)) {
		if list := slices.Sorted(slices.Values(arrows[pkg])); len(list) > 0 {
			fmt.Fprintf(&picture, "%-24s -> %s\n", pkg, strings.Join(list, ", "))
		}
	}
	testtools.CheckSection(t, "ARCHITECTURE.md", "arrows", "```\n"+picture.String()+"```\n")
}

// TestArchitectureNamesEveryPackage finds each package in the list of packages.
func TestArchitectureNamesEveryPackage(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range arrows {
		if name := path.Base(pkg); !strings.Contains(string(text), name+"/") && !strings.Contains(string(text), "`"+pkg) {
			t.Errorf("ARCHITECTURE.md does not name %s", pkg)
		}
	}
}
