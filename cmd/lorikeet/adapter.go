package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lorikeet-ai/lorikeet/fetch"
	"github.com/lorikeet-ai/lorikeet/internal/bytesize"
)

// adapterCommand manages the adapters of a running server over its API.
func adapterCommand(env lookup) *cobra.Command {
	var c client
	group := &cobra.Command{
		Use:   "adapter",
		Short: "List, add, remove, export and merge adapters",
		Args:  exactly(0, "one of its commands"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	add := func(use, short string, args cobra.PositionalArgs, f func(ctx context.Context, w io.Writer, args []string) error) {
		cmd := &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
			if err := readEnv(cmd.Flags(), env); err != nil {
				return err
			}
			if err := c.check(); err != nil {
				return err
			}
			return f(cmd.Context(), cmd.OutOrStdout(), args)
		}}
		c.bind(cmd.Flags())
		describeEnv(cmd.Flags())
		group.AddCommand(cmd)
	}
	add("list", "List the adapters", exactly(0, "no arguments"), c.list)
	add("versions NAME", "List the versions of an adapter", exactly(1, "NAME"), c.versions)
	add("add NAME PATH", "Send an adapter (a PEFT folder, a .zip or .tar of one, a GGUF LoRA file) or have the server fetch it (hf://, s3://)",
		exactly(2, "NAME and PATH"), c.add)
	add("rm NAME", "Remove an adapter", exactly(1, "NAME"), c.remove)
	group.AddCommand(exportCommand(env), combineCommand(env))
	return group
}

func (c *client) bind(flags *pflag.FlagSet) {
	flags.StringVar(&c.url, "server", "http://127.0.0.1:8080", "address of the server")
	flags.StringArrayVar(&c.keys, "api-key", nil, "key to send; of several the first is used")
}

// adapterInfo is what the commands show of the API's Adapter.
type adapterInfo struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Rank    int      `json:"rank"`
	Alpha   float64  `json:"alpha"`
	Targets []string `json:"targets"`
	Bytes   int64    `json:"bytes"`
	Loaded  bool     `json:"loaded"`
}

type adapterList struct {
	Data []adapterInfo `json:"data"`
}

func (c *client) list(ctx context.Context, w io.Writer, _ []string) error {
	var l adapterList
	if err := c.get(ctx, &l, "adapters"); err != nil {
		return err
	}
	return table(w, l.Data)
}

func (c *client) versions(ctx context.Context, w io.Writer, args []string) error {
	var l adapterList
	if err := c.get(ctx, &l, "adapters", args[0], "versions"); err != nil {
		return err
	}
	return table(w, l.Data)
}

func table(w io.Writer, list []adapterInfo) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "NAME\tVERSION\tRANK\tALPHA\tTARGETS\tSIZE\tLOADED")
	for _, a := range list {
		fmt.Fprintf(tw, "%s\t%s\t%d\t%g\t%d\t%s\t%v\n", a.Name, a.Version, a.Rank, a.Alpha, len(a.Targets), bytesize.Format(a.Bytes), a.Loaded)
	}
	return tw.Flush()
}

func (c *client) add(ctx context.Context, w io.Writer, args []string) error {
	var a adapterInfo
	var err error
	if fetch.IsSource(args[1]) {
		if _, err := fetch.Parse(args[1]); err != nil {
			return fmt.Errorf("%w: PATH: %w", errUsage, err)
		}
		err = c.post(ctx, map[string]string{"name": args[0], "source": args[1]}, &a, "adapters")
	} else {
		var files []string
		if files, err = adapterFiles(args[1]); err != nil {
			return fmt.Errorf("%w: PATH: %w", errUsage, err)
		}
		err = c.upload(ctx, &a, args[0], files)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s@%s: rank %d, alpha %g, %s\n", a.Name, a.Version, a.Rank, a.Alpha, bytesize.Format(a.Bytes))
	return err
}

func (c *client) remove(ctx context.Context, w io.Writer, args []string) error {
	if err := c.delete(ctx, "adapters", args[0]); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, args[0], "removed")
	return err
}

// adapterFiles are the files to send for a path: PEFT's two of a folder, with those that may hold chat templates, or the
// file itself.
func adapterFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	files := []string{filepath.Join(path, "adapter_config.json"), filepath.Join(path, "adapter_model.safetensors")}
	for _, f := range files {
		if _, err := os.Stat(f); errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s has no %s", path, filepath.Base(f))
		} else if err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"chat_template.jinja", "additional_chat_templates/tool_use.jinja", "tokenizer_config.json"} {
		switch _, err := os.Stat(filepath.Join(path, name)); {
		case err == nil:
			files = append(files, filepath.Join(path, name))
		case !errors.Is(err, os.ErrNotExist):
			return nil, err
		}
	}
	return files, nil
}
