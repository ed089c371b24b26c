package testtools

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the sections of documents that are made from the source")

// CheckSection holds the section of a Markdown file between the lines "<!-- NAME: written by the tests -->" and
// "<!-- /NAME -->" against want. With the flag -update it writes want there.
func CheckSection(t *testing.T, file, name, want string) {
	t.Helper()
	begin, end := fmt.Sprintf("<!-- %s: written by the tests -->\n", name), fmt.Sprintf("<!-- /%s -->", name)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	shown, after, closed := strings.Cut(rest, end)
	switch {
	case !found || !closed:
		t.Fatalf("%s has no section between %q and %q", file, begin, end)
	case shown == want:
	case *update:
		if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the section %s of %s is not what the source gives; this test with -update writes it:\n%s", name, file, want)
	}
}
