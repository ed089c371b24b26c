package route_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/route"
)

func idle(count int) []route.Node {
	nodes := make([]route.Node, count)
	for i := range nodes {
		nodes[i] = route.Node{Name: fmt.Sprintf("node-%d", i), Ready: true, Roles: []string{route.RoleServe}, Slots: 16,
			FreeTokens: 1 << 20, Resident: map[string]bool{}}
	}
	return nodes
}

func mustRoute(t *testing.T, nodes []route.Node, r route.Request) string {
	t.Helper()
	found, err := route.Options{}.Route(nodes, r)
	if err != nil {
		t.Fatal(err)
	}
	return found.Node
}

// A node that leaves moves its own adapters, to all the others, and no adapter of another.
func TestLeavingMovesItsPart(t *testing.T) {
	const count, adapters = 20, 10000
	nodes := idle(count)
	left := slices.Delete(slices.Clone(nodes), 7, 8)
	moved, to := 0, map[string]int{}
	for i := range adapters {
		r := route.Request{Adapter: fmt.Sprintf("adapter-%d", i)}
		before, after := mustRoute(t, nodes, r), mustRoute(t, left, r)
		switch {
		case before == nodes[7].Name:
			moved++
			to[after]++
		case before != after:
			t.Fatalf("%s moved from %s to %s, though neither left", r.Adapter, before, after)
		}
	}
	if fair := adapters / count; moved < fair*3/4 || moved > fair*5/4 {
		t.Errorf("%d adapters moved, want about %d", moved, fair)
	}
	for _, n := range left {
		if fair := moved / len(left); to[n.Name] < fair/3 || to[n.Name] > fair*3 {
			t.Errorf("%s got %d of the %d adapters that moved, want about %d", n.Name, to[n.Name], moved, fair)
		}
	}
}

// The homes of an adapter stay its homes when their number grows, and a node's leaving replaces it alone.
func TestHomesAreNested(t *testing.T) {
	nodes := idle(10)
	homes := func(nodes []route.Node, share float64) (found []string) {
		nodes = slices.Clone(nodes)
		r := route.Request{Adapter: "hot", Share: share}
		for {
			d, err := route.Options{}.Route(nodes, r)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(nodes, func(n route.Node) bool { return n.Name == d.Node })
			if d.Reason != route.Home || nodes[i].Outstanding > 0 {
				return found
			}
			found = append(found, d.Node)
			nodes[i].Outstanding++
		}
	}
	var before []string
	for _, share := range []float64{0, .1, .2, .3, .5, 1} {
		now := homes(nodes, share)
		if want := min(10, max(1, int(math.Ceil(share*15)))); len(now) != want {
			t.Errorf("share %v: %d homes, want %d", share, len(now), want)
		}
		for _, name := range before {
			if !slices.Contains(now, name) {
				t.Errorf("share %v: %s is no home any more", share, name)
			}
		}
		before = now
	}
	of3 := homes(nodes, .2)
	without := slices.DeleteFunc(slices.Clone(nodes), func(n route.Node) bool { return n.Name == of3[0] })
	now := homes(without, .2)
	if len(now) != 3 || !slices.Contains(now, of3[1]) || !slices.Contains(now, of3[2]) {
		t.Errorf("homes %v became %v when %s left", of3, now, of3[0])
	}
}

// Whatever is asked for and whatever ends, no request is put on a node that has its bound of the load.
func TestLoadIsBounded(t *testing.T) {
	const bound = 1.25
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		nodes := idle(2 + random.IntN(30))
		slots := 0
		for i := range nodes {
			nodes[i].Slots = 1 + random.IntN(32)
			slots += nodes[i].Slots
		}
		popular := rand.NewZipf(random, 1.2, 1, 200)
		load := 0
		for range 3000 {
			if i := random.IntN(len(nodes)); random.IntN(5) < 2 && nodes[i].Outstanding > 0 {
				nodes[i].Outstanding--
				load--
			}
			r := route.Request{Adapter: fmt.Sprint(popular.Uint64()), Share: random.Float64() / 4, Tokens: random.IntN(1000)}
			name := mustRoute(t, nodes, r)
			i := slices.IndexFunc(nodes, func(n route.Node) bool { return n.Name == name })
			n := &nodes[i]
			n.Outstanding++
			n.Resident[r.Adapter] = true
			load++
			fair := float64(load) * float64(n.Slots) / float64(slots)
			if most := max(n.Slots/2, int(math.Ceil(bound*fair))); n.Outstanding > most {
				t.Fatalf("seed %d: %s has %d requests of %d with %d of %d slots, at most %d are its part", seed, name, n.Outstanding, load, n.Slots, slots, most)
			}
		}
	}
}

// A decision depends on what is known, not on its order, and changes nothing of it; who cannot answer is never chosen.
func TestDecisionsArePure(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		nodes := idle(1 + random.IntN(12))
		for i := range nodes {
			n := &nodes[i]
			n.Ready = random.IntN(4) > 0
			n.Age = time.Duration(random.IntN(15)) * time.Second
			n.Running, n.Queued, n.Outstanding = random.IntN(20), random.IntN(3), random.IntN(20)
			n.FreeTokens = random.IntN(2000)
			n.Resident[fmt.Sprint("a", random.IntN(4))] = true
		}
		r := route.Request{Adapter: fmt.Sprint("a", random.IntN(4)), Prefix: fmt.Sprint("p", random.IntN(4)), PrefixTokens: random.IntN(100),
			Tokens: random.IntN(1000), Share: random.Float64()}
		var tried []route.Attempt
		if random.IntN(2) == 0 {
			tried = []route.Attempt{{Node: nodes[0].Name}}
		}
		shuffled := slices.Clone(nodes)
		random.Shuffle(len(nodes), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		copied := slices.Clone(shuffled)
		one, err1 := route.Options{}.Route(nodes, r, tried...)
		other, err2 := route.Options{}.Route(shuffled, r, tried...)
		if one != other || err1 != err2 {
			t.Fatalf("%+v, %v in one order, %+v, %v in another", one, err1, other, err2)
		}
		if !reflect.DeepEqual(copied, shuffled) {
			t.Fatal("the decision changed what is known of the nodes")
		}
		for _, n := range nodes {
			if n.Name == one.Node && (!n.Ready || n.Age > 10*time.Second || tried != nil && n.Name == tried[0].Node) {
				t.Fatalf("chose %+v after %v", n, tried)
			}
		}
	}
}

func TestShares(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := route.NewShares(time.Minute)
	if got := s.Add("x", now); got > .01 {
		t.Errorf("the first request of all gives its adapter a share of %v: it would count as hot", got)
	}
	for i := range 4000 {
		now = now.Add(10 * time.Millisecond)
		s.Add([]string{"x", "y", "y", "y"}[i%4], now)
	}
	if got := s.Add("x", now); math.Abs(got-.25) > .02 {
		t.Errorf("a quarter of the requests have a share of %v", got)
	}
	// Half as much after a half-life, in which others ask for as much again as all did.
	before := s.Add("y", now)
	for range 4000 {
		now = now.Add(15 * time.Millisecond)
		s.Add("z", now)
	}
	if got := s.Add("y", now); got > before/2 || got < before/4 {
		t.Errorf("share %v after a half-life, %v before", got, before)
	}
	// Nothing overflows after a long time without requests.
	now = now.Add(30 * 24 * time.Hour)
	if got := s.Add("y", now); math.IsNaN(got) || got <= 0 || got > .01 {
		t.Errorf("share %v after a month", got)
	}
}

// Shares stay exact for what is hot however many adapters there are.
func TestSharesOfMillions(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := route.NewShares(time.Hour)
	var got float64
	for i := range 300_000 {
		s.Add(fmt.Sprint("rare-", i), now)
		if i%3 == 0 {
			got = s.Add("hot", now)
		}
	}
	if math.Abs(got-.25) > .01 {
		t.Errorf("share %v of an adapter that a quarter of the requests ask for", got)
	}
	if kept := s.Len(); kept > 1<<16 {
		t.Errorf("%d adapters are counted", kept)
	}
}

func BenchmarkRoute(b *testing.B) {
	for _, count := range []int{4, 256} {
		nodes := idle(count)
		b.Run(fmt.Sprint(count, " nodes"), func(b *testing.B) {
			for i := range b.N {
				if _, err := (route.Options{}).Route(nodes, route.Request{Adapter: fmt.Sprint(i), Prefix: "p", PrefixTokens: 10}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
