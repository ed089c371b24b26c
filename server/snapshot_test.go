package server

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/engine"
)

// A device's memory for adapters has metrics where there is one, and none elsewhere.
func TestMetricsOfDevices(t *testing.T) {
	var slots runtime.SlotStats
	r := prometheus.NewRegistry()
	r.MustRegister(&snapshot{
		engine: func() engine.Stats { return engine.Stats{} }, cache: func() adapters.CacheStats { return adapters.CacheStats{} },
		slots: func() runtime.SlotStats { return slots }, registered: func() int { return 0 },
	})
	read := func() map[string]float64 {
		t.Helper()
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]float64{}
		for _, f := range families {
			m := f.GetMetric()[0]
			out[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
		return out
	}
	if _, ok := read()["lorikeet_device_adapter_bytes_limit"]; ok {
		t.Error("there are metrics of a device that there is not")
	}
	slots = runtime.SlotStats{Bytes: 1000, Used: 300, Adapters: 2, Uploads: 7, Evictions: 5}
	got := read()
	for name, want := range map[string]float64{
		"lorikeet_device_adapter_bytes_limit": 1000, "lorikeet_device_adapter_bytes": 300, "lorikeet_device_adapters": 2,
		"lorikeet_device_adapter_uploads_total": 7, "lorikeet_device_adapter_evictions_total": 5,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}
