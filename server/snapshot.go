package server

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
)

// snapshot collects the metrics that are read when Prometheus asks for them: the state of the Engine and the Cache.
// The vllm: names are what LoRA-aware gateways look for.
type snapshot struct {
	engine     func() engine.Stats
	slots      func() runtime.SlotStats
	cache      func() adapters.CacheStats
	registered func() int
	maxLoRA    string
}

// desc names a metric without a prefix of its own.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	waitingDesc      = desc("lorikeet_requests_waiting", "Requests in the queue or waiting for an adapter.")
	loadingDesc      = desc("lorikeet_requests_loading", "Of the waiting requests, those whose adapter is being loaded.")
	runningDesc      = desc("lorikeet_requests_running", "Requests that hold a sequence.")
	cellsDesc        = desc("lorikeet_kv_cells", "Tokens that the KV cache has room for.")
	usedDesc         = desc("lorikeet_kv_cells_used", "Tokens in the KV cache, of running requests and cached prefixes.")
	busyDesc         = desc("lorikeet_kv_cells_running", "Tokens in the KV cache of running requests.")
	preemptedDesc    = desc("lorikeet_preempted_total", "Running requests that lost their KV for want of room.")
	droppedDesc      = desc("lorikeet_prefix_evictions_total", "Cached prefixes dropped for want of room.")
	registeredDesc   = desc("lorikeet_adapters_registered", "Registered adapters.")
	residentDesc     = desc("lorikeet_adapters_resident", "Adapters in memory.")
	bytesDesc        = desc("lorikeet_adapter_bytes", "Memory that adapters hold.")
	budgetDesc       = desc("lorikeet_adapter_bytes_limit", "Memory that adapters may hold.")
	loadsDesc        = desc("lorikeet_adapter_loads_total", "Adapters loaded into memory.")
	failuresDesc     = desc("lorikeet_adapter_load_failures_total", "Loads of adapters that failed.")
	evictionsDesc    = desc("lorikeet_adapter_evictions_total", "Adapters dropped from memory for want of room.")
	loadSecondsDesc  = desc("lorikeet_adapter_load_seconds_total", "Time that loads of adapters took.")
	adapterWaitDesc  = desc("lorikeet_adapter_waiting", "Acquisitions of adapters that wait for room in memory.")
	slotBudgetDesc   = desc("lorikeet_device_adapter_bytes_limit", "Memory of the device that adapters may hold.")
	slotBytesDesc    = desc("lorikeet_device_adapter_bytes", "Memory of the device that adapters hold.")
	slotAdaptersDesc = desc("lorikeet_device_adapters", "Adapters in the memory of the device.")
	uploadsDesc      = desc("lorikeet_device_adapter_uploads_total", "Adapters copied into the memory of the device.")
	slotEvictedDesc  = desc("lorikeet_device_adapter_evictions_total", "Adapters dropped from the memory of the device for want of room.")
	vllmWaitingDesc  = desc("vllm:num_requests_waiting", "As lorikeet_requests_waiting.")
	vllmRunningDesc  = desc("vllm:num_requests_running", "As lorikeet_requests_running.")
	vllmCacheDesc    = desc("vllm:kv_cache_usage_perc", "Share of the KV cache that running requests hold, from 0 to 1.")
	vllmAdaptersDesc = desc("vllm:lora_requests_info", "Adapters of running and waiting requests; the value is the time of the reading.",
		"max_lora", "running_lora_adapters", "waiting_lora_adapters")
)

// watch adds the state of engine and cache, and the server's version, to the metrics.
func (m *Metrics) watch(engine *engine.Engine, cache func() adapters.CacheStats, registered func() int, maxLoRA int, version string) {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lorikeet_build_info", Help: "1, with the version as a label.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(build, &snapshot{engine.Stats, engine.SlotStats, cache, registered, strconv.Itoa(maxLoRA)})
}

// showDevice adds how many layers a device computes.
func (m *Metrics) showDevice(f *runtime.Facts) {
	layers := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lorikeet_device_layers", Help: "Layers of the model that the device computes, the output head counted as one; the CPU computes the others.",
		ConstLabels: prometheus.Labels{"device": cmp.Or(f.Device, "CPU")},
	})
	layers.Set(float64(f.DeviceLayers))
	if f.Device == "" {
		layers.Set(float64(f.Layers + 1))
	}
	m.registry.MustRegister(layers)
}

// Describe sends no descriptors, which makes this an unchecked collector.
func (s *snapshot) Describe(chan<- *prometheus.Desc) {}

// Collect reads the state once.
func (s *snapshot) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	total := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v)
	}
	e := s.engine()
	gauge(waitingDesc, float64(e.Waiting))
	gauge(loadingDesc, float64(e.Loading))
	gauge(runningDesc, float64(e.Running))
	gauge(cellsDesc, float64(e.Cells))
	gauge(usedDesc, float64(e.CellsUsed))
	gauge(busyDesc, float64(e.CellsRunning))
	total(preemptedDesc, float64(e.Preempted))
	total(droppedDesc, float64(e.Evicted))

	c := s.cache()
	gauge(registeredDesc, float64(s.registered()))
	gauge(residentDesc, float64(c.Resident))
	gauge(bytesDesc, float64(c.Bytes))
	gauge(budgetDesc, float64(c.Budget))
	total(loadsDesc, float64(c.Loads))
	total(failuresDesc, float64(c.Failures))
	total(evictionsDesc, float64(c.Evictions))
	total(loadSecondsDesc, c.LoadSeconds)
	gauge(adapterWaitDesc, float64(c.Waiting))

	if d := s.slots(); d.Bytes > 0 {
		gauge(slotBudgetDesc, float64(d.Bytes))
		gauge(slotBytesDesc, float64(d.Used))
		gauge(slotAdaptersDesc, float64(d.Adapters))
		total(uploadsDesc, float64(d.Uploads))
		total(slotEvictedDesc, float64(d.Evictions))
	}

	gauge(vllmWaitingDesc, float64(e.Waiting))
	gauge(vllmRunningDesc, float64(e.Running))
	// Cached prefixes are evicted when a request needs the room. If they were counted, the cache would always seem full.
	gauge(vllmCacheDesc, float64(e.CellsRunning)/float64(max(e.Cells, 1)))
	gauge(vllmAdaptersDesc, float64(time.Now().UnixMilli())/1000, s.maxLoRA, adapterNames(e.RunningFlows), adapterNames(e.WaitingFlows))
}

// adapterNames lists the adapters of flows, each once, as vLLM does: with commas, without the base.
func adapterNames(flows []string) string {
	names := make(map[string]bool)
	for _, f := range flows {
		for _, name := range strings.Split(f, "+") {
			if name != "" {
				names[name] = true
			}
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ",")
}
