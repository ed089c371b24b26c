package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

func noTemplate(f *runtime.Facts) { f.ChatTemplate = "" }

func TestKeys(t *testing.T) {
	h := open(t, func(p *setup) { p.options.Keys = []string{"first", "second"} })
	ask := func(path, authorization string) response {
		req, _ := http.NewRequest("GET", h.url+path, nil)
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		return h.send(req)
	}
	for _, path := range []string{"/v1/models", "/metrics", "/adapters", "/nowhere"} {
		refused(t, ask(path, ""), 401, "invalid_api_key", "", "is needed")
		for _, bad := range []string{"Bearer firs", "Bearer first2", "Basic first", "Bearer", "Bearer firstsecond"} {
			refused(t, ask(path, bad), 401, "invalid_api_key", "", "API key")
		}
	}
	for _, good := range []string{"Bearer first", "bearer second"} {
		if r := ask("/v1/models", good); r.status != 200 {
			t.Errorf("%s: %s", good, r.body)
		}
	}
	for _, path := range []string{"/healthz", "/health", "/readyz"} {
		if r := ask(path, ""); r.status != 200 || string(r.body) != `{"status":"ok","version":"test"}`+"\n" {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}

func TestBodyLimits(t *testing.T) {
	h := open(t, func(p *setup) { p.options.MaxBody = 10 << 10 })
	for _, size := range []int{11 << 10, 100 << 10, 3 << 20, 40 << 20} {
		body := completion("a", `"user":"`+strings.Repeat("x", size)+`"`)
		refused(t, h.do("POST", "/v1/completions", body), 413, codeTooLarge, "", "larger than 10240 bytes")
		req, _ := http.NewRequest("POST", h.url+"/v1/completions", io.MultiReader(strings.NewReader(body))) // chunked
		refused(t, h.send(req), 413, codeTooLarge, "", "larger than 10240 bytes")
	}
	body := completion("a", `"user":"`+strings.Repeat("x", 9<<10)+`"`)
	req, _ := http.NewRequest("POST", h.url+"/v1/completions", io.MultiReader(strings.NewReader(body)))
	if r := h.send(req); r.status != 200 {
		t.Errorf("a chunked body: %s", r.body)
	}
	req, _ = http.NewRequest("POST", h.url+"/v1/completions", strings.NewReader(body))
	req.Header.Set("Expect", "100-continue")
	if r := h.send(req); r.status != 200 {
		t.Errorf("Expect: 100-continue: %s", r.body)
	}
	req, _ = http.NewRequest("POST", h.url+"/v1/completions", strings.NewReader(body))
	req.Header.Set("Content-Encoding", "br")
	refused(t, h.send(req), 400, codeUnsupported, "", `"br"`)
}

// A client that announces too large a body and stalls is answered 413.
func TestTooLargeIsRefusedBeforeTheBodyIsRead(t *testing.T) {
	h := open(t)
	c, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n%s", strings.Repeat(" ", 64<<10))
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("%+v, %v", resp, err)
	}
}

// Browsers ask before they send a page's request elsewhere, without a key.
func TestCrossOrigin(t *testing.T) {
	h := open(t, func(p *setup) {
		p.options.Keys, p.options.Origins = []string{"key"}, []string{"http://good.example", "http://localhost:3000"}
	})
	ask := func(method, origin string) (int, http.Header) {
		req, _ := http.NewRequest(method, h.url+"/v1/models", nil)
		req.Header.Set("Origin", origin)
		if method == http.MethodOptions {
			req.Header.Set("Access-Control-Request-Method", "POST")
			req.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
		} else {
			req.Header.Set("Authorization", "Bearer key")
		}
		r := h.send(req)
		return r.status, r.header
	}
	if status, got := ask(http.MethodOptions, "http://localhost:3000"); status != 204 || got.Get("Access-Control-Allow-Origin") != "http://localhost:3000" ||
		got.Get("Access-Control-Allow-Headers") != "authorization,content-type" || !strings.Contains(got.Get("Access-Control-Allow-Methods"), "DELETE") {
		t.Errorf("a preflight gets %d %v", status, got)
	}
	if status, got := ask(http.MethodGet, "http://good.example"); status != 200 || got.Get("Access-Control-Allow-Origin") != "http://good.example" {
		t.Errorf("a request gets %d %v", status, got)
	}
	if _, got := ask(http.MethodGet, "http://bad.example"); got.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin gets %v", got)
	}
	any := open(t, func(p *setup) { p.options.Origins = []string{"*"} })
	req, _ := http.NewRequest(http.MethodGet, any.url+"/v1/models", nil)
	req.Header.Set("Origin", "http://bad.example")
	if r := any.send(req); r.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("where all are let in: %v", r.header)
	}
}

func TestDescriptionAndDocs(t *testing.T) {
	h := open(t)
	if r := h.do("GET", "/openapi.yaml", ""); r.status != 200 || string(r.body) != string(openapi.YAML) {
		t.Errorf("%d", r.status)
	}
	r := h.do("GET", "/docs", "")
	if r.status != 200 || !strings.Contains(string(r.body), "/v1/chat/completions") {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// value reads a metric.
func (h *testServer) value(name string) float64 {
	h.t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(h.do("GET", "/metrics", "").body)
	if m == nil {
		h.t.Fatalf("there is no metric %s", name)
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

func TestMetrics(t *testing.T) {
	h := open(t, saying("Hi"))
	h.add("pirate", 1)
	h.post("/v1/chat/completions", chatBody("a"), &openapi.ChatCompletion{})
	h.post("/v1/chat/completions", chatBody("a"), &openapi.ChatCompletion{})
	h.post("/v1/chat/completions", chatBody("a", `"adapter":"pirate"`), &openapi.ChatCompletion{})
	h.do("POST", "/v1/chat/completions", "{}")
	h.do("GET", "/nowhere", "")
	waitUntil(t, "the last is counted", time.Second, func() bool { return h.value(`lorikeet_requests_total{adapter="pirate",outcome="ok"}`) == 1 })
	prompt := float64(len("user\na\nassistant\n") + 3)
	for name, want := range map[string]float64{
		`lorikeet_requests_total{adapter="(base)",outcome="ok"}`:                  2,
		`lorikeet_prompt_tokens_total{adapter="(base)"}`:                          2 * prompt,
		`lorikeet_completion_tokens_total{adapter="(base)"}`:                      6,
		`lorikeet_completion_tokens_total{adapter="pirate"}`:                      3,
		`lorikeet_cached_tokens_total{adapter="pirate"}`:                          0,
		`lorikeet_time_to_first_token_seconds_count`:                              3,
		`lorikeet_inter_token_seconds_count`:                                      6,
		`lorikeet_queue_seconds_count`:                                            3,
		`lorikeet_adapters_registered`:                                            1,
		`lorikeet_adapters_resident`:                                              1,
		`lorikeet_adapter_loads_total`:                                            1,
		`lorikeet_adapter_evictions_total`:                                        0,
		`lorikeet_adapter_bytes_limit`:                                            1 << 20,
		`lorikeet_requests_running`:                                               0,
		`lorikeet_requests_waiting`:                                               0,
		`lorikeet_kv_cells`:                                                       8192,
		`lorikeet_build_info{version="test"}`:                                     1,
		`lorikeet_device_layers{device="CPU"}`:                                    3,
		`lorikeet_http_requests_total{route="/v1/chat/completions",status="200"}`: 3,
		`lorikeet_http_requests_total{route="/v1/chat/completions",status="400"}`: 1,
		`vllm:num_requests_waiting`:                                               0,
		`vllm:num_requests_running`:                                               0,
		`vllm:kv_cache_usage_perc`:                                                0,
		`lorikeet_batch_adapters_bucket{le="+Inf"}`:                               h.value("lorikeet_batch_rows_count"),
		`lorikeet_decode_seconds_count`:                                           h.value("lorikeet_batch_rows_count"),
		`lorikeet_prefill_rows_total`:                                             3*prompt - h.value(`lorikeet_cached_tokens_total{adapter="(base)"}`),
	} {
		if got := h.value(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := h.value("lorikeet_adapter_bytes"); got <= 0 {
		t.Errorf("lorikeet_adapter_bytes is %v", got)
	}
}

func TestMetricsOfGateways(t *testing.T) {
	h := open(t, slowly(10*time.Millisecond), func(p *setup) { p.limits.Sequences = 2 })
	for i, name := range []string{"shout", "pirate", "json"} {
		h.add(name, float32(i))
	}
	for _, adapter := range []string{`["shout","pirate"]`, `"shout"`, `"json"`, `null`} {
		body := completion("a", long, `"adapter":`+adapter)
		before := h.engine.Stats()
		io.WriteString(h.dial(), raw("/v1/completions", body))
		waitUntil(t, "it is in", time.Second, func() bool {
			s := h.engine.Stats()
			return s.Running+s.Waiting > before.Running+before.Waiting && s.Loading == 0
		})
	}
	stamp := h.value(`vllm:lora_requests_info{max_lora="8",running_lora_adapters="pirate,shout",waiting_lora_adapters="json"}`)
	if d := time.Since(time.UnixMilli(int64(stamp * 1000))); d < 0 || d > 5*time.Second {
		t.Errorf("its value is %v ago", d)
	}
	if run, wait := h.value("vllm:num_requests_running"), h.value("vllm:num_requests_waiting"); run != 2 || wait != 2 {
		t.Errorf("%v running, %v waiting", run, wait)
	}
	if use := h.value("vllm:kv_cache_usage_perc"); use <= 0 || use > 1 {
		t.Errorf("kv_cache_usage_perc is %v", use)
	}
	h.engine.Close() // ends what is open, which no client waits for
}

func TestFlowLabelsAreBounded(t *testing.T) {
	m := NewMetrics()
	for i := range 3 * maxFlows {
		m.Finished(fmt.Sprintf("adapter-%d", i), runtime.Usage{Prompt: 1}, nil)
	}
	m.Finished("", runtime.Usage{Prompt: 1}, runtime.ErrClosed)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "lorikeet_prompt_tokens_total" {
			continue
		}
		labels := map[string]float64{}
		for _, metric := range f.GetMetric() {
			labels[metric.GetLabel()[0].GetValue()] = metric.GetCounter().GetValue()
		}
		if len(labels) != maxFlows+2 || labels["adapter-0"] != 1 || labels[otherLabel] != 2*maxFlows || labels[baseLabel] != 1 {
			t.Errorf("%d labels, %v", len(labels), labels)
		}
		return
	}
	t.Error("there is no such metric")
}

// Shutdown answers what is open, refuses what is new, and says so to who asks.
func TestShutdown(t *testing.T) {
	h := open(t, slowly(5*time.Millisecond))
	answered := make(chan response, 2)
	for _, fields := range []string{`"ignore_eos":true,"max_tokens":100`, `"ignore_eos":true,"max_tokens":100,"stream":true`} {
		go func() { answered <- h.do("POST", "/v1/completions", completion("a", fields)) }()
	}
	waitUntil(t, "both run", time.Second, func() bool { return h.engine.Stats().Running == 2 })
	done := make(chan error, 1)
	go func() { done <- h.server.Shutdown(context.Background()) }()
	waitUntil(t, "it drains", time.Second, h.server.draining.Load)
	refused(t, h.do("GET", "/readyz", ""), 503, "shutting_down", "", "shutting down")
	refused(t, h.do("POST", "/v1/completions", completion("a")), 503, "shutting_down", "", "shutting down")
	refused(t, h.do("POST", "/adapters", `{"name":"a","path":"b"}`), 503, "shutting_down", "", "")
	refused(t, h.upload("a", peftFiles(t, 1)), 503, "shutting_down", "", "")
	if r := h.do("GET", "/healthz", ""); r.status != 200 {
		t.Errorf("%s", r.body)
	}
	for range 2 {
		if r := <-answered; r.status != 200 || !strings.Contains(string(r.body), `"length"`) {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A shutdown that may not take as long as the answers ends them with an error.
func TestShutdownInTime(t *testing.T) {
	h := open(t, slowly(10*time.Millisecond))
	answered := make(chan response, 1)
	go func() { answered <- h.do("POST", "/v1/completions", completion("a", long)) }()
	waitUntil(t, "it runs", time.Second, func() bool { return h.engine.Stats().Running == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := h.server.Shutdown(ctx); err == nil {
		t.Error("Shutdown says nothing")
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	refused(t, <-answered, 503, "shutting_down", "", "shutting down")
}

// A Shutdown before Serve, or beside it, ends it too.
func TestShutdownBeforeServe(t *testing.T) {
	for range 5 {
		h := open(t) // whose Serve may not have begun
		if err := h.server.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := h.server.Serve(ln); err != nil {
			t.Error(err)
		}
	}
}

// What HTTP itself finds wrong has the same shape.
func TestBadHTTP(t *testing.T) {
	h := open(t)
	for request, status := range map[string]int{
		"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", headerBytes) + "\r\n\r\n":                       431,
		"GET / HTTP/1.1\r\nnonsense\r\n\r\n":                                                                     400,
		"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n":             400,
		"GET /v1/models/%zz HTTP/1.1\r\nHost: x\r\n\r\n":                                                         400,
		"GET /adapters/%zz HTTP/1.1\r\nHost: x\r\n\r\n":                                                          400,
		"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{\"prompt\"": 400,
	} {
		c := h.dial()
		io.WriteString(c, request)
		c.CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%.60q: %v", request, err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		var e openapi.ErrorResponse
		if err := json.Unmarshal(body, &e); err != nil || resp.StatusCode != status || e.Error.Type != requestFault || e.Error.Message == "" {
			t.Errorf("%.60q gives %d %s, want %d", request, resp.StatusCode, body, status)
		}
	}
}

func TestPanicEndsTheRequestOnly(t *testing.T) {
	h := open(t, func(p *setup) {
		p.options.Import = func(context.Context, string, string) (adapters.Info, error) { panic("secret") }
	})
	r := h.do("POST", "/adapters", `{"name":"a","path":"b"}`)
	refused(t, r, 500, "internal_error", "", "internal error")
	if r := h.do("GET", "/v1/models", ""); r.status != 200 {
		t.Errorf("%s", r.body)
	}
	t.Cleanup(func() {
		if !strings.Contains(h.log.String(), "panic: secret") || !strings.Contains(h.log.String(), "operation_test.go") {
			t.Errorf("the log does not say where: %s", h.log)
		}
	})
}

// A request with many choices is taken whole or not at all by a server that begins to drain.
func TestDrainTakesRequestsWhole(t *testing.T) {
	h := open(t, slowly(time.Millisecond), func(p *setup) { p.limits.Sequences = 4 })
	var asked sync.WaitGroup
	statuses := make(chan int, 64)
	for range cap(statuses) {
		asked.Go(func() {
			r := h.do("POST", "/v1/completions", completion("a", `"n":4,"max_tokens":2,"ignore_eos":true`))
			if r.status == http.StatusOK || r.status == http.StatusServiceUnavailable && strings.Contains(string(r.body), "shutting_down") || r.status == http.StatusTooManyRequests {
				statuses <- r.status
				return
			}
			t.Errorf("status %d: %s", r.status, r.body)
		})
	}
	waitUntil(t, "an answer runs or has been given", 5*time.Second, func() bool { return h.engine.Stats().Running > 0 || len(statuses) > 0 })
	h.server.submitting.Lock()
	h.server.draining.Store(true)
	h.server.submitting.Unlock()
	err := h.engine.Drain(t.Context())
	asked.Wait()
	if err != nil {
		t.Error(err)
	}
	close(statuses)
	count := map[int]int{}
	for s := range statuses {
		count[s]++
	}
	if count[http.StatusOK] == 0 {
		t.Errorf("statuses %v", count)
	}
}
