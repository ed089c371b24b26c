// Package program builds a server out of the packages: New, Open, Serve, Close. `lorikeet serve` runs it, and a test
// may boot the real thing on port 0.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/batches"
	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/cluster"
	"github.com/lorikeet-ai/lorikeet/fetch"
	"github.com/lorikeet-ai/lorikeet/internal/bytesize"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/responses"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/server"
	"github.com/lorikeet-ai/lorikeet/tenants"
	"github.com/lorikeet-ai/lorikeet/tinker"
)

// Program is a server with all its parts. Its methods are called from one goroutine.
type Program struct {
	config Config
	folder string // that the base was converted from; "": none
	out    io.Writer
	log    zerolog.Logger

	model     *llama.Model
	node      *cluster.Node     // nil: the server keeps everything to itself
	shared    *cluster.Adapters // of node
	engine    *engine.Engine
	template  *chat.Template
	store     *adapters.Store
	cache     *adapters.Cache
	folders   *adapters.Folders
	fetcher   *fetch.Fetcher // nil: requests may not name sources of adapters
	uploads   *disk.Budget   // shared by what is being received and fetched
	judges    *judges
	starting  context.Context // ends what Open waits for
	opened    chan struct{}   // closed when the server can be asked
	training  trainer
	batches   *batches.Queue
	tinker    *tinker.Service
	responses *responses.Store // nil: none are kept
	metrics   *server.Metrics
	server    *server.Server
	front     *front
	listener  net.Listener   // front, with TLS where there is any
	logFile   *logFile       // nil: the log is no file
	closers   []func() error // of what is open, in the order it was opened
}

// New returns a server that is not open. What it serves is printed on stdout for people; its log goes to stderr, or to
// the file that c names. Close closes it.
func New(c Config, stdout, stderr io.Writer) (*Program, error) {
	p := &Program{config: c, out: stdout, starting: context.Background(), opened: make(chan struct{})}
	var err error
	if p.judges, err = newJudges(&p.config); err != nil {
		return nil, err
	}
	if c.LogFile != "" {
		if p.logFile, err = openLogFile(c.LogFile); err != nil {
			return nil, fmt.Errorf("--log-file: %w", err)
		}
		p.onClose(p.logFile.Close)
		stderr = p.logFile
	}
	p.log = newLog(c, stderr)
	return p, nil
}

// newLog returns the log that c asks for.
func newLog(c Config, w io.Writer) zerolog.Logger {
	if c.LogFormat != "json" {
		file, ok := w.(*os.File)
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: !ok || !term.IsTerminal(int(file.Fd()))}
	}
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		level = zerolog.InfoLevel
	}
	return zerolog.New(zerolog.SyncWriter(w)).Level(level).With().Timestamp().Logger()
}

// Log is the server's log.
func (p *Program) Log() zerolog.Logger { return p.log }

// ReopenLog opens a log file anew, so that one that was moved away is no longer written. It returns false where the log
// is no file. It may be called from any goroutine.
func (p *Program) ReopenLog() bool {
	if p.logFile == nil {
		return false
	}
	if err := p.logFile.reopen(); err != nil {
		p.log.Error().Err(err).Msg("--log-file: the log cannot be opened anew, the old one is written on")
	} else {
		p.log.Info().Msg("log opened anew")
	}
	return true
}

// Listen takes the address to serve on. Until Serve, requests are answered 503: the model is being loaded.
func (p *Program) Listen() error {
	f, err := openFront(p.config.Listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", p.config.Listen, err)
	}
	p.front, p.listener = f, f
	p.onClose(func() error {
		if err := p.front.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	if p.config.TLSCert != "" {
		certificate, err := newCertificate(p.config.TLSCert, p.config.TLSKey, p.log)
		if err != nil {
			return err
		}
		p.listener = certificate.listen(f)
	}
	f.answer(p.listener)
	return nil
}

// UseContext ends Open, where it waits for other nodes, when ctx ends.
func (p *Program) UseContext(ctx context.Context) { p.starting = ctx }

// UseModel names the file of the base model, where it is another one than New was told: it may have been fetched since, or made of a
// Hugging Face folder; "": of none.
func (p *Program) UseModel(path, folder string) { p.config.Model, p.folder = path, folder }

// Open builds the parts, from the model up to the server, after Listen, which it calls where it was not called. What it opened
// is closed by Close, also after an error.
func (p *Program) Open() error {
	if p.front == nil {
		if err := p.Listen(); err != nil {
			return err
		}
	}
	steps := []func() error{p.openFetch, p.openCluster, p.openModel, p.openAdapters, p.openEngine, p.openTraining, p.openTinker, p.openBatches, p.openFolders, p.openResponses, p.openServer}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// onClose remembers what Close has to do, last opened first.
func (p *Program) onClose(f func() error) { p.closers = append(p.closers, f) }

// Close closes the parts from the top down. It may be called twice.
func (p *Program) Close() {
	for len(p.closers) > 0 {
		last := len(p.closers) - 1
		f := p.closers[last]
		p.closers = p.closers[:last]
		if err := f(); err != nil {
			p.log.Error().Err(err).Msg("closing")
		}
	}
}

// dataEntries are what we make in --data. What else lies there is not ours.
var dataEntries = []string{"versions", "names", "checkpoints", "tmp", "lock", "training", "batches", "models", "responses", "tinker", "cluster"}

// closeData takes other users' access to what is in --data away, as earlier versions left it there.
func (p *Program) closeData() {
	n, err := disk.MakePrivate(p.config.Data, dataEntries...)
	if n > 0 {
		p.log.Info().Str("data", p.config.Data).Int("entries", n).Msg("took the rights of other users away from files in --data")
	}
	if err != nil {
		p.log.Warn().Err(err).Str("data", p.config.Data).Msg("other users may read files in --data")
	}
}

func (p *Program) openAdapters() (err error) {
	p.closeData()
	p.uploads = disk.NewBudget(max(p.config.MaxUpload, server.MaxDataset))
	storage, err := p.clusterStorage()
	if err != nil {
		return err
	}
	p.store, err = adapters.Open(adapters.Options{
		Dir: p.config.Data, Storage: storage, Facts: p.model.Facts(), MaxBytes: p.config.MaxUpload, Memory: p.config.AdapterBytes,
		Keep: p.config.KeepVersions, Changed: p.logChange,
		Reserved: append(p.aliases(), p.name(), server.ReservedName),
		CheckTemplates: func(t adapters.Templates) error {
			_, err := p.template.Other(t.Default, t.Tools)
			return err
		},
		Warn: func(s string) { p.log.Warn().Msg(s) },
	})
	if err != nil {
		return fmt.Errorf("--data %s: %w", p.config.Data, err)
	}
	p.onClose(p.store.Close)
	for _, d := range p.store.Damaged() {
		p.log.Error().Err(d.Err).Str("what", d.What).Msg("a stored adapter is damaged and not served; add it again")
	}
	p.cache = adapters.NewCache(adapters.CacheOptions{
		Store: p.store, Budget: p.config.AdapterBytes, Pack: p.model.Pack,
		Estimate: func(i adapters.Info) int64 { return max(i.Parameters-i.Whole, 0)*5/2 + 2*i.Whole }, // float16, LoRAs padded
		Observe:  p.logLoad,
	})
	p.onClose(p.cache.Close)
	return nil
}

// logChange writes one line for each change of what is stored, as an audit wants it.
func (p *Program) logChange(c adapters.Change) {
	p.log.Info().Str("change", string(c.Action)).Str("adapter", c.Name).Str("version", c.Version).Stringer("by", c.By).
		Int64("bytes", c.Bytes).Msg("adapter " + string(c.Action))
}

func (p *Program) logLoad(l adapters.Load) {
	if l.Err != nil {
		p.log.Error().Err(l.Err).Str("adapter", l.Name).Msg("adapter cannot be loaded")
		return
	}
	p.log.Debug().Str("adapter", l.Name).Str("bytes", bytesize.Format(l.Bytes)).Stringer("took", l.Took.Round(time.Microsecond)).Msg("adapter loaded")
}

func (p *Program) openServer() error {
	c, t := &p.config, &p.training
	o := server.Options{
		Engine: p.engine, Template: p.template, Store: p.store, Cache: p.cache, Metrics: p.metrics,
		Jobs: t.jobs, Files: t.files, Batches: p.batches, Tinker: p.tinker, Trainable: t.trainable, TrainMemory: t.memory, Graders: p.graderTools,
		Pooling: map[string]runtime.Pooling{"mean": runtime.PoolingMean, "last": runtime.PoolingLast, "cls": runtime.PoolingCLS}[c.Pooling], NoReasoning: c.Reasoning == "none",
		Import: p.importPath, Name: p.name(), Aliases: p.aliases(), Keys: c.Keys, Hosts: p.hosts(), Origins: c.Origins, Cluster: p.clusterState(),
		MaxLoRA: c.Parallel, MaxUpload: c.MaxUpload, Version: p.config.Version, Log: p.log,
		TempDir: filepath.Join(c.Data, "tmp"), Uploads: p.uploads, // the store empties the folder at its start
	}
	if p.fetcher != nil {
		o.Fetch = p.fetchAdapter
	}
	if p.responses != nil {
		o.Responses = p.responses
	}
	if c.KeyFile != "" {
		var err error
		if o.Tenants, err = tenants.Open(c.KeyFile, func(s string) { p.log.Warn().Msg(s) }); err != nil {
			return fmt.Errorf("--keys: %w", err)
		}
	}
	p.server = server.New(o)
	close(p.opened)
	p.batches.Start(p.server.Perform)
	return nil
}

// openBatches takes up the batches that are on disk. Half of what runs at once may be theirs.
func (p *Program) openBatches() (err error) {
	p.batches, err = batches.Open(batches.Options{
		Dir: filepath.Join(p.config.Data, "batches"), Files: p.training.files, Concurrent: max(1, p.config.Parallel/2),
		MaxBytes: server.MaxDataset, Warn: func(s string) { p.log.Warn().Msg(s) },
	})
	if err != nil {
		return fmt.Errorf("--data %s: %w", p.config.Data, err)
	}
	p.onClose(p.batches.Close)
	return nil
}

// hosts are the names under which requests without keys may ask: those allowed, the one listened on, and the machine's.
func (p *Program) hosts() []string {
	list := slices.Clone(p.config.Hosts)
	if host, _, err := net.SplitHostPort(p.config.Listen); err == nil && host != "" {
		list = append(list, host)
	}
	if name, err := os.Hostname(); err == nil {
		list = append(list, name)
	}
	return list
}

// URL is where the server is reached from this machine.
func (p *Program) URL() string {
	host, port, _ := net.SplitHostPort(p.listener.Addr().String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http://"
	if p.config.TLSCert != "" {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, port)
}

// Serve answers requests until ctx ends, then finishes what it has within the drain time.
func (p *Program) Serve(ctx context.Context) error {
	if err := p.front.take(); err != nil {
		return fmt.Errorf("serving on %s: %w", p.config.Listen, err)
	}
	p.announce()
	failed := make(chan error, 1)
	go func() { failed <- p.server.Serve(p.listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", p.config.Listen, err)
	case <-ctx.Done():
	}
	drain := p.config.Drain
	p.log.Info().Stringer("drain", drain).Int("running", p.engine.Stats().Running).Int("waiting", p.engine.Stats().Waiting).Msg("stopping")
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	// The running job stops at its next slice and continues after a restart; clients that follow its events are told. So do
	// the batches, with the lines that are not answered yet.
	stopped := make(chan error, 1)
	go func() { stopped <- errors.Join(p.batches.Close(), p.tinker.Close(), p.training.close()) }()
	defer func() {
		if err := <-stopped; err != nil {
			p.log.Error().Err(err).Msg("stopping the training and the batches")
		}
	}()
	if err := p.server.Shutdown(limit); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stopping: %w", err)
	} else if err != nil {
		p.log.Warn().Stringer("drain", drain).Msg("some answers were cut off: they took longer than --drain")
	}
	p.log.Info().Msg("stopped")
	return nil
}
