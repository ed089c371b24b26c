package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lorikeet-ai/lorikeet/internal/program"
	"github.com/lorikeet-ai/lorikeet/responses"
)

// serveFlags are what `lorikeet serve` was asked for.
type serveFlags struct {
	program.Config
	keyFile string // of API keys, one in each line
}

// bind declares the flags of c.
func (c *serveFlags) bind(flags *pflag.FlagSet, dataDir string) {
	flags.StringVarP(&c.Model, "model", "m", "", "the base model: a GGUF file, a Hugging Face folder (converted once), or hf://org/repo[@revision][:quant][/file]; empty: the small built-in model")
	flags.String("hf", "", "a repository on the hub, org/repo[:quant]; the same as --model hf://org/repo[:quant]")
	choiceFlag(flags, &c.ImportType, "import-type", "nf4", "weight type that a Hugging Face folder is converted to", importTypes()...)
	flags.StringVar(&c.Original, "original-model", "", "the model that the base was quantized from, for adapters that begin with LoftQ: a GGUF file or a Hugging Face folder in F32, F16 or BF16; empty: the folder of --model, where it is one")
	flags.StringArrayVar(&c.Aliases, "alias", nil, "name of the base model in the API; repeatable; the first replaces the name in the file")
	flags.StringVar(&c.Template, "chat-template-file", "", "Jinja chat template to use instead of the model's")
	flags.BoolVar(&c.AllowSpecial, "allow-special-in-content", false, "let control tokens that clients write in messages count as such; otherwise they are text, so that nobody can forge another's turn")
	flags.StringVar(&c.Listen, "listen", "127.0.0.1:8080", "address to serve on; port 0 is any free one")
	flags.String("host", "", "host to serve on, instead of the one in --listen")
	flags.Int("port", 0, "port to serve on, instead of the one in --listen")
	flags.StringArrayVar(&c.Keys, "api-key", nil, "API key that clients must send; repeatable; without one no key is asked for")
	flags.StringVar(&c.keyFile, "api-key-file", "", "file of API keys that clients must send, one in each line, beside those of --api-key")
	flags.StringVar(&c.KeyFile, "keys", "", "file of tenants' API keys, with their roles, adapters and quotas, which lorikeet keys writes; it is read again when it changes")
	flags.StringVar(&c.TLSCert, "tls-cert", "", "file of a TLS certificate and its chain, in PEM; the server then speaks HTTPS, and reads the file again when it changes")
	flags.StringVar(&c.TLSKey, "tls-key", "", "file of the private key of --tls-cert, in PEM")
	flags.StringArrayVar(&c.Hosts, "allowed-host", nil, "name under which the server may be asked without an API key, besides addresses and names without a dot, or *; repeatable; a web page could otherwise ask under a name of its own")
	flags.StringArrayVar(&c.Origins, "cors-origin", nil, "origin of web pages that may call the API from a browser, or *; repeatable; without one no page may")
	flags.StringVar(&c.Data, "data", dataDir, "folder for adapters, training jobs and downloaded models")
	flags.StringArrayVar(&c.AdapterDirs, "adapter-dir", nil, "folder whose adapters are registered by their names, and again whenever they change, or an adapter's own folder; repeatable")
	sizeFlag(flags, (*size)(&c.AdapterBytes), "adapter-memory", 2<<30, "memory that loaded adapters may hold; those being loaded take up to a quarter more as they are read, or what one needs by itself. Where a device holds layers, half as much of its memory holds those that are used")
	sizeFlag(flags, (*size)(&c.MaxUpload), "max-upload", 1<<30, "largest adapter that may be uploaded; the files of all uploads under way take three times as much at most, those of one twice: as it is received, unpacked and written")
	flags.IntVar(&c.KeepVersions, "keep-versions", 10, "versions of an adapter that are kept, beside pinned ones and those in use; 0: all")
	flags.DurationVar(&c.KeepResponses, "keep-responses", responses.DefaultTime, "how long the answers of /v1/responses are kept for later requests to go on from; 0: not at all")
	sizeFlag(flags, (*size)(&c.ResponseBytes), "max-response-data", responses.DefaultBytes, "space on disk that the kept answers may take; those not used for the longest time are removed")
	choiceFlag(flags, &c.Remote, "remote-adapters", "auto", "whether requests may name adapters on the hub or in buckets; auto: with an --api-key, or where the server listens on loopback alone", "auto", "on", "off")
	sizeFlag(flags, (*size)(&c.TrainMemory), "train-memory", 2<<30, "memory that all training together may take, to within 8 MiB; 0: no limit")
	choiceFlag(flags, &c.TrainPrecision, "train-precision", "fast", "how training multiplies: fast as the CPU does it fastest, half without products of bytes, single in float32", "fast", "half", "single")
	flags.Float64Var(&c.TrainShare, "train-share", 0.5, "share of the time that training gets while requests are answered; without requests it gets all")
	flags.IntVar(&c.MaxJobs, "max-jobs", 1000, "training jobs that are kept; the oldest that have ended are removed with their data")
	sizeFlag(flags, (*size)(&c.MaxJobData), "max-job-data", 16<<30, "space on disk that training jobs may take; the oldest that have ended are removed")
	flags.IntVar(&c.MaxFiles, "max-files", 10_000, "uploaded files and results of batches and jobs that are kept; further uploads are refused with 507")
	sizeFlag(flags, (*size)(&c.MaxFileData), "max-file-data", 16<<30, "space on disk that uploaded files and results of batches and jobs may take; further uploads are refused with 507")

	flags.StringArrayVar(&c.GraderModels, "grader-model", nil, "model that graders may ask for scores besides those of this server, as name=URL of an API like OpenAI's, such as gpt-4.1-mini=https://api.example.com/v1; repeatable")
	flags.StringVar(&c.GraderKey, "grader-api-key", "", "API key for the models of --grader-model")
	flags.StringArrayVar(&c.GraderEndpoints, "grader-endpoint", nil, "URL that graders may post answers to, with all that lies below it; repeatable; without one there are no endpoint graders")
	flags.StringVar(&c.GraderSandbox, "grader-sandbox", "", "command, with its arguments, that runs the Python source of graders: it reads a JSON object with source, sample and item, calls grade(sample, item) and prints the number; without one there are no python graders")

	c.bindCluster(flags)

	flags.IntVarP(&c.Parallel, "parallel", "p", 16, "requests that are answered at once")
	flags.IntVarP(&c.Context, "ctx", "c", 0, fmt.Sprintf("tokens in the KV cache, which all requests share; 0: parallel times the model's context, at most %d", program.MaxContext))
	flags.IntVar(&c.Chunk, "chunk", 256, "prompt tokens in one decode; bounds how long a long prompt delays running answers")
	flags.IntVar(&c.Batch, "batch", 0, "tokens in one decode; 0: chunk + parallel, at least 512")
	flags.IntVar(&c.UBatch, "ubatch", 512, "tokens of a decode that are computed at once (micro-batch)")
	flags.IntVarP(&c.Threads, "threads", "t", 0, "compute threads; 0: one for each physical core")
	choiceFlag(flags, &c.KVType, "kv-type", "f16", "type of the KV cache", "f16", "f32", "q8_0")
	choiceFlag(flags, &c.FlashAttention, "flash-attn", "auto", "flash attention", "auto", "on", "off")
	choiceFlag(flags, &c.Pooling, "pooling", "auto", "what of a text's hidden states becomes its embedding: their mean, the last token's or the first one's (cls); auto: as the model's file says, or else last", "auto", "mean", "last", "cls")
	choiceFlag(flags, &c.Reasoning, "reasoning-format", "auto", "what a chat answer's reasoning becomes: a field of its own (auto), or a part of the text with the model's marks (none)", "auto", "none")
	choiceFlag(flags, &c.Backend, "lora-backend", "fused", "how adapters are multiplied", "fused", "mmid")
	choiceFlag(flags, &c.NF4, "nf4-mode", "i8", "how NF4 weights are multiplied", "i8", "i16", "f32")
	layersFlag(flags, &c.GPULayers, "gpu-layers", "layers that a GPU computes and holds, the last ones first, the output head as one more: a number, all, or auto: as many as fit its free memory, with adapters and KV cache; without a GPU the CPU computes all")
	flags.StringVar(&c.Device, "device", "", "device that computes the layers of --gpu-layers, as lorikeet devices names it; empty: the first GPU")
	flags.StringVar(&c.Backends, "backends", "", "folder of back ends for GPUs, libggml-NAME-VERSION.so; empty: lib beside the program")
	flags.BoolVar(&c.Deterministic, "deterministic", false, "give every request the answer that it has alone, bit by bit, where the CPU does not anyway: on a device, and with another --kv-type than f16. Tokens are then computed one at a time, and each request has --ctx divided by --parallel tokens of its own")
	flags.BoolVar(&c.CheckTensors, "check-tensors", false, "read all weights at the start and refuse a model in which one is infinite or not a number")
	flags.BoolVar(&c.Grouped, "grouped", false, "decode the requests of each adapter by themselves, as servers do that cannot mix adapters; for comparison")

	flags.IntVar(&c.MaxQueue, "max-queue", 256, "requests that may wait; further ones are answered 429")
	secondsFlag(flags, (*seconds)(&c.Deadline), "deadline", 10*time.Minute, "longest time for an answer; 0: no limit")
	secondsFlag(flags, (*seconds)(&c.Drain), "drain", 30*time.Second, "how long a stopping server may take to finish running answers")
	flags.StringVar(&c.LogFile, "log-file", "", "file to append the log to, opened again at SIGHUP; empty: stderr")
	choiceFlag(flags, &c.LogLevel, "log-level", "info", "least level to log", "debug", "info", "warn", "error")
	choiceFlag(flags, &c.LogFormat, "log-format", "text", "form of the log", "text", "json")
}

func mustBe(path string, folder bool) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s does not exist", path)
	case err != nil:
		return err
	case folder && !info.IsDir():
		return fmt.Errorf("%s is not a folder", path)
	case !folder && info.IsDir():
		return fmt.Errorf("%s is a folder, not a file", path)
	}
	return nil
}

// dataDir is where adapters are stored by default: the user's data folder, as the XDG specification has it.
func dataDir(env lookup) string {
	if dir, _ := env("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "lorikeet")
	}
	if home, _ := env("HOME"); home != "" {
		return filepath.Join(home, ".local", "share", "lorikeet")
	}
	return ""
}

// dataFolder is the data folder for commands without a flag for it.
func dataFolder(env lookup) string {
	if dir, _ := env(envName("data")); dir != "" {
		return dir
	}
	return dataDir(env)
}

func serveCommand(env lookup) *cobra.Command {
	var c serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve a base model and its adapters over HTTP",
		Long: "Serve a base model and its adapters over HTTP.\n\n" +
			"Every flag may also be set by the environment variable named with it; lists are separated by commas there.",
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := readEnv(cmd.Flags(), env); err != nil {
				return err
			}
			c.Fetch, c.Version = fetchOptions(env, c.Data), buildVersion()
			if err := c.check(cmd.Flags()); err != nil {
				return err
			}
			p, err := program.New(c.Config, cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer p.Close()
			if err := p.Listen(); err != nil { // before minutes go into fetching, converting and loading a model
				return err
			}
			ctx, stop := hangUp(cmd.Context(), p)
			defer stop()
			model, err := c.readyModel(ctx, p, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			folder := ""
			if model != c.Model {
				folder = c.Model
			}
			p.UseModel(model, folder)
			p.UseContext(ctx)
			if err := p.Open(); err != nil {
				return err
			}
			return p.Serve(ctx)
		},
	}
	c.bind(cmd.Flags(), dataDir(env))
	describeEnv(cmd.Flags())
	return cmd
}

// readyModel returns the path of a file that can be loaded: fetched and converted where it has to be.
func (c *serveFlags) readyModel(ctx context.Context, p *program.Program, stderr io.Writer) (string, error) {
	var err error
	if c.Model, err = bringModel(ctx, c.Model, c.Fetch, stderr); err != nil {
		return "", err
	}
	if err := c.files(); err != nil {
		return "", err
	}
	return convertModel(ctx, c.Config, p.Log())
}

// hangUp returns a context that SIGHUP ends, as SIGTERM does. A server whose log is a file opens that anew instead. With
// SIGHUP ignored from the start, as nohup has it, it stays ignored.
func hangUp(ctx context.Context, p *program.Program) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if signal.Ignored(syscall.SIGHUP) {
		return ctx, cancel
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				if !p.ReopenLog() {
					cancel()
				}
			}
		}
	}()
	return ctx, cancel
}
