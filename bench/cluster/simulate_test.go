package main

import (
	"io"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

func small() options {
	return options{requests: 200, utilization: .6, slots: 16, resident: 16, cached: 16, step: 20 * time.Millisecond, row: 2 * time.Millisecond,
		chunk: 64, load: 150 * time.Millisecond, prompt: 200, shared: 150, prefixes: 2, answer: 50, publish: 2 * time.Second, seed: 1}
}

// The times of a node alone are those that can be added up by hand.
func TestNodeAlone(t *testing.T) {
	w := &world{o: small(), c: cell{nodes: 1, adapters: 10}, total: 1000}
	var err error
	if w.front, err = newFront(w, "hash"); err != nil {
		t.Fatal(err)
	}
	n, err := newNode(0, w)
	if err != nil {
		t.Fatal(err)
	}
	w.nodes = []*node{n}
	send := func(answer int) *request {
		r := &request{adapter: 3, answer: answer, arrived: w.now, measured: true}
		if err := w.front.send(r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	took := func() time.Duration {
		begin := w.now
		w.run()
		return w.now - begin
	}
	check := func(what string, got, want time.Duration) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	const ms = time.Millisecond
	// Loading, 200 rows in four steps, then 10 tokens of which the first came with the last step.
	send(10)
	check("a cold request", took(), 150*ms+4*20*ms+200*2*ms+9*22*ms)
	check("its first token", w.result.ttft[0], 150*ms+4*20*ms+200*2*ms)
	// 50 rows in one step.
	send(1)
	check("a warm request", took(), 20*ms+50*2*ms)
	// Two at once: 50 rows of the one and 14 of the other, then the rest beside the first answer's second token.
	send(1)
	send(2)
	check("two warm requests", took(), 120*ms+120*ms+22*ms)
	if w.result.loads != 1 || n.admitted != 0 || w.front.nodes[0].Outstanding != 0 {
		t.Errorf("%d loads, %d admitted, %d outstanding", w.result.loads, n.admitted, w.front.nodes[0].Outstanding)
	}
	// Of 17 requests one waits until the 16 others, of which each draws 100 tokens, are done; the adapter is loaded once for them.
	for range 17 {
		send(100)
	}
	if n.admitted != 16 || len(n.waiting) != 1 {
		t.Errorf("%d admitted, %d waiting", n.admitted, len(n.waiting))
	}
	w.run()
	if n.admitted != 0 || len(w.result.ttft) != 21 || w.result.loads != 1 {
		t.Errorf("%d admitted, %d first tokens, %d loads", n.admitted, len(w.result.ttft), w.result.loads)
	}
}

// The same seed gives the same result, another one another, and each measured request has its first token.
func TestSimulationIsDeterministic(t *testing.T) {
	c := cell{nodes: 8, adapters: 500, zipf: 1}
	for _, policy := range policies {
		one, err := simulate(small(), c, policy)
		if err != nil {
			t.Fatal(err)
		}
		again, err := simulate(small(), c, policy)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(one, again) {
			t.Errorf("%s: two runs differ", policy)
		}
		o := small()
		o.seed = 2
		other, err := simulate(o, c, policy)
		if err != nil {
			t.Fatal(err)
		}
		if reflect.DeepEqual(one, other) {
			t.Errorf("%s: two seeds give the same", policy)
		}
		if one.requests != leastRequests/2 || len(one.ttft) != one.requests || one.loads > one.requests || one.imbalance < 1 {
			t.Errorf("%s: %d requests, %d first tokens, %d loads, imbalance %v", policy, one.requests, len(one.ttft), one.loads, one.imbalance)
		}
	}
	if _, err := simulate(small(), c, "none"); err == nil {
		t.Error("an unknown policy is simulated")
	}
}

// What the table is for: fewer loads than choosing by load, no overload as by the hash alone.
func TestOursLoadsSeldomAndOverloadsNobody(t *testing.T) {
	for _, c := range []cell{{nodes: 8, adapters: 100, zipf: 1}, {nodes: 32, adapters: 1000, zipf: 1.2}} {
		found := map[string]result{}
		for _, policy := range policies {
			r, err := simulate(small(), c, policy)
			if err != nil {
				t.Fatal(err)
			}
			found[policy] = r
		}
		ours := found["ours"]
		if least := found["least-loaded"]; ours.coldLoads() > least.coldLoads()/2 || ours.p95() > least.p95() {
			t.Errorf("%+v: %.3f loads, p95 %v; least-loaded %.3f, %v", c, ours.coldLoads(), ours.p95(), least.coldLoads(), least.p95())
		}
		if hash := found["hash"]; ours.imbalance > hash.imbalance || ours.p95() > 2*hash.p95() {
			t.Errorf("%+v: imbalance %.2f, p95 %v; hash %.2f, %v", c, ours.imbalance, ours.p95(), hash.imbalance, hash.p95())
		}
	}
}

func TestFlagsAreChecked(t *testing.T) {
	for _, args := range [][]string{{}, {"-simulate", "-nodes", "0"}, {"-simulate", "-nodes", "4,"}, {"-simulate", "-zipf", "NaN"},
		{"-simulate", "-load", "0"}, {"-simulate", "-shared", "200"}, {"-simulate", "-chunk", "16"}, {"-simulate", "-slots", "0"}, {"-simulate", "-row", "0s"}} {
		if err := run(args, io.Discard); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

// docs/scale.md shows what the command prints: the lines of 4 nodes and 100 adapters stand for all.
func TestTableOfTheDocs(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the table was printed on amd64; on other architectures floats are rounded otherwise")
	}
	var printed strings.Builder
	if err := run([]string{"-simulate", "-nodes", "4", "-adapters", "100"}, &printed); err != nil {
		t.Fatal(err)
	}
	shown, err := os.ReadFile("../../docs/scale.md")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(printed.String(), "\n"); lines != 5 {
		t.Errorf("%d lines, want the heads and three of numbers", lines)
	}
	if !strings.Contains(string(shown), printed.String()) {
		t.Errorf("docs/scale.md has another table: print it with `go run ./bench/cluster -simulate`. Its first lines are\n%s", printed.String())
	}
}
