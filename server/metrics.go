package server

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
	"github.com/lorikeet-ai/lorikeet/tenants"
)

// maxFlows is how many adapters have counters of their own; further ones share one set, so that the number of time series
// in Prometheus does not grow with the number of adapters.
const maxFlows = 100

// Labels that no adapter's name can have.
const (
	baseLabel  = "(base)"
	otherLabel = "(other)"
)

// Metrics counts what the Engine and the server do. It is made before the Engine, observes it, and is served
// at /metrics. Turn, Token and Finished are the Engine's goroutine's alone; the rest may be called from any.
type Metrics struct {
	registry *prometheus.Registry
	handler  fiber.Handler

	ttft      prometheus.Histogram
	between   prometheus.Histogram
	queued    prometheus.Histogram
	decode    prometheus.Histogram
	rows      prometheus.Histogram
	prefill   prometheus.Counter
	mixes     prometheus.Histogram
	answers   *prometheus.CounterVec
	prompt    *prometheus.CounterVec
	cached    *prometheus.CounterVec
	generated *prometheus.CounterVec
	http      *prometheus.CounterVec

	flows map[string]*flow // the Engine's goroutine's

	speeds speeds
	reused struct { // sums over the prompts of answers that have ended
		prompts, hits, tokens, cached atomic.Int64
	}
}

// flow is what is counted for one adapter, or sum of adapters.
type flow struct {
	label                     string
	prompt, cached, generated prometheus.Counter
}

var _ engine.Observer = (*Metrics)(nil)

// NewMetrics makes the metrics of one Engine.
func NewMetrics() *Metrics {
	seconds := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 60}
	widths := []float64{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512, 1024}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		ttft:     histogram("time_to_first_token_seconds", "From the request's arrival at the engine to the answer's first token.", seconds),
		between:  histogram("inter_token_seconds", "From one token of an answer to the next.", seconds),
		queued:   histogram("queue_seconds", "From the request's arrival at the engine to the first decode of its prompt.", seconds),
		decode:   histogram("decode_seconds", "Duration of a decode.", seconds),
		rows:     histogram("batch_rows", "Rows of a decode.", widths),
		prefill:  prometheus.NewCounter(prometheus.CounterOpts{Name: "lorikeet_prefill_rows_total", Help: "Rows of prompts that were decoded."}),
		mixes:    histogram("batch_adapters", "Distinct adapters in a decode, the base among them.", widths[:10]),
		answers:  counter("requests_total", "Answers that have ended, by how: ok, cancelled, deadline, error.", "adapter", "outcome"),
		prompt:   counter("prompt_tokens_total", "Tokens of prompts.", "adapter"),
		cached:   counter("cached_tokens_total", "Tokens of prompts that were taken from the prefix cache.", "adapter"),
		generated: counter("completion_tokens_total", "Tokens of answers.",
			"adapter"),
		http:  counter("http_requests_total", "HTTP requests, by route and status.", "route", "status"),
		flows: make(map[string]*flow),
	}
	m.registry.MustRegister(
		m.ttft, m.between, m.queued, m.decode, m.rows, m.prefill, m.mixes, m.answers, m.prompt, m.cached, m.generated, m.http,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.flow("") // the base always has a label of its own, however many adapters are served before it
	m.handler = adaptor.HTTPHandler(promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return m
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "lorikeet_" + name, Help: help, Buckets: buckets})
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lorikeet_" + name, Help: help}, labels)
}

// Turn counts a decode.
func (m *Metrics) Turn(t engine.Turn) {
	m.decode.Observe(t.Took.Seconds())
	m.rows.Observe(float64(t.Rows))
	m.prefill.Add(float64(t.Prefill))
	m.mixes.Observe(float64(t.Adapters))
	m.speeds.turn(time.Now(), t.Prefill, t.Rows-t.Prefill)
}

// Worked counts time of background work.
func (m *Metrics) Worked(took time.Duration) { m.speeds.worked(time.Now(), took) }

// Token counts a token as it is sampled.
func (m *Metrics) Token(name string, first bool, wait time.Duration) {
	if first {
		m.ttft.Observe(wait.Seconds())
	} else {
		m.between.Observe(wait.Seconds())
	}
	m.flow(name).generated.Inc()
}

// Finished counts an answer that has ended.
func (m *Metrics) Finished(name string, u runtime.Usage, err error) {
	f := m.flow(name)
	f.prompt.Add(float64(u.Prompt))
	f.cached.Add(float64(u.Cached))
	m.reused.prompts.Add(1)
	m.reused.tokens.Add(int64(u.Prompt))
	m.reused.cached.Add(int64(u.Cached))
	if u.Cached > 0 {
		m.reused.hits.Add(1)
	}
	if !u.Started.IsZero() {
		m.queued.Observe(u.Started.Sub(u.Submitted).Seconds())
	}
	m.answers.WithLabelValues(f.label, outcome(err)).Inc()
}

// prefixes tells how much of the prompts the prefix cache had.
func (m *Metrics) prefixes() openapi.StatePrefix {
	r := &m.reused
	return openapi.StatePrefix{Prompts: r.prompts.Load(), Hits: r.hits.Load(), PromptTokens: r.tokens.Load(), CachedTokens: r.cached.Load()}
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, runtime.ErrClosed):
		return "cancelled"
	case errors.Is(err, runtime.ErrDeadline):
		return "deadline"
	}
	return "error"
}

// flow finds the counters of an adapter.
func (m *Metrics) flow(name string) *flow {
	if f := m.flows[name]; f != nil {
		return f
	}
	label := name
	switch {
	case name == "":
		label = baseLabel
	case len(m.flows) > maxFlows: // the base and as many adapters
		if f := m.flows[otherLabel]; f != nil {
			return f
		}
		name, label = otherLabel, otherLabel
	}
	f := &flow{
		label: label, prompt: m.prompt.WithLabelValues(label), cached: m.cached.WithLabelValues(label),
		generated: m.generated.WithLabelValues(label),
	}
	m.flows[name] = f
	return f
}

// request counts an HTTP request. route is the pattern, so that there are only as many as routes.
func (m *Metrics) request(route string, status int) {
	m.http.WithLabelValues(route, strconv.Itoa(status)).Inc()
}

// serve writes the metrics. A tenant that is no admin gets the series of the adapters that it sees, and of the server.
func (m *Metrics) serve(c *fiber.Ctx) error {
	who := callerOf(c)
	if who.tenant.May(tenants.Admin) {
		return m.handler(c)
	}
	seen := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := m.registry.Gather()
		return visibleFamilies(who.tenant, families), err
	})
	return adaptor.HTTPHandler(promhttp.HandlerFor(seen, promhttp.HandlerOpts{}))(c)
}

// visibleFamilies leaves out the series that name adapters which a tenant does not see.
func visibleFamilies(t *tenants.Tenant, families []*dto.MetricFamily) []*dto.MetricFamily {
	var kept []*dto.MetricFamily
	for _, f := range families {
		f.Metric = slices.DeleteFunc(f.Metric, func(m *dto.Metric) bool {
			return slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool {
				switch name, value := l.GetName(), l.GetValue(); name {
				case "adapter":
					return value != baseLabel && value != otherLabel && !seesAll(t, value)
				case "running_lora_adapters", "waiting_lora_adapters":
					return true // lists of all tenants' adapters
				}
				return false
			})
		})
		if len(f.Metric) > 0 {
			kept = append(kept, f)
		}
	}
	return kept
}

// seesAll reports whether a tenant sees all adapters of a label, which is a name or, of a sum, several.
func seesAll(t *tenants.Tenant, label string) bool {
	return !slices.ContainsFunc(strings.Split(label, "+"), func(name string) bool { return !t.Sees(name) })
}
