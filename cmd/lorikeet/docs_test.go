package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/lorikeet-ai/lorikeet/internal/testtools"
)

// TestConfigurationTable holds the table in docs/configuration.md against the flags of serve.
func TestConfigurationTable(t *testing.T) {
	testtools.CheckSection(t, "../../docs/configuration.md", "flags", flagTable())
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
