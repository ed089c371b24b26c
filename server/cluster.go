package server

import (
	"github.com/prometheus/client_golang/prometheus"
)

// ClusterState is a snapshot of what a server that shares its adapters with others knows of that.
type ClusterState struct {
	Err           error // why the others cannot be reached; nil: they can
	Copies        int   // versions of adapters of which this node has the files
	CopyBytes     int64 // that these have
	CopyBudget    int64
	Fetches       uint64 // of files from the cluster, since the start
	FetchFailures uint64
	FetchedBytes  uint64
	FetchSeconds  float64 // summed over Fetches
	Conflicts     uint64  // changes that were made anew because another node was faster
}

// clusterSnapshot collects the metrics of the cluster when Prometheus asks for them.
type clusterSnapshot struct{ state func() ClusterState }

var (
	clusterUpDesc            = desc("lorikeet_cluster_up", "1 where a majority of the cluster is reached, 0 where adapters are only served, and not stored.")
	clusterCopiesDesc        = desc("lorikeet_cluster_local_versions", "Versions of adapters of which this node has the files.")
	clusterCopyBytesDesc     = desc("lorikeet_cluster_local_bytes", "Bytes of these files.")
	clusterCopyBudgetDesc    = desc("lorikeet_cluster_local_budget_bytes", "Bytes that these files may have: --cluster-local-data.")
	clusterFetchesDesc       = desc("lorikeet_cluster_fetches_total", "Versions whose files were brought from the cluster, by how that ended: completed, failed.", "outcome")
	clusterFetchedBytesDesc  = desc("lorikeet_cluster_fetched_bytes_total", "Bytes of the files that were brought from the cluster.")
	clusterFetchSecondsDesc  = desc("lorikeet_cluster_fetch_seconds_total", "Seconds that bringing them took, one behind the other.")
	clusterWriteConflictDesc = desc("lorikeet_cluster_conflicts_total", "Changes of names that were made anew because another node was faster.")
)

// Describe sends no descriptors, which makes this an unchecked collector.
func (c *clusterSnapshot) Describe(chan<- *prometheus.Desc) {}

// Collect reads the state once.
func (c *clusterSnapshot) Collect(ch chan<- prometheus.Metric) {
	s, up := c.state(), 1.0
	if s.Err != nil {
		up = 0
	}
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge(clusterUpDesc, up)
	gauge(clusterCopiesDesc, float64(s.Copies))
	gauge(clusterCopyBytesDesc, float64(s.CopyBytes))
	gauge(clusterCopyBudgetDesc, float64(s.CopyBudget))
	count(clusterFetchesDesc, float64(s.Fetches), "completed")
	count(clusterFetchesDesc, float64(s.FetchFailures), "failed")
	count(clusterFetchedBytesDesc, float64(s.FetchedBytes))
	count(clusterFetchSecondsDesc, s.FetchSeconds)
	count(clusterWriteConflictDesc, float64(s.Conflicts))
}
