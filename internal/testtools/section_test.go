package testtools

import (
	"os"
	"path/filepath"
	"testing"
)

// A section that differs is written with -update, and nothing around it changes.
func TestCheckSection(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.md")
	const before, after = "# A\n<!-- x: written by the tests -->\n", "<!-- /x -->\nthe rest\n"
	if err := os.WriteFile(file, []byte(before+"old\n"+after), 0o600); err != nil {
		t.Fatal(err)
	}
	defer func(was bool) { *update = was }(*update)
	*update = true
	CheckSection(t, file, "x", "new\n")
	*update = false
	CheckSection(t, file, "x", "new\n")
	if got, err := os.ReadFile(file); err != nil || string(got) != before+"new\n"+after {
		t.Errorf("the file is %q, %v", got, err)
	}
}
