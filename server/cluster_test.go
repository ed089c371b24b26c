package server

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters"
)

// While the cluster cannot be reached the server says so, and goes on answering.
func TestClusterOutOfReach(t *testing.T) {
	var alone atomic.Bool
	h := open(t, func(p *setup) {
		p.options.Cluster = func() ClusterState {
			s := ClusterState{Copies: 3, CopyBytes: 5, Fetches: 2}
			if alone.Load() {
				s.Err = fmt.Errorf("%w: no answer for 7s", adapters.ErrUnavailable)
			}
			return s
		}
	})
	if r := h.do("GET", "/readyz", ""); r.status != http.StatusOK {
		t.Errorf("%+v", r)
	}
	alone.Store(true)
	refused(t, h.do("GET", "/readyz", ""), 503, "cluster_unavailable", "", "the cluster cannot be reached")
	if r := h.do("POST", "/v1/completions", completion("a")); r.status != http.StatusOK {
		t.Errorf("%+v", r)
	}
	metrics := h.do("GET", "/metrics", "")
	for _, line := range []string{"lorikeet_cluster_up 0", "lorikeet_cluster_local_versions 3", `lorikeet_cluster_fetches_total{outcome="completed"} 2`} {
		if !strings.Contains(string(metrics.body), line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
}
