// Package route decides which node of a cluster answers a request. It is pure: a decision follows from the request and
// from what the nodes said about themselves, and from nothing else. It knows neither HTTP nor NATS.
//
// The base rule is consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016), here over rendezvous
// hashing (Thaler, Ravishankar, 1998): every adapter ranks all nodes by a hash, its homes are the first k of them, and no
// node is given more than Options.Bound times its fair part of the load. A node that leaves moves its own adapters alone.
// Affinity refines the rule: among the homes the one that would begin to answer first is chosen, which depends on
// whether it has the adapter in memory, has likely computed the prompt's beginning before, and on its queue.
package route

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

var (
	// ErrNoNode says that no node can take the request: none is ready, or none that was not tried.
	ErrNoNode = errors.New("no node of the cluster is ready to answer")
	// ErrBegun says that a failed request is not repeated, since its client has got the answer's first byte.
	ErrBegun = errors.New("the answer had begun")
	// ErrRetried says that a failed request is not repeated again.
	ErrRetried = errors.New("the request failed on two nodes")
)

// RoleServe is the role of nodes that answer requests.
const RoleServe = "serve"

// Request is what a decision depends on of a request.
type Request struct {
	Adapter      string  // digests and scales of its adapters; empty for the base
	Prefix       string  // names the beginning of its prompt; empty where it is not known
	PrefixTokens int     // estimated length of that beginning
	Tokens       int     // estimated length of prompt and answer
	Share        float64 // part of the cluster's recent load that asks for this adapter, 0 to 1: see Shares
}

// Node is what is known of a node.
type Node struct {
	Name        string
	Age         time.Duration // of what follows, by the clock of who decides
	Ready       bool
	Roles       []string
	Slots       int             // answers that it computes at once
	Running     int             // answers that it computes
	Queued      int             // requests that wait in it
	FreeTokens  int             // places that are free in its KV cache
	Resident    map[string]bool // adapters that it has in memory, or that requests were sent to it for since it said so
	Outstanding int             // requests that the deciding process has sent to it and that have not ended; known without delay
}

// load is how many requests the node has. What it says lags behind, what was sent to it does not.
func (n *Node) load() int { return max(n.Running+n.Queued, n.Outstanding) }

// Options are the numbers that decisions are made with. The zero value of each stands for its default.
type Options struct {
	MaxAge time.Duration // a node whose word is older is left out; default 10 s
	Bound  float64       // no node gets more than this times its fair part of the load; above 1, default 1.25
	// Spread times its fair share of nodes is how many homes an adapter has: one that is asked for as much as Spread
	// times less than what one node takes has one home; default 1.5.
	Spread float64

	// Estimates of what delays an answer's first token.
	RunningTime time.Duration // by each request that a node computes beside it; default 40 ms
	QueuedTime  time.Duration // by each request that waits before it; default 200 ms
	LoadTime    time.Duration // by an adapter that is not in memory; default 150 ms
	TokenTime   time.Duration // by each token of a prompt; default 2 ms
}

// Attempt is an earlier try of the same request, which failed.
type Attempt struct {
	Node  string
	Begun bool // the client had got the first byte
}

// Why a node was chosen.
const (
	Home     = "home"     // it is one of the adapter's homes
	Resident = "resident" // no home with room has the adapter in memory; this node has it
	Second   = "second"   // the adapter has to be loaded; the node after its homes has less to do than they
	Overflow = "overflow" // all homes have their bound of load: the next node of the adapter's ranking that has not
)

// Decision is where a request goes.
type Decision struct {
	Node   string
	Reason string // Home, Resident, Second or Overflow
	Homes  int    // how many homes the adapter has
}

// Route chooses the node for a request; the order of nodes does not matter. tried are the earlier attempts: after one that failed
// before its first byte another node is chosen, once. Its errors are ErrNoNode, ErrBegun and ErrRetried. Nothing that it is
// given is changed.
func (o Options) Route(nodes []Node, r Request, tried ...Attempt) (Decision, error) {
	o = o.withDefaults()
	for _, t := range tried {
		if t.Begun {
			return Decision{}, fmt.Errorf("%w on %s", ErrBegun, t.Node)
		}
	}
	if len(tried) > 1 {
		return Decision{}, ErrRetried
	}
	live := o.live(nodes, tried)
	if len(live) == 0 {
		return Decision{}, ErrNoNode
	}
	o.findRoom(live)
	score(live, r.Adapter)
	homes := o.homes(len(live), r)
	if homes < len(live) {
		highestFirst(live, homes+1)
	}
	decision := Decision{Homes: homes}
	var found *candidate
	if found, decision.Reason = o.first(live, homes, r); found == nil {
		// Some node has room, since the bounds add up to more than the load.
		found, decision.Reason = overflow(live), Overflow
	}
	decision.Node = found.Name
	return decision, nil
}

// candidate is a node that can answer.
type candidate struct {
	*Node
	hash  uint64 // of its name
	score uint64 // for the adapter
	room  bool   // whether it stays within its bound of load with one request more
}

// first returns the node that would begin to answer first, of the homes and, where no home with room has the adapter in
// memory, of the others that have it and the next of the ranking; nil where all of these have their bound of load. To choose
// between two nodes for what has to be loaded evens out the load nearly as well as to choose among all. In nodes the homes come
// first, and then the next.
func (o Options) first(nodes []candidate, homes int, r Request) (found *candidate, reason string) {
	prefixHome := nodes[0].Node
	if homes > 1 {
		prefixHome = highest(nodes[:homes], r.Adapter+"\x00"+r.Prefix)
	}
	best, have := time.Duration(0), false
	for i := range nodes {
		n := &nodes[i]
		isHome, resident := i < homes, r.Adapter == "" || n.Resident[r.Adapter]
		if !n.room || !isHome && (have || !resident && i > homes) {
			continue
		}
		have = have || isHome && resident
		delay := o.delay(n.Node, r, resident, resident && n.Node == prefixHome)
		if found == nil || delay < best || delay == best && before(n, found) {
			best, found = delay, n
			switch {
			case isHome:
				reason = Home
			case resident:
				reason = Resident
			default:
				reason = Second
			}
		}
	}
	return found, reason
}

// overflow returns the first node of the ranking that has room.
func overflow(nodes []candidate) (found *candidate) {
	for i := range nodes {
		if n := &nodes[i]; n.room && (found == nil || before(n, found)) {
			found = n
		}
	}
	return found
}

// delay estimates how long the first token takes on a node.
func (o Options) delay(n *Node, r Request, resident, prefixCached bool) time.Duration {
	load := n.load()
	waiting := max(0, load+1-n.Slots)
	if n.FreeTokens < r.Tokens {
		waiting = max(waiting, 1)
	}
	delay := time.Duration(load)*o.RunningTime + time.Duration(waiting)*o.QueuedTime
	if !resident {
		delay += o.LoadTime
	}
	if !prefixCached {
		delay += time.Duration(r.PrefixTokens) * o.TokenTime
	}
	return delay
}

// live returns the nodes that can answer.
func (o Options) live(nodes []Node, tried []Attempt) []candidate {
	live := make([]candidate, 0, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		failed := slices.ContainsFunc(tried, func(t Attempt) bool { return t.Node == n.Name })
		if n.Ready && n.Age <= o.MaxAge && n.Slots > 0 && !failed && slices.Contains(n.Roles, RoleServe) {
			live = append(live, candidate{Node: n})
		}
	}
	return live
}

// homes returns how many homes an adapter has of n nodes. The base is in the memory of all.
func (o Options) homes(n int, r Request) int {
	if r.Adapter == "" {
		return n
	}
	return min(n, max(1, int(math.Ceil(min(1, r.Share)*float64(n)*o.Spread))))
}

// findRoom notes which nodes stay within their bound with one request more. A node's fair part is by its slots. Up to
// half of its slots a node always has room: where there is little load, to share it out evenly would gain nothing.
func (o Options) findRoom(nodes []candidate) {
	load, slots := 1, 0
	for _, n := range nodes {
		load += n.load()
		slots += n.Slots
	}
	for i := range nodes {
		n := &nodes[i]
		fair := float64(load) * float64(n.Slots) / float64(slots)
		n.room = n.load() < max(n.Slots/2, int(math.Ceil(o.Bound*fair)))
	}
}

func (o Options) withDefaults() Options {
	if o.MaxAge == 0 {
		o.MaxAge = 10 * time.Second
	}
	if o.Bound == 0 {
		o.Bound = 1.25
	}
	if o.Spread == 0 {
		o.Spread = 1.5
	}
	if o.RunningTime == 0 {
		o.RunningTime = 40 * time.Millisecond
	}
	if o.QueuedTime == 0 {
		o.QueuedTime = 200 * time.Millisecond
	}
	if o.LoadTime == 0 {
		o.LoadTime = 150 * time.Millisecond
	}
	if o.TokenTime == 0 {
		o.TokenTime = 2 * time.Millisecond
	}
	return o
}
