// Package server is the HTTP interface: it decodes and checks requests, hands them to the engine, the adapters and the
// training, and answers in OpenAI's formats, Anthropic's and Ollama's. openapi.yaml declares the routes; Server implements the interface that is
// generated from it, with one file per topic.
//
// How a completion is served: bodies.go reads the body, decode.go and generation.go decode and check it, choose.go
// resolves model and adapter, messages.go or prompt.go make the tokens of the prompt, reply.go submits the choices to the
// engine and collects them, or stream.go sends them as they are generated; parts.go divides the text of an answer into what
// a form (chat.go, completions.go) writes in the shape of its API; conn.go notices when the client disconnects. The other APIs
// (responses.go, anthropic.go, ollama.go) translate their requests into chat requests (translate.go) and have forms of their own.
// Only errors.go maps errors to HTTP statuses.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/cors"
	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/batches"
	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/graders"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/tenants"
	"github.com/lorikeet-ai/lorikeet/tinker"
	"github.com/lorikeet-ai/lorikeet/training"
)

// Options are what main builds a Server from. Engine, Template, Store, Cache, Metrics and Name are needed.
type Options struct {
	Engine   *engine.Engine
	Template *chat.Template
	Store    *adapters.Store
	Cache    *adapters.Cache
	Metrics  *Metrics // the same that observes the Engine

	// Import registers a path for POST /adapters, and refuses those outside the adapter directories with
	// adapters.ErrPath; nil refuses all.
	Import func(ctx context.Context, name, path string) (adapters.Info, error)
	// Fetch registers what a source (hf://, s3://) names, or returns an error of package fetch or adapters; nil: the
	// server fetches nothing.
	Fetch func(ctx context.Context, name, source string) (adapters.Info, error)

	// Jobs and Files are the training; nil: the server does not train. main closes Jobs before Shutdown, which
	// ends the streams of their events.
	Jobs  *training.Queue
	Files *training.Files
	// Tinker is the state of Tinker's API; nil: the server does not have it. main closes it before Shutdown.
	Tinker *tinker.Service
	// Responses keeps the answers of the Responses API; nil: none is kept.
	Responses ResponseStore
	// Batches are answered by Perform, which main gives to their Start; nil: the server keeps none. They need Files. main
	// closes them before Shutdown.
	Batches *batches.Queue
	// Graders returns what the graders of an owner ("": of no tenant) may use besides themselves; nil: nothing.
	Graders func(owner string) graders.Tools
	// Trainable returns an error wrapping runtime.ErrTrain where the base cannot be trained; nil: it can.
	Trainable func() error

	// TrainMemory tells how much memory those who train hold, and their bound, 0 for none; nil: GET /state does not tell it.
	TrainMemory func() (bytes, limit int64)

	// Pooling is how the hidden states of a text become its embedding; PoolingNone: as the model's file says, or else the
	// last token's.
	Pooling runtime.Pooling

	Name       string            // the base model's id
	Aliases    []string          // further names of the base model
	Tenants    *tenants.Registry // of --keys; may be nil
	Keys       []string          // Bearer keys; none: no key is asked for
	Hosts      []string          // names of the server, besides addresses and names without a dot, that are asked for without keys; *: any
	Origins    []string          // of web pages that may ask from a browser, such as http://localhost:3000, or *; none: no page may
	MaxLoRA    int               // adapters that one batch may hold, for vllm:lora_requests_info
	MaxBody    int64             // bytes of a JSON body; 0: 8 MiB
	BodyMemory int64             // bytes of large JSON bodies under way at once; 0: 32 MiB
	MaxUpload  int64             // bytes of an uploaded adapter; 0: 1 GiB
	MaxData    int64             // bytes of an uploaded dataset; 0: 256 MiB. Jobs and Files have their own bound
	TempDir    string            // where uploads are received; "": the system's
	Uploads    *disk.Budget      // of the bytes that are being received or fetched, all together; nil: as many as the largest upload has
	Version    string
	Log        zerolog.Logger

	Cluster func() ClusterState // of a server that shares its adapters with others; nil: it does not

	// NoReasoning leaves what the model thinks in the texts of its answers, with its marks.
	NoReasoning bool
}

// Server answers HTTP requests. It owns none of its parts: main closes them after Shutdown.
type Server struct {
	app      *fiber.App
	handler  fasthttp.RequestHandler // of app
	routed   map[string]bool         // the routes: method, blank, path
	engine   *engine.Engine
	model    runtime.Model
	template *chat.Template // of the base
	own      *templates     // of adapters
	kept     constraints
	store    *adapters.Store
	cache    *adapters.Cache
	metrics  *Metrics
	importer func(ctx context.Context, name, path string) (adapters.Info, error)
	fetcher  func(ctx context.Context, name, source string) (adapters.Info, error)
	fetches  chan struct{} // holds one for each fetch under way
	log      zerolog.Logger
	keys     keyring
	sites    sites
	tenants  *tenants.Registry
	bodies   *bodies
	vectors  *bodies // the same for answers of embeddings
	numbers  numbering
	recent   recentRequests

	pooling     runtime.Pooling
	jobs        *training.Queue
	files       *training.Files
	responses   ResponseStore
	batches     *batches.Queue
	tinker      *tinker.Service
	trainable   func() error
	trainMemory func() (bytes, limit int64)
	graders     func(owner string) graders.Tools

	name        string   // the base model's id
	ids         []string // the same and its aliases
	fingerprint string   // system_fingerprint
	context     int
	maxBody     int64
	maxUpload   int64
	maxDataset  int64
	tempDir     string
	uploads     *disk.Budget
	version     string
	reasoning   bool // what the model thinks is told from its answers
	started     time.Time
	cluster     func() ClusterState // nil: the server is alone
	draining    atomic.Bool
	submitting  sync.RWMutex    // held for reading while a request hands its choices to the engine, so that it is taken whole
	merging     chan struct{}   // holds one while a merge runs
	serving     context.Context // ends when draining begins, by stopServing
	stopServing context.CancelFunc

	mu     sync.Mutex
	ln     net.Listener // what Serve serves
	closed bool         // Shutdown has been called
}

// MaxDataset is how many bytes an uploaded dataset may have unless Options say otherwise.
const MaxDataset = 256 << 20

// Times of a connection.
const (
	readTimeout = time.Minute     // from the first byte of a request to the end of its body
	idleTimeout = 2 * time.Minute // between two requests
	// headerBytes bounds the header of a request.
	headerBytes = 16 << 10
	// maxConnections is how many may be open at once; further ones are answered 503 and closed.
	maxConnections = 4096
)

// New makes a Server; Serve or Listen starts it.
func New(o Options) *Server {
	s := &Server{
		engine: o.Engine, model: o.Engine.Model(), template: o.Template, store: o.Store, cache: o.Cache,
		metrics: o.Metrics, importer: o.Import, fetcher: o.Fetch, fetches: make(chan struct{}, maxFetches), log: o.Log, keys: newKeyring(o.Keys),
		tenants: o.Tenants, sites: newSites(o.Hosts, o.Origins), bodies: newBodies(o.BodyMemory), vectors: newBodies(vectorMemory),
		pooling: cmp.Or(o.Pooling, o.Engine.Model().Facts().Pooling, runtime.PoolingLast),
		jobs:    o.Jobs, files: o.Files, batches: o.Batches, tinker: o.Tinker, responses: o.Responses, trainable: o.Trainable, trainMemory: o.TrainMemory, graders: o.Graders, maxDataset: o.MaxData,
		name: o.Name, ids: append([]string{o.Name}, o.Aliases...), context: o.Engine.Context(),
		maxBody: o.MaxBody, maxUpload: o.MaxUpload, tempDir: o.TempDir, uploads: o.Uploads, version: o.Version, reasoning: !o.NoReasoning, started: time.Now(),
		merging: make(chan struct{}, 1),
	}
	if s.maxBody <= 0 {
		s.maxBody = 8 << 20
	}
	if s.maxUpload <= 0 {
		s.maxUpload = 1 << 30
	}
	if s.maxDataset <= 0 {
		s.maxDataset = MaxDataset
	}
	if s.uploads == nil {
		s.uploads = disk.NewBudget(max(s.maxUpload, s.maxDataset))
	}
	s.serving, s.stopServing = context.WithCancel(context.Background())
	s.own, s.kept = newTemplates(s.template, s.store), newConstraints()
	s.fingerprint = fingerprint(s.model.Facts())
	s.metrics.showDevice(s.model.Facts())
	s.metrics.watch(o.Engine, o.Cache.Stats, func() int { return len(o.Store.List()) }, o.MaxLoRA, o.Version)
	if s.cluster = o.Cluster; s.cluster != nil {
		s.metrics.registry.MustRegister(&clusterSnapshot{s.cluster})
	}
	if s.batches != nil {
		s.metrics.registry.MustRegister(&batchSnapshot{s.batches})
	}
	s.routes(o.Origins)
	s.handler, s.routed = s.app.Handler(), map[string]bool{}
	for _, r := range s.app.GetRoutes(true) {
		s.routed[r.Method+" "+r.Path] = true
	}
	return s
}

// fingerprint is the value of system_fingerprint, by which OpenAI identifies the back end: here, the base model.
func fingerprint(f *runtime.Facts) string {
	id := f.Fingerprint
	return "fp_" + id[:min(len(id), 12)]
}

// routes builds the application: the middleware and the routes of openapi.yaml.
func (s *Server) routes(origins []string) {
	s.app = fiber.New(fiber.Config{
		AppName:                      "Lorikeet",
		ServerHeader:                 "lorikeet",
		CaseSensitive:                true,
		DisableStartupMessage:        true,
		DisablePreParseMultipartForm: true, // uploads are read part by part
		StreamRequestBody:            true, // and so are bodies, each up to its own bound
		BodyLimit:                    int(s.maxBody),
		ReadBufferSize:               headerBytes,
		Concurrency:                  maxConnections,
		ReadTimeout:                  readTimeout,
		IdleTimeout:                  idleTimeout,
		ErrorHandler:                 s.fail,
	})
	s.app.Use(s.observe)
	if len(origins) > 0 {
		s.app.Use(cors.New(cors.Config{ // before the keys: a browser asks without one
			AllowOrigins: strings.Join(origins, ","), AllowMethods: "GET,HEAD,POST,PUT,DELETE", ExposeHeaders: exposedHeaders, MaxAge: 600,
		}))
	}
	s.app.Use(s.guardSite)
	s.app.Use(s.authorize)
	s.app.Use(s.record)
	openapi.RegisterHandlers(s.app, s)
	s.refuseAbsent()
	// Clients write the slash of an id such as org/model as it is.
	s.app.Get("/v1/models/+", slashedID(s.GetModel))
	s.app.Delete("/v1/models/+", slashedID(s.DeleteModel))
}

// slashedID calls do with the rest of the path as an id.
func slashedID(do func(*fiber.Ctx, string) error) fiber.Handler {
	return func(c *fiber.Ctx) error {
		id, err := url.PathUnescape(c.Params("+"))
		if err != nil {
			return fiber.NewError(fiber.StatusBadRequest, err.Error())
		}
		return do(c, id)
	}
}

// observe counts and logs a request, and turns a panic into an error.
func (s *Server) observe(c *fiber.Ctx) (err error) {
	start := time.Now()
	identifyRequest(c, start)
	defer func() {
		if p := recover(); p != nil {
			err = s.fail(c, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
		status := c.Response().StatusCode()
		s.audit(c, status)
		s.metrics.request(c.Route().Path, status)
		s.log.Debug().Str("request", requestID(c)).Str("method", c.Method()).Str("path", c.Path()).Int("status", status).
			Dur("took", time.Since(start)).Msg("request")
	}()
	if err = c.Next(); err != nil {
		err = s.fail(c, err)
	}
	setProcessingTime(c)
	return err
}

// Listen serves on a TCP address until Shutdown; port 0 is any free one.
func (s *Server) Listen(address string) error {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return s.Serve(ln)
}

// Serve serves the connections of ln, which it closes, until Shutdown, also one that came before it. It is
// called once.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	s.ln = ln
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return ln.Close()
	}
	return s.app.Listener(listener{ln})
}

// Shutdown refuses new work with 503, waits until the engine has answered what it has, and ends the
// connections. Health and readiness are answered meanwhile. When ctx ends first, open requests end with an
// error, and ctx's error is returned. It may be called twice.
func (s *Server) Shutdown(ctx context.Context) error {
	s.submitting.Lock() // no request loses some of its choices: those under way are taken whole, later ones not at all
	s.draining.Store(true)
	s.submitting.Unlock()
	s.stopServing()
	err := s.engine.Drain(ctx)
	defer s.closeListener()
	// The engine has no requests left: what is still open are answers being sent, and idle connections.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	closed := s.app.ShutdownWithContext(last)
	if errors.Is(closed, net.ErrClosed) {
		closed = nil // the listener, by an earlier Shutdown
	}
	return errors.Join(err, closed)
}

// closeListener ends a Serve that fasthttp did not know of yet when it was shut down; where it did, the
// listener is closed already.
func (s *Server) closeListener() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.ln != nil {
		_ = s.ln.Close()
	}
}
