// Command coserve measures what training costs those who are answered, and they training: in one server it takes
// the times between the tokens of some steady streams alone, the speed of a training job alone, and then both at
// once, in alternating rounds.
//
//	bin/lorikeet must be built (make build)
//	go run ./bench/coserve
//	go run ./bench/coserve -models 8b.gguf -- --gpu-layers all
//
// What follows the flags are further flags of the server.
//
// To reach, at the default --train-share: the 95th percentile between tokens at most 2x, training at least 40 % of
// its speed alone, no answer lost. The models are the embedded base and random ones of about 0.45B weights. The
// embedded base decodes in less than a millisecond, so that what the server does beside decoding counts most there; another build
// to compare with is named by -lorikeet.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/load"
	"github.com/lorikeet-ai/lorikeet/bench/process"
	"github.com/lorikeet-ai/lorikeet/bench/randmodel"
	"github.com/lorikeet-ai/lorikeet/bench/record"
)

type settings struct {
	dir, binary string
	models      []string
	share       float64
	clients     int
	prompt      int
	tokens      int
	rounds      int
	batch       int // examples of a training step; 0: the default
	threads     int
	server      []string // further flags
	json        string
}

func main() {
	if err := run(parse()); err != nil {
		fmt.Fprintln(os.Stderr, "bench/coserve:", err)
		os.Exit(1)
	}
}

func parse() settings {
	var s settings
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	flag.StringVar(&s.dir, "dir", filepath.Join(cache, "lorikeet-bench"), "where the models are made and kept (1.5 GB)")
	flag.StringVar(&s.binary, "lorikeet", "bin/lorikeet", "the server to measure")
	models := flag.String("models", "demo,nf4,q4_0", "which to measure; also files of bench/randmodel")
	flag.Float64Var(&s.share, "share", 0.5, "--train-share of the server")
	flag.IntVar(&s.clients, "clients", 4, "streams")
	flag.IntVar(&s.prompt, "prompt", 60, "tokens of each prompt")
	flag.IntVar(&s.tokens, "tokens", 400, "tokens of each answer; some training steps must end meanwhile")
	flag.IntVar(&s.rounds, "rounds", 3, "rounds of each")
	flag.IntVar(&s.batch, "batch", 0, "examples of a training step; 0: the product's default; some steps must end while the streams run")
	flag.IntVar(&s.threads, "threads", 2, "compute threads of the server")
	flag.StringVar(&s.json, "json", "", "a file to add the results to, as lines of JSON")
	flag.Parse()
	s.models, s.server = strings.Split(*models, ","), flag.Args()
	return s
}

func run(s settings) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Printf("%d streams of %d tokens, %d threads, --train-share %v, %d rounds\n\n", s.clients, s.tokens, s.threads, s.share, s.rounds)
	fmt.Printf("%-6s %22s %22s %7s   %18s %18s %6s   %s\n", "", "between tokens alone", "with training", "p95", "training alone", "with streams", "of it", "lost")
	for _, model := range s.models {
		if err := s.measure(ctx, model); err != nil {
			return fmt.Errorf("%s: %w", model, err)
		}
	}
	return nil
}

// measure runs the rounds on one model and prints its row.
func (s *settings) measure(ctx context.Context, model string) error {
	flags := []string{"--threads", strconv.Itoa(s.threads), "--train-share", fmt.Sprint(s.share),
		"--ctx", strconv.Itoa(s.clients * (s.prompt + s.tokens + 64))}
	path, err := s.file(ctx, model)
	if err != nil {
		return err
	}
	if path != "" {
		flags = append(flags, "--model", path)
	}
	data, err := os.MkdirTemp("", "lorikeet-coserve-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)
	server, err := process.Start(ctx, s.binary, filepath.Join(s.dir, "coserve-"+filepath.Base(model)+".log"), append(append(flags, "--data", data), s.server...)...)
	if err != nil {
		return err
	}
	defer func() { _ = server.Stop() }()

	var alone, beside load.Result
	var free, shared speed
	for round := range s.rounds + 1 { // the first round warms up
		a, err := load.Run(ctx, server, s.plan())
		if err != nil {
			return err
		}
		job, err := startJob(server.URL, model == "demo", s.batch)
		if err != nil {
			return err
		}
		f, err := job.during(func() error { time.Sleep(max(a.Wall, 3*time.Second)); return nil })
		if err != nil {
			return err
		}
		var b load.Result
		sh, err := job.during(func() (err error) { b, err = load.Run(ctx, server, s.plan()); return err })
		if err != nil {
			return err
		}
		if err := job.cancel(); err != nil {
			return err
		}
		if round > 0 {
			alone, beside = add(alone, a), add(beside, b)
			free, shared = free.add(f), shared.add(sh)
		}
	}
	between := func(r load.Result) string {
		return fmt.Sprintf("p50 %.1f p95 %.1f ms", ms(load.Quantile(r.Between, .5)), ms(load.Quantile(r.Between, .95)))
	}
	l := line{
		Bench: "coserve", Model: filepath.Base(model), Server: s.server, Streams: s.clients,
		AloneP95MS: ms(load.Quantile(alone.Between, .95)), BesideP95MS: ms(load.Quantile(beside.Between, .95)),
		TrainAlone: free.perSecond(), TrainBeside: shared.perSecond(), Lost: alone.Failures + beside.Failures,
	}
	fmt.Printf("%-6s %22s %22s %6.2fx   %12.0f tok/s %12.0f tok/s %5.0f%%   %d\n", l.Model, between(alone), between(beside),
		l.BesideP95MS/l.AloneP95MS, l.TrainAlone, l.TrainBeside, 100*l.TrainBeside/l.TrainAlone, l.Lost)
	return record.Append(s.json, l)
}

// line is one result as it is kept.
type line struct {
	Bench       string   `json:"bench"`
	Model       string   `json:"model"`
	Server      []string `json:"server_flags"`
	Streams     int      `json:"streams"`
	AloneP95MS  float64  `json:"p95_alone_ms"` // between tokens
	BesideP95MS float64  `json:"p95_beside_training_ms"`
	TrainAlone  float64  `json:"training_alone_tokens_per_second"`
	TrainBeside float64  `json:"training_beside_streams_tokens_per_second"`
	Lost        int      `json:"lost_answers"`
}

// file returns the path of a model; "" of the embedded one.
func (s *settings) file(ctx context.Context, model string) (string, error) {
	switch {
	case model == "demo":
		return "", nil
	case strings.HasSuffix(model, ".gguf"):
		return model, nil
	}
	files, err := randmodel.Ensure(ctx, s.dir, func(msg string) { fmt.Fprintln(os.Stderr, msg) })
	if err != nil {
		return "", err
	}
	path := map[string]string{"nf4": files.NF4, "q4_0": files.Q40}[model]
	if path == "" {
		return "", fmt.Errorf("there is no such model: want demo, nf4, q4_0 or a file that ends in .gguf")
	}
	return path, nil
}

func (s *settings) plan() load.Plan {
	return load.Plan{Clients: s.clients, Requests: 1, Prompt: s.prompt, Tokens: s.tokens, Vocab: 2000,
		Adapter: func(int) int { return -1 }}
}

func add(a, b load.Result) load.Result {
	a.Between = append(a.Between, b.Between...)
	a.Failures += b.Failures
	return a
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }
