// Command lorikeet serves one quantized base model with a different LoRA adapter for every row of a batch,
// behind an OpenAI-compatible endpoint.
//
// This package reads flags and environment, and nothing else does: a file for each command. What `serve` builds from
// them is package internal/program.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// version is the release; a build from a checkout adds its revision.
const version = "0.1.0"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // the first signal drains, a second one kills
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.LookupEnv))
}

// lookup finds an environment variable; os.LookupEnv is one.
type lookup func(name string) (value string, found bool)

// errUsage marks errors in what the user wrote on the command line.
var errUsage = errors.New("usage")

// run is the program. It returns the exit status: 0, 1 for a failure, 2 for a wrong command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, env lookup) int {
	root := &cobra.Command{
		Use:           "lorikeet",
		Short:         "One 4-bit base model, a different LoRA adapter in every row of one batch",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          exactly(0, "one of its commands"),
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.AddCommand(serveCommand(env), quantizeCommand(env), importCommand(env), mergeCommand(env), adapterCommand(env), trainCommand(env), keysCommand(), devicesCommand(env), versionCommand())
	root.SetArgs(single(args))
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "lorikeet: %v\nSee \"%s --help\".\n", trimUsage(err), command.CommandPath())
		return 2
	default:
		fmt.Fprintf(stderr, "lorikeet: %v\n", err)
		return 1
	}
}

// single makes --hf of -hf, the one flag of other servers that people bring along and that begins with one dash:
// taken letter by letter it would ask for help.
func single(args []string) []string {
	args = slices.Clone(args)
	for i, a := range args {
		if a == "--" {
			break
		}
		if a == "-hf" || strings.HasPrefix(a, "-hf=") {
			args[i] = "-" + a
		}
	}
	return args
}

// trimUsage drops the mark from the message.
func trimUsage(err error) string {
	prefix := errUsage.Error() + ": "
	if s := err.Error(); len(s) > len(prefix) && s[:len(prefix)] == prefix {
		return s[len(prefix):]
	}
	return err.Error()
}

// exactly asks for n arguments and calls them by what they are.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("%w: want %s, got %q", errUsage, what, args)
		}
		return nil
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), "lorikeet", buildVersion())
			return err
		},
	}
}

// buildVersion is the version with the revision it was built from, where Go recorded one.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-modified"
		}
	}
	if revision == "" {
		return version
	}
	return version + "+" + revision + dirty
}
