package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lorikeet-ai/lorikeet/adapters/merge"
	"github.com/lorikeet-ai/lorikeet/internal/bytesize"
)

// weighted is an adapter of a command line: NAME, NAME:WEIGHT, or of a file PATH or PATH:WEIGHT.
type weighted struct {
	Name   string  `json:"name"`
	Weight float32 `json:"weight"`
}

// parseWeighted reads the weight after the last colon, if a number stands there.
func parseWeighted(s string) (weighted, error) {
	w := weighted{s, 1}
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		x, err := strconv.ParseFloat(s[i+1:], 32)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return w, fmt.Errorf("%w: %q: after the colon comes a weight, such as 0.7", errUsage, s)
		}
		w = weighted{s[:i], float32(x)}
	}
	if w.Name == "" {
		return w, fmt.Errorf("%w: %q names no adapter", errUsage, s)
	}
	return w, nil
}

// combineCommand asks a running server to make an adapter out of others.
func combineCommand(env lookup) *cobra.Command {
	var c client
	var method, sign string
	var density float64
	var rank int
	var seed int64
	server := pflag.NewFlagSet("server", pflag.ContinueOnError)
	c.bind(server)
	cmd := &cobra.Command{
		Use:   "merge NAME FROM[:WEIGHT]...",
		Short: "Make an adapter out of others",
		Long: "Make an adapter out of others that a running server has, as PEFT's add_weighted_adapter does.\n\n" +
			"FROM is a name or name@version, and 1 its weight where none is given.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return fmt.Errorf("%w: want NAME and at least one FROM, got %q", errUsage, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := readEnv(server, env); err != nil {
				return err
			}
			if err := c.check(); err != nil {
				return err
			}
			body := map[string]any{"name": args[0], "method": method}
			var from []weighted
			for _, arg := range args[1:] {
				w, err := parseWeighted(arg)
				if err != nil {
					return err
				}
				from = append(from, w)
			}
			body["from"] = from
			for name, value := range map[string]any{"density": density, "rank": rank, "seed": seed, "majority-sign-method": sign} {
				if cmd.Flags().Changed(name) {
					body[strings.ReplaceAll(name, "-", "_")] = value
				}
			}
			var a adapterInfo
			if err := c.post(cmd.Context(), body, &a, "adapters", "merge"); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s@%s: rank %d, alpha %g, %s\n", a.Name, a.Version, a.Rank, a.Alpha, bytesize.Format(a.Bytes))
			return err
		},
	}
	choiceFlag(cmd.Flags(), &method, "method", merge.Cat, "how they are put together", merge.Methods()...)
	cmd.Flags().Float64Var(&density, "density", 0, "part of the values that ties, dare_* and magnitude_prune keep")
	cmd.Flags().IntVar(&rank, "rank", 0, "rank of svd; the largest of the adapters' where it is not given")
	cmd.Flags().Int64Var(&seed, "seed", 0, "of the values that dare_* drops")
	choiceFlag(cmd.Flags(), &sign, "majority-sign-method", "total", "how ties and dare_ties elect signs", "total", "frequency")
	describeEnv(server)
	cmd.Flags().AddFlagSet(server)
	return cmd
}
