package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lorikeet-ai/lorikeet/batches"
)

// batchSnapshot collects the metrics of the batches when Prometheus asks for them.
type batchSnapshot struct{ queue *batches.Queue }

var (
	batchesDesc    = desc("lorikeet_batches", "Batches that are kept, by status.", "status")
	batchLinesDesc = desc("lorikeet_batch_requests_total", "Requests of batches that have results, by how: completed, failed.", "outcome")
)

// Describe sends no descriptors, which makes this an unchecked collector.
func (b *batchSnapshot) Describe(chan<- *prometheus.Desc) {}

// Collect reads the state once.
func (b *batchSnapshot) Collect(ch chan<- prometheus.Metric) {
	counts, total := b.queue.Stats()
	for status, n := range counts {
		ch <- prometheus.MustNewConstMetric(batchesDesc, prometheus.GaugeValue, float64(n), string(status))
	}
	ch <- prometheus.MustNewConstMetric(batchLinesDesc, prometheus.CounterValue, float64(total.Completed), "completed")
	ch <- prometheus.MustNewConstMetric(batchLinesDesc, prometheus.CounterValue, float64(total.Failed), "failed")
}
