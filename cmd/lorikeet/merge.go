package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/merge"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/internal/bytesize"
	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// mergeFlags are what `lorikeet merge` was asked for.
type mergeFlags struct {
	base     string
	adapters []string
	data     string
	typ      string
	threads  int
}

func mergeCommand(env lookup) *cobra.Command {
	var m mergeFlags
	types := slices.Concat(quant.Types, llama.QuantizeTypes)
	cmd := &cobra.Command{
		Use:   "merge --base MODEL --adapter ADAPTER[:WEIGHT]... OUT.gguf",
		Short: "Write a model with adapters merged into its weights",
		Long: "Write a model with adapters merged into its weights: W + sum of weight * alpha/r * B*A.\n\n" +
			"MODEL is a GGUF file, or a Hugging Face folder, which is imported with the types that its weights have.\n" +
			"ADAPTER is a PEFT folder, an archive of one, a GGUF LoRA file, or the name of an adapter that is stored in --data;\n" +
			"1 is its weight where none is given. Without --type every weight keeps the type it has, and those that no adapter\n" +
			"changes keep their bytes; with --type the merged model is quantized as `lorikeet quantize` does, from F32.",
		Args: exactly(1, "OUT.gguf"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if m.base == "" {
				return fmt.Errorf("%w: --base is missing", errUsage)
			}
			if len(m.adapters) == 0 {
				return fmt.Errorf("%w: --adapter is missing", errUsage)
			}
			if m.threads < 0 {
				return fmt.Errorf("%w: --threads is %d, less than 0", errUsage, m.threads)
			}
			var err error
			if m.base, err = bringModel(cmd.Context(), m.base, fetchOptions(env, m.data), cmd.ErrOrStderr()); err != nil {
				return err
			}
			return m.run(cmd.Context(), args[0], cmd.ErrOrStderr(), cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&m.base, "base", "", "GGUF file or Hugging Face folder of the base model, or hf://org/repo[@revision][:quant][/file]")
	flags.StringArrayVar(&m.adapters, "adapter", nil, "adapter to merge, and its weight after a colon; repeatable")
	flags.StringVar(&m.data, "data", dataFolder(env), "folder that adapters are stored in, for those given by name")
	choiceFlag(flags, &m.typ, "type", "", "type of the weights; none: each keeps its own", types...)
	flags.IntVarP(&m.threads, "threads", "t", 0, "threads; 0: one for each CPU")
	return cmd
}

// run merges, showing its progress on screen, and reports on stdout.
func (m *mergeFlags) run(ctx context.Context, out string, screen, stdout io.Writer) error {
	before, err := os.Stat(m.base)
	if err != nil {
		return fmt.Errorf("%w: --base: %w", errUsage, err)
	}
	if after, err := os.Stat(out); err == nil && os.SameFile(before, after) {
		return fmt.Errorf("%w: OUT.gguf: %s is the base itself", errUsage, out)
	}
	if err := checkOut(out); err != nil {
		return err
	}
	removeImport, err := m.importBase(ctx, before.IsDir(), out, screen)
	defer removeImport()
	if err != nil {
		return err
	}
	base, err := baseFacts(m.base)
	if err != nil {
		return err
	}
	sum, label, closeAll, err := m.open(base)
	defer closeAll()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := m.write(ctx, sum, label, out, screen); err != nil {
		return err
	}
	after, err := os.Stat(out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %s, in %s, with %s\n", out, bytesize.Format(after.Size()), time.Since(start).Round(10*time.Millisecond), label)
	return err
}

// importBase makes a file of a base that is a folder, beside out, until remove is called.
func (m *mergeFlags) importBase(ctx context.Context, isDir bool, out string, screen io.Writer) (remove func(), err error) {
	if !isDir {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp(filepath.Dir(out), "."+filepath.Base(out)+".*.tmp")
	if err != nil {
		return func() {}, err
	}
	remove = func() { os.RemoveAll(dir) }
	path := filepath.Join(dir, "base.gguf")
	shown := newProgress(screen, "importing the base")
	report, err := convert(ctx, m.base, path, huggingface.Options{Type: "keep", Threads: m.threads}, shown.set)
	shown.end()
	for _, note := range report.Notes {
		fmt.Fprintln(screen, "note:", note)
	}
	m.base = path
	return remove, err
}

func baseFacts(path string) (*runtime.Facts, error) {
	file, err := quant.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return peft.FactsOf(file)
}

// open opens the adapters. closeAll closes them, also after an error.
func (m *mergeFlags) open(base *runtime.Facts) (sum *merge.Sum, label string, closeAll func(), err error) {
	sum = merge.NewSum(base)
	var list []*peft.Adapter
	closeAll = func() {
		for _, a := range list {
			a.Close()
		}
	}
	var labels []string
	for _, arg := range m.adapters {
		w, path, err := m.find(arg)
		if err != nil {
			return nil, "", closeAll, err
		}
		a, err := adapters.OpenPath(base, path)
		if err != nil {
			return nil, "", closeAll, fmt.Errorf("--adapter %s: %w", w.Name, err)
		}
		list = append(list, a)
		if err := sum.Add(a, w.Weight); err != nil {
			return nil, "", closeAll, fmt.Errorf("--adapter %s: %w", w.Name, err)
		}
		labels = append(labels, fmt.Sprintf("%s*%g", filepath.Base(w.Name), w.Weight))
	}
	return sum, strings.Join(labels, " + "), closeAll, nil
}

// find returns the path of an adapter of the command line: a file or folder there is before a stored name.
func (m *mergeFlags) find(arg string) (weighted, string, error) {
	if _, err := os.Stat(arg); err == nil {
		return weighted{arg, 1}, arg, nil
	}
	w, err := parseWeighted(arg)
	if err != nil {
		return w, "", err
	}
	if _, err := os.Stat(w.Name); err == nil {
		return w, w.Name, nil
	}
	ref, err := adapters.ParseRef(w.Name)
	if err != nil {
		return w, "", fmt.Errorf("%w: --adapter %s: there is no such file, and it is no adapter's name", errUsage, w.Name)
	}
	_, folder, err := adapters.FindStored(m.data, ref)
	if err != nil {
		return w, "", fmt.Errorf("--adapter %s: there is no such file, and in --data: %w", w.Name, err)
	}
	return w, folder, nil
}

// write merges the sum into the base. Where another type is asked for, the merged weights go through a file of F32
// beside out, which is quantized and removed.
func (m *mergeFlags) write(ctx context.Context, sum *merge.Sum, label, out string, screen io.Writer) (err error) {
	to := out
	if m.typ != "" {
		dir, err := os.MkdirTemp(filepath.Dir(out), "."+filepath.Base(out)+".*.tmp")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		to = filepath.Join(dir, "merged-f32.gguf")
	}
	shown := newProgress(screen, "merging")
	err = quant.Rewrite(ctx, m.base, to, quant.Rewriting{
		Prepare: sum.Prepare, Change: sum.Change, Changes: sum.Changes, Copies: sum.Untied(), Plain: m.typ != "", Codec: llama.Codec,
		Set: map[string]any{"lorikeet.merged": label}, Threads: m.threads,
		Progress: shown.of,
	})
	shown.end()
	if errors.Is(err, quant.ErrType) && m.typ == "" {
		return fmt.Errorf("%w (--type chooses one)", err)
	}
	if err != nil || m.typ == "" {
		return err
	}
	return (&quantizeFlags{typ: m.typ, threads: m.threads}).write(ctx, to, out, screen)
}
