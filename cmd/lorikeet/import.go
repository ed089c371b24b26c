package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/lorikeet-ai/lorikeet/internal/bytesize"
	"github.com/lorikeet-ai/lorikeet/internal/program"
	"github.com/lorikeet-ai/lorikeet/quant/huggingface"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
)

// importTypes are the types that a Hugging Face folder can be imported in: ours, and llama.cpp's.
func importTypes() []string {
	types := slices.Clone(huggingface.Types)
	for _, t := range llama.QuantizeTypes {
		if !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return types
}

func importCommand(env lookup) *cobra.Command {
	var o huggingface.Options
	cmd := &cobra.Command{
		Use:   "import DIR OUT.gguf",
		Short: "Make a GGUF file of a Hugging Face model folder",
		Long: "Make a GGUF file of a Hugging Face model folder: config.json, safetensors, tokenizer and chat template.\n" +
			"DIR may also be hf://org/repo[@revision], which is downloaded into the data folder first.\n\n" +
			"Families: llama, mistral, qwen2, qwen3. nf4 is the 4-bit type of QLoRA, which only lorikeet reads; a checkpoint\n" +
			"that bitsandbytes quantized to NF4 keeps its codes. keep leaves each weight in the type it has. The other types\n" +
			"are llama.cpp's.",
		Args: exactly(2, "DIR and OUT.gguf"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Threads < 0 {
				return fmt.Errorf("%w: --threads is %d, less than 0", errUsage, o.Threads)
			}
			if err := checkOut(args[1]); err != nil {
				return err
			}
			dir, err := bringModel(cmd.Context(), args[0], fetchOptions(env, dataFolder(env)), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := mustBe(dir, true); err != nil {
				return fmt.Errorf("%w: DIR: %w", errUsage, err)
			}
			return importModel(cmd.Context(), dir, args[1], o, cmd.ErrOrStderr(), cmd.OutOrStdout())
		},
	}
	choiceFlag(cmd.Flags(), &o.Type, "type", "nf4", "type of the weights", importTypes()...)
	cmd.Flags().StringVar(&o.Name, "name", "", "general.name of the model; empty: what the folder is called")
	cmd.Flags().StringVar(&o.PreTokenizer, "pre-tokenizer", "", "llama.cpp's name of the pre-tokenizer, where tokenizer.json has one that is not known")
	cmd.Flags().IntVarP(&o.Threads, "threads", "t", 0, "threads; 0: one for each CPU")
	return cmd
}

// importModel writes the folder dir to out, showing its progress on screen, and reports on stdout.
func importModel(ctx context.Context, dir, out string, o huggingface.Options, screen, stdout io.Writer) error {
	start := time.Now()
	shown := newProgress(screen, "importing as "+o.Type)
	report, err := convert(ctx, dir, out, o, shown.set)
	shown.end()
	if err != nil {
		return err
	}
	for _, note := range report.Notes {
		fmt.Fprintln(screen, "note:", note)
	}
	info, err := os.Stat(out)
	if err != nil {
		return err
	}
	from := ""
	if report.Prequantized {
		from = " from bitsandbytes NF4"
	}
	_, err = fmt.Fprintf(stdout, "%s: %s, %s%s, %s, in %s\n", out, report.Architecture, o.Type, from, bytesize.Format(info.Size()),
		time.Since(start).Round(10*time.Millisecond))
	return err
}

// convert imports dir in any of importTypes. llama.cpp quantizes files only: for its types the model is written as it
// is beside out first.
func convert(ctx context.Context, dir, out string, o huggingface.Options, bar func(float64)) (report huggingface.Report, err error) {
	if slices.Contains(huggingface.Types, o.Type) {
		o.Progress = func(done, total int64) { bar(float64(done) / float64(total)) }
		return huggingface.Import(ctx, dir, out, o)
	}
	temporary, err := os.MkdirTemp(filepath.Dir(out), ".import-*")
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	whole, typ := filepath.Join(temporary, "whole.gguf"), o.Type
	o.Type = "keep"
	o.Progress = func(done, total int64) { bar(float64(done) / float64(total) / 2) }
	if report, err = huggingface.Import(ctx, dir, whole, o); err != nil {
		return report, err
	}
	return report, quantizeWithLibrary(ctx, whole, out, typ, o.Threads, func(part float64) { bar(0.5 + part/2) })
}

// convertModel returns the GGUF file of --model: the file itself, or what was made of it if it is a Hugging Face
// folder. That lies in the data folder, under the fingerprint of what it was made from: a folder that has not changed
// is converted once.
func convertModel(ctx context.Context, c program.Config, log zerolog.Logger) (string, error) {
	info, err := os.Stat(c.Model)
	if c.Model == "" || err != nil || !info.IsDir() {
		return c.Model, nil
	}
	fingerprint, err := huggingface.Fingerprint(c.Model)
	if err != nil {
		return "", fmt.Errorf("--model: %w", err)
	}
	models := filepath.Join(c.Data, "models", "converted")
	path := filepath.Join(models, fingerprint[:24]+"-"+c.ImportType+".gguf")
	if _, err := os.Stat(path); err == nil {
		log.Info().Str("folder", c.Model).Str("file", path).Msg("the folder was converted before")
		return path, nil
	}
	if err := os.MkdirAll(models, 0o700); err != nil {
		return "", fmt.Errorf("--data: %w", err)
	}
	log.Info().Str("folder", c.Model).Str("type", c.ImportType).Str("file", path).Msg("converting the folder, once")
	start, next := time.Now(), 0.1
	report, err := convert(ctx, c.Model, path, huggingface.Options{Type: c.ImportType}, func(part float64) {
		if part >= next && part < 1 {
			log.Info().Int("percent", int(100*part)).Msg("converting")
			next = part + 0.1
		}
	})
	if err != nil {
		return "", fmt.Errorf("--model: %w", err)
	}
	for _, note := range report.Notes {
		log.Warn().Msg(note)
	}
	log.Info().Str("file", path).Stringer("took", time.Since(start).Round(time.Millisecond)).Msg("converted")
	return path, nil
}
