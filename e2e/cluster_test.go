package e2e

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/bench/randmodel"
)

// freeAddresses are addresses on loopback that nothing listens on.
func freeAddresses(t *testing.T, n int) (list []string) {
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		list = append(list, ln.Addr().String())
	}
	return list
}

// nodes are the processes of a cluster on this machine.
type nodes struct {
	t         *testing.T
	addresses []string
	data      []string
	booted    []*booted
}

// start launches the nodes with these numbers at the same time, as they wait for each other, and waits for them.
func (n *nodes) start(numbers ...int) {
	n.t.Helper()
	var started []*process
	for _, i := range numbers {
		started = append(started, launch(n.t, nil, "--data", n.data[i], "--threads", "1", "--ctx", "1024", "--parallel", "2", "--cluster", "embed",
			"--cluster-listen", n.addresses[i], "--cluster-peers", strings.Join(n.addresses, ","), "--cluster-name", fmt.Sprint("node-", i),
			"--cluster-max-data", "256MiB", "--cluster-secret", "a secret of the test"))
	}
	for k, i := range numbers {
		started[k].awaitReady(n.t)
		n.booted[i] = &booted{process: started[k], t: n.t}
	}
}

// eventually waits until a condition holds.
func (n *nodes) eventually(what string, holds func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(startTimeout); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("it does not come to this: %s", what)
		}
	}
}

// answers waits until all nodes of these numbers answer a question alike with an adapter, and returns the answer.
func (n *nodes) answers(adapter string, numbers ...int) (text string) {
	n.t.Helper()
	body := question("What is the capital of France?", "adapter", adapter, "max_tokens", 24)
	text = n.booted[numbers[0]].mustAsk(body)
	for _, i := range numbers[1:] {
		var got string
		n.eventually(fmt.Sprintf("node %d answers with %s as node %d does", i, adapter, numbers[0]), func() bool {
			got, _ = n.booted[i].ask(body)
			return got == text
		})
	}
	return text
}

// ready returns the status of /readyz.
func (n *nodes) ready(i int) (int, string) {
	status, body, err := n.booted[i].send(http.MethodGet, "/readyz")
	if err != nil {
		n.t.Fatal(err)
	}
	return status, string(body)
}

// TestClusterOfThreeNodes uploads to one node and asks the others, kills nodes, and starts them again: what was acknowledged
// is there, with a majority everything goes on, and without one what is on a node is served.
func TestClusterOfThreeNodes(t *testing.T) {
	n := &nodes{t: t, addresses: freeAddresses(t, 3), booted: make([]*booted, 3)}
	for range 3 {
		n.data = append(n.data, t.TempDir())
	}
	n.start(0, 1, 2)
	base := n.booted[0].mustAsk(question("What is the capital of France?", "max_tokens", 24))
	n.booted[0].upload("one", "pirate")
	pirate := n.answers("one", 0, 1, 2)
	if pirate == base {
		t.Errorf("the adapter answers as the base does: %q", base)
	}
	n.booted[1].upload("one", "shout")
	n.eventually("the name has moved", func() bool { return n.answers("one", 1, 0, 2) != pirate })
	if fetched := n.booted[2].metric("lorikeet_cluster_fetches_total"); fetched != 2 {
		t.Errorf("node 2 has brought %g versions from the cluster, want 2", fetched)
	}

	n.booted[2].kill(t)
	n.booted[1].upload("two", "json")
	two := n.answers("two", 1, 0)
	if status, body, err := n.booted[0].send(http.MethodDelete, "/adapters/one"); err != nil || status != http.StatusOK && status != http.StatusNoContent {
		t.Errorf("deleting: %d %s %v", status, body, err)
	}
	n.start(2)
	if got := n.answers("two", 2); got != two {
		t.Errorf("the node that was killed answers %q, the others %q", got, two)
	}
	if _, err := n.booted[2].ask(question("a", "adapter", "one")); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("what was deleted while it was away: %v", err)
	}

	n.booted[1].kill(t)
	n.booted[2].kill(t)
	n.eventually("the node that is left says that it is alone", func() bool {
		status, body := n.ready(0)
		return status == http.StatusServiceUnavailable && strings.Contains(body, "cluster_unavailable")
	})
	if got := n.answers("two", 0); got != two {
		t.Errorf("alone it answers %q, want %q", got, two)
	}
	if status, _, errs := command(t, nil, "adapter", "add", "three", filepath.Join(demoAdapters, "pirate"), "--server", n.booted[0].url()); status == 0 || !strings.Contains(errs, "the cluster cannot be reached") {
		t.Errorf("an upload without a majority: status %d, %s", status, errs)
	}
	n.start(1, 2)
	n.eventually("the node is ready again", func() bool { status, _ := n.ready(0); return status == http.StatusOK })
	n.booted[2].upload("three", "pirate")
	if got := n.answers("three", 2, 1, 0); got != pirate {
		t.Errorf("the same adapter answers %q, and before %q", got, pirate)
	}
	n.answers("two", 1, 0, 2)
	for i, b := range n.booted {
		if out := b.out.String(); strings.Contains(out, "[INF]") || strings.Contains(out, "NATS") {
			t.Errorf("node %d prints:\n%s", i, out)
		}
	}
}

// TestClusterOfAnotherBase starts a node of another base under a prefix that is taken; under one of its own it starts.
func TestClusterOfAnotherBase(t *testing.T) {
	data := t.TempDir()
	b := boot(t, "--data", data, "--cluster", "embed")
	b.upload("one", "pirate")
	fingerprint := b.facts().Fingerprint
	b.stop()
	path := filepath.Join(t.TempDir(), "other.gguf")
	if err := randmodel.WriteModel(path, randmodel.Shape{Embedding: 64, FeedForward: 64, Heads: 2, KVHeads: 1, Layers: 1, Vocab: 1000, Context: 256}, 1); err != nil {
		t.Fatal(err)
	}
	args := []string{"--data", data, "--cluster", "embed", "--model", path}
	status, _, errs := command(t, nil, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	if status != 1 || !strings.Contains(errs, fingerprint) || !strings.Contains(errs, "--cluster-prefix") || !strings.Contains(errs, "another base") {
		t.Errorf("another base joins: status %d, %s", status, errs)
	}
	other := boot(t, append(args, "--cluster-prefix", "other")...)
	other.stop()
	again := boot(t, "--data", data, "--cluster", "embed")
	again.mustAsk(question("a", "adapter", "one", "max_tokens", 4))
}
