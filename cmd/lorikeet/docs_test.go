package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the table of flags into docs/configuration.md")

// TestConfigurationTable holds the table in docs/configuration.md against the flags of serve.
func TestConfigurationTable(t *testing.T) {
	const file, begin, end = "../../docs/configuration.md", "<!-- flags: written by the tests -->\n", "<!-- /flags -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	shown, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no block between %q and %q", file, begin, end)
	}
	want := flagTable()
	switch {
	case shown == want:
	case *update:
		if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table in %s is not that of the flags: make generate writes it\n%s", file, want)
	}
}

// flagTable is a table of all flags of serve in Markdown.
func flagTable() string {
	var c serveFlags
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	c.bind(flags, "the user's data folder")
	var b strings.Builder
	b.WriteString("| flag | environment | default | |\n|---|---|---|---|\n")
	flags.VisitAll(func(f *pflag.Flag) {
		standard := f.DefValue
		if standard == "false" || standard == "0" || standard == "[]" || standard == "0s" {
			standard = ""
		}
		fmt.Fprintf(&b, "| `--%s` | `%s` | %s | %s |\n", f.Name, envName(f.Name), standard, strings.ReplaceAll(f.Usage, "|", "\\|"))
	})
	return b.String()
}
