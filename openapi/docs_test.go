package openapi

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

// TestEndpointTable holds the table in docs/api.md against openapi.yaml.
func TestEndpointTable(t *testing.T) {
	testtools.CheckSection(t, "../docs/api.md", "endpoints", endpointTable(t))
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
