package main

import (
	"cmp"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lorikeet-ai/lorikeet/internal/bytesize"
	"github.com/lorikeet-ai/lorikeet/internal/program"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// devicesCommand lists what can compute a model.
func devicesCommand(env lookup) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "devices",
		Short: "List the devices that can compute layers, for serve --device, and the back ends that could not be loaded",
		Args:  exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := readEnv(cmd.Flags(), env); err != nil {
				return err
			}
			return listDevices(cmd, cmp.Or(dir, program.BackendsDir()))
		},
	}
	cmd.Flags().StringVar(&dir, "backends", "", "folder of back ends for GPUs, libggml-NAME-VERSION.so; empty: lib beside the program")
	describeEnv(cmd.Flags())
	return cmd
}

func listDevices(cmd *cobra.Command, dir string) error {
	failed := llama.LoadBackends(dir)
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tTYPE\tMEMORY\tFREE\tBACK END\tLIBRARY\tDESCRIPTION")
	for _, d := range llama.Devices() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Name, d.Type, bytesize.Format(d.Memory), bytesize.Format(d.Free), d.Backend,
			cmp.Or(d.Library, "part of the program"), d.Description)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, err := range failed {
		if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "lorikeet:", err); err != nil {
			return err
		}
	}
	return nil
}
