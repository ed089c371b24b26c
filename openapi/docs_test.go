package openapi

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of endpoints into docs/api.md")

// TestEndpointTable holds the table in docs/api.md against openapi.yaml.
func TestEndpointTable(t *testing.T) {
	const file, begin, end = "../docs/api.md", "<!-- endpoints: written by the tests -->\n", "<!-- /endpoints -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	shown, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no block between %q and %q", file, begin, end)
	}
	want := endpointTable(t)
	switch {
	case shown == want:
	case *update:
		if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table in %s is not that of openapi.yaml: make generate writes it\n%s", file, want)
	}
}

// endpointTable is a table of all operations in Markdown.
func endpointTable(t *testing.T) string {
	paths := load(t).Paths.Map()
	var b strings.Builder
	b.WriteString("| endpoint | |\n|---|---|\n")
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		operations := paths[path].Operations()
		for _, method := range slices.Sorted(maps.Keys(operations)) {
			fmt.Fprintf(&b, "| `%s %s` | %s |\n", method, path, strings.TrimSuffix(operations[method].Summary, "."))
		}
	}
	return b.String()
}
