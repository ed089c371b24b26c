package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

func quantizeCommand(env lookup) *cobra.Command {
	var typ string
	var threads int
	types := append([]string{"nf4"}, llama.QuantizeTypes...)
	cmd := &cobra.Command{
		Use:   "quantize IN.gguf OUT.gguf",
		Short: "Write a model with smaller weights",
		Long: "Write a model with smaller weights.\n\n" +
			"nf4 is the 4-bit type of QLoRA, with embeddings and output head in Q8_0; only lorikeet reads it.\n" +
			"The other types are llama.cpp's. IN.gguf may be hf://org/repo[@revision][:quant][/file], which is downloaded into\n" +
			"the data folder (LORIKEET_DATA) first.",
		Args: exactly(2, "IN.gguf and OUT.gguf"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if threads < 0 {
				return fmt.Errorf("%w: --threads is %d, less than 0", errUsage, threads)
			}
			in, err := bringModel(cmd.Context(), args[0], fetchOptions(env, dataFolder(env)), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return quantize(cmd.Context(), in, args[1], typ, threads, cmd.ErrOrStderr(), cmd.OutOrStdout())
		},
	}
	choiceFlag(cmd.Flags(), &typ, "type", "nf4", "type of the weights", types...)
	cmd.Flags().IntVarP(&threads, "threads", "t", 0, "threads; 0: one for each CPU")
	return cmd
}

// quantize writes the model file in to out, showing its progress on screen, and reports on stdout.
func quantize(ctx context.Context, in, out, typ string, threads int, screen, stdout io.Writer) error {
	before, err := os.Stat(in)
	if err != nil {
		return fmt.Errorf("%w: IN.gguf: %w", errUsage, err)
	}
	if after, err := os.Stat(out); err == nil && os.SameFile(before, after) {
		return fmt.Errorf("%w: OUT.gguf: %s is IN.gguf itself", errUsage, out)
	}
	start := time.Now()
	if err := requantize(ctx, in, out, typ, threads, screen); err != nil {
		return err
	}
	after, err := os.Stat(out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %s, %s instead of %s, in %s\n", out, typ, formatBytes(after.Size()), formatBytes(before.Size()),
		time.Since(start).Round(10*time.Millisecond))
	return err
}

// requantize is quantize without its words.
func requantize(ctx context.Context, in, out, typ string, threads int, screen io.Writer) (err error) {
	bar := newBar(screen, "quantizing to "+typ)
	if typ == "nf4" {
		_, err = quant.Quantize(ctx, in, out, quant.Options{Type: typ, Threads: threads, Progress: func(done, total int64) { bar(float64(done) / float64(total)) }})
	} else {
		err = quantizeWithLibrary(ctx, in, out, typ, threads, bar)
	}
	fmt.Fprintln(screen)
	return err
}

// quantizeWithLibrary runs llama.cpp's quantizer, which cannot be interrupted: when ctx ends, the process
// does not wait for it.
func quantizeWithLibrary(ctx context.Context, in, out, typ string, threads int, progress func(float64)) error {
	if !slices.Contains(llama.QuantizeTypes, typ) {
		return fmt.Errorf("%w: --type %s is not known", errUsage, typ)
	}
	done := make(chan error, 1)
	go func() { done <- llama.Quantize(in, out, typ, threads, progress) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", in, ctx.Err())
	}
}

// newBar draws a progress bar on w and returns what moves it, to a part from 0 to 1.
func newBar(w io.Writer, what string) func(float64) {
	const steps = 1000
	bar := progressbar.NewOptions(steps,
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(40),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetPredictTime(true))
	return func(part float64) {
		_ = bar.Set(int(part * steps)) // a bar that cannot be drawn must not stop the work
	}
}
