package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lorikeet-ai/lorikeet/route"
)

// policies are the ways to choose a node, in the order of the table's columns.
var policies = []string{"random", "least-loaded", "hash", "ours"}

// front chooses the nodes. It knows at once what it sent and what ended, and the rest as the nodes last published it.
type front struct {
	choose  func(*request) (int, error)
	nodes   []route.Node
	numbers map[string]int // of nodes, by name
	names   []string       // of adapters
	shares  *route.Shares
	options route.Options
	w       *world
	random  *rand.Rand
}

func newFront(w *world, policy string) (*front, error) {
	f := &front{w: w, random: rand.New(rand.NewPCG(w.o.seed, 2)), numbers: map[string]int{}, shares: route.NewShares(time.Minute),
		options: estimates(w.o)}
	for i := range w.c.nodes {
		name := fmt.Sprintf("node-%d", i)
		f.nodes = append(f.nodes, route.Node{Name: name, Ready: true, Roles: []string{route.RoleServe}, Slots: w.o.slots, FreeTokens: 1 << 30})
		f.numbers[name] = i
	}
	for i := range w.c.adapters {
		f.names = append(f.names, fmt.Sprintf("adapter-%d", i))
	}
	switch policy {
	case "random":
		f.choose = func(*request) (int, error) { return f.random.IntN(len(f.nodes)), nil }
	case "least-loaded":
		f.choose = f.leastLoaded
	case "hash":
		f.choose = f.hash
	case "ours":
		f.choose = f.ours
	default:
		return nil, fmt.Errorf("unknown policy %q: one of %v", policy, policies)
	}
	return f, nil
}

// estimates are what the front expects of the nodes: the times of the simulation. A request that waits waits for a slot,
// and one that is computed delays others by its prompt, if that is not done yet, as it is for nine tenths of its time.
func estimates(o options) route.Options {
	drawn := time.Duration(o.answer) * (o.step + time.Duration(o.slots)*o.row)
	return route.Options{LoadTime: o.load, TokenTime: o.row, QueuedTime: drawn / time.Duration(o.slots),
		RunningTime: time.Duration(o.prompt) * o.row / 10}
}

// leastLoaded chooses the node with the fewest requests, a random one of several.
func (f *front) leastLoaded(*request) (int, error) {
	first := f.random.IntN(len(f.nodes))
	best := first
	for i := range f.nodes {
		if at := (first + i) % len(f.nodes); f.nodes[at].Outstanding < f.nodes[best].Outstanding {
			best = at
		}
	}
	return best, nil
}

// hash chooses by rendezvous hashing of the adapter alone.
func (f *front) hash(r *request) (int, error) {
	best, most := 0, uint64(0)
	for i, n := range f.nodes {
		if score := route.Score(n.Name, f.names[r.adapter]); score > most {
			best, most = i, score
		}
	}
	return best, nil
}

func (f *front) ours(r *request) (int, error) {
	name := f.names[r.adapter]
	found, err := f.options.Route(f.nodes, route.Request{
		Adapter: name, Prefix: fmt.Sprint(r.prefix), PrefixTokens: f.w.o.shared, Tokens: f.w.o.prompt + f.w.o.answer,
		Share: f.shares.Add(name, time.Unix(0, 0).Add(f.w.now)),
	})
	if err != nil {
		return 0, err
	}
	i := f.numbers[found.Node]
	if f.nodes[i].Resident == nil {
		f.nodes[i].Resident = map[string]bool{}
	}
	f.nodes[i].Resident[name] = true // until it says itself what it has
	return i, nil
}

// send gives a request to the node that is chosen for it.
func (f *front) send(r *request) error {
	i, err := f.choose(r)
	if err != nil {
		return err
	}
	f.nodes[i].Outstanding++
	f.w.nodes[i].take(r)
	return nil
}

func (f *front) ended(node int) { f.nodes[node].Outstanding-- }

// publish takes over what a node says about itself.
func (f *front) publish(n *node) {
	seen := &f.nodes[n.index]
	seen.Running, seen.Queued = n.admitted, len(n.waiting)
	seen.Resident = make(map[string]bool, n.resident.Len())
	for _, adapter := range n.resident.Keys() {
		seen.Resident[f.names[adapter]] = true
	}
}
