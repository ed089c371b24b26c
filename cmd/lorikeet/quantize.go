package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lorikeet-ai/lorikeet/internal/bytesize"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// quantizeFlags say what quantize makes.
type quantizeFlags struct {
	typ, head      string
	block, threads int
	exact          bool
}

func quantizeCommand(env lookup) *cobra.Command {
	var q quantizeFlags
	types := slices.Concat(quant.Types, llama.QuantizeTypes)
	cmd := &cobra.Command{
		Use:   "quantize IN.gguf OUT.gguf",
		Short: "Write a model with smaller weights",
		Long: "Write a model with smaller weights.\n\n" +
			"nf4 is the 4-bit type of QLoRA: 4.5 bits a weight in blocks of 32, 4.25 in blocks of 64. nf4-dq quantizes the\n" +
			"blocks' scales as well: 4.127 bits. Only linear layers become NF4; norms and biases stay as they are, embeddings\n" +
			"and output head become what --head says. Rows that are not whole blocks of 64 get blocks of 32. Only lorikeet\n" +
			"reads these files. The other types are llama.cpp's.\n\n" +
			"IN.gguf may be hf://org/repo[@revision][:quant][/file], which is downloaded into the data folder (LORIKEET_DATA)\n" +
			"first.",
		Args: exactly(2, "IN.gguf and OUT.gguf"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := q.check(cmd.Flags().Changed); err != nil {
				return err
			}
			in, err := bringModel(cmd.Context(), args[0], fetchOptions(env, dataFolder(env)), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return q.run(cmd.Context(), in, args[1], cmd.ErrOrStderr(), cmd.OutOrStdout())
		},
	}
	choiceFlag(cmd.Flags(), &q.typ, "type", "nf4", "type of the weights", types...)
	cmd.Flags().IntVar(&q.block, "block", 0, "nf4: weights that share a scale, 32 or 64 (default "+strconv.Itoa(quant.DefaultBlock)+")")
	cmd.Flags().BoolVar(&q.exact, "exact", false, "nf4, nf4-dq: round as bitsandbytes does, instead of choosing each block's scale for the least error")
	choiceFlag(cmd.Flags(), &q.head, "head", "q8_0", "nf4, nf4-dq: type of embeddings and output head", quant.Heads...)
	cmd.Flags().IntVarP(&q.threads, "threads", "t", 0, "threads; 0: one for each CPU")
	return cmd
}

// check refuses flags that do not go together.
func (q *quantizeFlags) check(changed func(string) bool) error {
	if q.threads < 0 {
		return fmt.Errorf("%w: --threads is %d, less than 0", errUsage, q.threads)
	}
	for _, flag := range []string{"block", "exact", "head"} {
		if changed(flag) && !slices.Contains(quant.Types, q.typ) {
			return fmt.Errorf("%w: --%s is for the types %s, not for %s", errUsage, flag, strings.Join(quant.Types, " and "), q.typ)
		}
	}
	if changed("block") && q.block != 64 && (q.block != 32 || q.typ == "nf4-dq") {
		return fmt.Errorf("%w: --block is %d: nf4 has blocks of 32 and 64, nf4-dq of 64", errUsage, q.block)
	}
	return nil
}

// run writes the model file in to out, showing its progress on screen, and reports on stdout.
func (q *quantizeFlags) run(ctx context.Context, in, out string, screen, stdout io.Writer) error {
	before, err := os.Stat(in)
	if err != nil {
		return fmt.Errorf("%w: IN.gguf: %w", errUsage, err)
	}
	if err := checkOut(out); err != nil {
		return err
	}
	if before.IsDir() {
		return fmt.Errorf("%w: IN.gguf: %s is a folder: lorikeet import makes a file of it, in any type", errUsage, in)
	}
	if after, err := os.Stat(out); err == nil && os.SameFile(before, after) {
		return fmt.Errorf("%w: OUT.gguf: %s is IN.gguf itself", errUsage, out)
	}
	start := time.Now()
	if err := q.write(ctx, in, out, screen); err != nil {
		return err
	}
	after, err := os.Stat(out)
	if err != nil {
		return err
	}
	bits, err := bitsPerWeight(out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %s, %.3f bits per weight, %s instead of %s, in %s\n", out, q.typ, bits, bytesize.Format(after.Size()),
		bytesize.Format(before.Size()), time.Since(start).Round(10*time.Millisecond))
	return err
}

// checkOut refuses, before the work is done, a place that no file can be written to.
func checkOut(out string) error {
	if info, err := os.Stat(out); err == nil && info.IsDir() {
		return fmt.Errorf("%w: OUT.gguf: %s is a folder", errUsage, out)
	}
	if err := mustBe(filepath.Dir(out), true); err != nil {
		return fmt.Errorf("%w: OUT.gguf: %w", errUsage, err)
	}
	return nil
}

// write is run without its words, but for the tensors that got a narrower type.
func (q *quantizeFlags) write(ctx context.Context, in, out string, screen io.Writer) error {
	shown := newProgress(screen, "quantizing to "+q.typ)
	if !slices.Contains(quant.Types, q.typ) {
		defer shown.end()
		return quantizeWithLibrary(ctx, in, out, q.typ, q.threads, shown.set)
	}
	report, err := quant.Quantize(ctx, in, out, quant.Options{Type: q.typ, Block: q.block, Exact: q.exact, Head: q.head, Threads: q.threads,
		Progress: shown.of})
	shown.end()
	if len(report.Narrower) > 0 {
		fmt.Fprintf(screen, "rows that are not whole blocks of what was asked for, in the next narrower type: %s\n", strings.Join(report.Narrower, ", "))
	}
	return err
}

// bitsPerWeight returns the bits of a model file's weights over all of its tensors.
func bitsPerWeight(path string) (float64, error) {
	f, err := quant.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var bytes, weights int64
	for _, t := range f.Tensors {
		bytes, weights = bytes+t.Size, weights+t.Elements()
	}
	return 8 * float64(bytes) / float64(max(weights, 1)), nil
}

// quantizeWithLibrary makes one of llama.cpp's types.
func quantizeWithLibrary(ctx context.Context, in, out, typ string, threads int, progress func(float64)) error {
	if !slices.Contains(llama.QuantizeTypes, typ) {
		return fmt.Errorf("%w: --type %s is not known", errUsage, typ)
	}
	return llama.Quantize(ctx, in, out, typ, threads, progress)
}
