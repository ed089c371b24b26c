package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/chat"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// testServer is a whole server on a TCP port: the real engine, store and cache, over the fake device.
type testServer struct {
	t       testing.TB
	url     string
	address string
	server  *Server
	engine  *engine.Engine
	device  *runtimetest.Device
	model   *runtimetest.Model
	store   *adapters.Store
	cache   *adapters.Cache
	log     *bytes.Buffer // read it after close only
}

// setup is what a test changes before the server is built.
type setup struct {
	fileBytes int64 // bytes of all uploaded files; 0: no bound that a test meets
	options   Options
	engine    engine.Options
	limits    runtime.Limits
	answer    func(text string) (runtime.Token, bool)
	before    func([]runtime.Row) error
	facts     func(*runtime.Facts)
	budget    int64
	pack      func(*runtime.LoRA) (runtime.Packed, error)

	training func(*testServer, *Options) // adds the training
}

func open(t testing.TB, change ...func(*setup)) *testServer {
	t.Helper()
	p := setup{
		options: Options{Name: "fake", Aliases: []string{"default"}, Version: "test", MaxLoRA: 8},
		engine:  engine.Options{MaxQueue: 64},
		limits:  runtime.Limits{Sequences: 8, Cells: 8192, Batch: 512, CanTruncate: true},
		budget:  1 << 20,
	}
	for _, c := range change {
		c(&p)
	}
	h := &testServer{t: t, model: runtimetest.NewModel(), log: &bytes.Buffer{}}
	if p.facts != nil {
		p.facts(h.model.Facts())
	}
	h.device = runtimetest.NewDevice(h.model, p.limits)
	h.device.Answer, h.device.Before = p.answer, p.before
	if p.options.Metrics == nil {
		p.options.Metrics = NewMetrics()
	}
	p.engine.Observer = p.options.Metrics
	h.engine = engine.New(h.device, h.model, p.engine)
	var err error
	if h.store, err = adapters.Open(adapters.Options{Dir: filepath.Join(t.TempDir(), "store"), Facts: h.model.Facts()}); err != nil {
		t.Fatal(err)
	}
	if p.pack == nil {
		p.pack = h.model.Pack
	}
	h.cache = adapters.NewCache(adapters.CacheOptions{Store: h.store, Budget: p.budget, Pack: p.pack})
	o := p.options
	o.Engine, o.Store, o.Cache, o.TempDir = h.engine, h.store, h.cache, t.TempDir()
	o.Template = chat.NewTemplate(h.model, "", nil)
	o.Log = zerolog.New(zerolog.SyncWriter(h.log)).Level(zerolog.InfoLevel)
	if p.training != nil {
		p.training(h, &o)
	}
	h.server = New(o)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = ln.Addr().String()
	h.url = "http://" + h.address
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(ln) }()
	t.Cleanup(func() { h.close(served) })
	return h
}

// close shuts the server down and looks for what was broken meanwhile.
func (h *testServer) close(served <-chan error) {
	http.DefaultClient.CloseIdleConnections()
	for range 50 { // fasthttp looks ten times a second only whether the connections have been closed
		if h.server.app.Server().GetOpenConnectionsCount() == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := h.server.Shutdown(ctx); err != nil {
		h.t.Errorf("Shutdown: %v", err)
	}
	if err := <-served; err != nil {
		h.t.Errorf("Serve: %v", err)
	}
	h.engine.Close()
	h.cache.Close()
	h.store.Close()
	if err := h.device.Fault(); err != nil {
		h.t.Error(err)
	}
	if n := h.model.Samplers(); n != 0 {
		h.t.Errorf("%d samplers were not closed", n)
	}
}

// add registers a small adapter that differs from others by its seed.
func (h *testServer) add(name string, seed float32) adapters.Info {
	h.t.Helper()
	shape := h.model.Facts().Targets["blk.0.attn_q.weight"]
	a := make([]float32, 2*shape.In)
	b := make([]float32, shape.Out*2)
	for i := range a {
		a[i] = seed + float32(i)
	}
	for i := range b {
		b[i] = seed - float32(i)
	}
	info, err := h.store.PutLoRA(name, &runtime.LoRA{Modules: []runtime.LoRAModule{{
		Tensor: "blk.0.attn_q.weight", Rank: 2, In: shape.In, Out: shape.Out, Scale: 1, A: a, B: b,
	}}}, adapters.Note{Origin: adapters.Origin{Kind: adapters.FromJob, Detail: "test"}})
	if err != nil {
		h.t.Fatal(err)
	}
	return info
}

// saying makes the device answer every prompt with text.
func saying(text string) func(*setup) {
	return func(p *setup) {
		p.answer = func(history string) (runtime.Token, bool) {
			i := strings.LastIndex(history, "assistant\n")
			if i < 0 {
				return 0, false
			}
			said := history[i+len("assistant\n"):]
			if len(said) >= len(text) {
				return runtimetest.TurnEnd, true
			}
			return runtime.Token(text[len(said)]), true
		}
	}
}

// slowly makes every decode take some time.
func slowly(d time.Duration) func(*setup) {
	return func(p *setup) {
		p.before = func([]runtime.Row) error { time.Sleep(d); return nil }
	}
}

// response is what came back.
type response struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request with a JSON body, or none where body is "".
func (h *testServer) do(method, path, body string) response {
	h.t.Helper()
	req, err := http.NewRequest(method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return h.send(req)
}

func (h *testServer) send(req *http.Request) response {
	h.t.Helper()
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	out := response{r.StatusCode, r.Header, b}
	if err := conform(req.Method, req.URL.EscapedPath(), out); err != nil {
		h.t.Error(err)
	}
	return out
}

// get decodes a 200 into v.
func (h *testServer) get(path string, v any) {
	h.t.Helper()
	h.ok(h.do("GET", path, ""), v)
}

// post decodes the 200 to a request into v.
func (h *testServer) post(path, body string, v any) {
	h.t.Helper()
	h.ok(h.do("POST", path, body), v)
}

func (h *testServer) ok(r response, v any) {
	h.t.Helper()
	if r.status != 200 && r.status != 201 {
		h.t.Fatalf("status %d: %s", r.status, r.body)
	}
	if err := json.Unmarshal(r.body, v); err != nil {
		h.t.Fatalf("%v: %s", err, r.body)
	}
}

// chatBody is a chat request with one message and more fields, such as `"n":2`.
func chatBody(text string, fields ...string) string {
	return fmt.Sprintf(`{"messages":[{"role":"user","content":%q}]%s}`, text, more(fields))
}

// completion is a completion request.
func completion(text string, fields ...string) string {
	return fmt.Sprintf(`{"prompt":%q%s}`, text, more(fields))
}

func more(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	return "," + strings.Join(fields, ",")
}

// waitUntil waits for a condition.
func waitUntil(t testing.TB, what string, within time.Duration, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// nextMillisecond returns when the clock shows another millisecond.
func nextMillisecond() {
	for now := time.Now().UnixMilli(); time.Now().UnixMilli() == now; {
		goruntime.Gosched()
	}
}
