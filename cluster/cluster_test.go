package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
	"github.com/lorikeet-ai/lorikeet/adapters/storetest"
)

// single are the options of a node that is alone.
func single(t testing.TB) Options {
	return Options{Embedded: Embedded{Dir: t.TempDir()}, Name: "one", Prefix: "test", Replicas: 1, MaxBytes: 64 << 20, Wait: 20 * time.Second, Log: testLog(t)}
}

func testLog(t testing.TB) zerolog.Logger {
	return zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
}

func open(t testing.TB, o Options) *Node {
	t.Helper()
	n, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// freePorts are addresses on loopback that nothing listens on.
func freePorts(t testing.TB, n int) (list []string) {
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

// trio are the options of three nodes.
func trio(t testing.TB) (list []Options) {
	ports := freePorts(t, 3)
	for i, port := range ports {
		o := single(t)
		o.Name, o.Replicas, o.Wait = fmt.Sprint("node-", i), 3, time.Minute
		o.Embedded.Listen, o.Embedded.Peers, o.Embedded.Secret = port, ports, "a secret of the test"
		list = append(list, o)
	}
	return list
}

// openAll opens nodes at the same time, as they wait for each other.
func openAll(t testing.TB, list ...Options) []*Node {
	t.Helper()
	nodes, errs := make([]*Node, len(list)), make(chan error, len(list))
	for i, o := range list {
		go func() {
			var err error
			nodes[i], err = Open(context.Background(), o)
			errs <- err
		}()
	}
	for range list {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, n := range nodes {
		if n != nil {
			t.Cleanup(func() { n.Close() })
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return nodes
}

// storeOf opens a Store over a node.
func storeOf(t testing.TB, n *Node, dir string) (*adapters.Store, *Adapters) {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	a, err := n.Adapters(t.Context(), AdapterOptions{Dir: filepath.Join(dir, "copies"), LocalBytes: 64 << 20, Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s, err := adapters.Open(adapters.Options{Dir: dir, Facts: pefttest.Facts(), Storage: a, Warn: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, a
}

func TestJetStreamPassesTheSuite(t *testing.T) {
	n := open(t, single(t))
	tests := 0
	storetest.Run(t, func(*testing.T) storetest.Opener {
		tests++
		of := &Node{o: n.o, conn: n.conn, js: n.js} // the same connection, under a prefix of the test's own
		of.o.Prefix = fmt.Sprint("test-", tests)
		return func(t *testing.T, dir string) adapters.Storage {
			a, err := of.Adapters(t.Context(), AdapterOptions{Dir: filepath.Join(dir, "copies"), LocalBytes: 64 << 20, Grace: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
	})
}

func TestAnotherBaseIsRefused(t *testing.T) {
	n := open(t, single(t))
	for range 2 {
		if err := n.Join(t.Context(), "f1", "first"); err != nil {
			t.Fatal(err)
		}
	}
	err := n.Join(t.Context(), "f2", "second")
	if !errors.Is(err, ErrBase) || !strings.Contains(err.Error(), "f1") || !strings.Contains(err.Error(), "f2") {
		t.Errorf("another base joins: %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"node name":      func(o *Options) { o.Name = "a b" },
		"prefix":         func(o *Options) { o.Prefix = "a.b" },
		"2 replicas":     func(o *Options) { o.Replicas = 2 },
		"0 bytes":        func(o *Options) { o.MaxBytes = 0 },
		"its key":        func(o *Options) { o.TLSCert = "x" },
		"replicas on 1":  func(o *Options) { o.Replicas = 3 },
		"one other":      func(o *Options) { o.Embedded.Listen, o.Embedded.Peers = "127.0.0.1:1", []string{"127.0.0.1:2"} },
		"none is named":  func(o *Options) { o.Embedded.Listen = "127.0.0.1:1" },
		"want host:port": func(o *Options) { o.Embedded.Listen, o.Embedded.Peers = "127.0.0.1:1", []string{"b", "c"} },
		"secret in common": func(o *Options) {
			o.Embedded.Listen, o.Embedded.Peers = "10.0.0.1:1", []string{"10.0.0.2:1", "10.0.0.3:1"}
		},
		"no folder":         func(o *Options) { o.Embedded.Dir = "" },
		"outside of this":   func(o *Options) { o.Credentials = "x" },
		"need one of their": func(o *Options) { o.TLSCA = "x" },
	} {
		o := single(t)
		change(&o)
		if err := o.Check(); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A folder is of one node: NATS would remove what it finds there of another.
func TestNodesKeepTheirFolders(t *testing.T) {
	alone := single(t)
	n := open(t, alone)
	s, _ := storeOf(t, n, "")
	info := storetest.Put(t, s, "a", 1)
	s.Close()
	n.Close()
	several := trio(t)[0]
	several.Embedded.Dir = alone.Embedded.Dir
	if _, err := Open(t.Context(), several); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "was alone") {
		t.Errorf("alone, then of several: %v", err)
	}
	alone.Name = "renamed" // a node that is alone may be
	n = open(t, alone)
	s, _ = storeOf(t, n, "")
	storetest.Loads(t, s, "a", info.Digest)

	other := trio(t)[0]
	other.Wait = time.Second
	for range 2 { // in vain, but the folder is its own
		if _, err := Open(t.Context(), other); !errors.Is(err, adapters.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	other.Name = "renamed"
	if _, err := Open(t.Context(), other); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "node-0") {
		t.Errorf("renamed: %v", err)
	}
	other.Embedded.Listen, other.Embedded.Peers, other.Replicas = "", nil, 1
	if _, err := Open(t.Context(), other); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "node of several") {
		t.Errorf("of several, then alone: %v", err)
	}
}

// A node that waits in vain says for whom, in the time that it was given; so does one that cannot have its port.
func TestStartIsBounded(t *testing.T) {
	o := trio(t)[0]
	o.Wait = 2 * time.Second
	began := time.Now()
	_, err := Open(t.Context(), o)
	if !errors.Is(err, adapters.ErrUnavailable) || !strings.Contains(err.Error(), o.Embedded.Peers[1]) || time.Since(began) > 15*time.Second {
		t.Errorf("alone, after %s: %v", time.Since(began), err)
	}
	outside := single(t)
	outside.URLs, outside.Wait = []string{"nats://u:hidden@" + freePorts(t, 1)[0]}, time.Second
	if _, err := Open(t.Context(), outside); !errors.Is(err, adapters.ErrUnavailable) || strings.Contains(err.Error(), "hidden") {
		t.Errorf("no NATS server: %v", err)
	}
}

// What one of three nodes has acknowledged is served by the others, soon; one is killed, the others go on, and it comes back.
func TestThreeNodes(t *testing.T) {
	t.Parallel()
	options := trio(t)
	nodes := openAll(t, options...)
	dirs, stores := make([]string, 3), make([]*adapters.Store, 3)
	for i, n := range nodes {
		if err := n.Join(t.Context(), "f", "base"); err != nil {
			t.Fatal(err)
		}
		dirs[i] = t.TempDir()
		stores[i], _ = storeOf(t, n, dirs[i])
	}
	has := func(s *adapters.Store, name, digest string) bool {
		info, err := s.Get(adapters.Ref{Name: name})
		return err == nil && info.Digest == digest
	}
	var took []time.Duration
	for i := range 15 {
		info := storetest.Put(t, stores[i%3], "moves", uint64(1+i))
		put := time.Now()
		storetest.Eventually(t, "all nodes have the name moved", func() bool {
			return has(stores[0], "moves", info.Digest) && has(stores[1], "moves", info.Digest) && has(stores[2], "moves", info.Digest)
		})
		took = append(took, time.Since(put))
		for _, s := range stores {
			storetest.Loads(t, s, "moves", info.Digest)
		}
	}
	slices.Sort(took)
	t.Logf("a name that was moved is served by all three nodes: median %s, at most %s after the answer", took[len(took)/2], took[len(took)-1])
	if median := took[len(took)/2]; median > 2*time.Second {
		t.Errorf("that takes %s", median)
	}

	stores[2].Close()
	nodes[2].Close()
	while := storetest.Put(t, stores[0], "while", 101)
	if err := stores[1].Delete("moves", adapters.Origin{}); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "the other node has it", func() bool { return has(stores[1], "while", while.Digest) })

	back := open(t, options[2])
	s, _ := storeOf(t, back, dirs[2])
	storetest.Loads(t, s, "while", while.Digest)
	if _, err := s.Get(adapters.Ref{Name: "moves"}); !errors.Is(err, adapters.ErrUnknown) {
		t.Errorf("what was deleted meanwhile: %v", err)
	}
	last := storetest.Put(t, s, "while", 102)
	storetest.Eventually(t, "all have what it puts", func() bool {
		return has(stores[0], "while", last.Digest) && has(stores[1], "while", last.Digest)
	})
}

// Without a majority nothing is stored, and said so; what is on the node is served. With it again all goes on.
func TestWithoutMajority(t *testing.T) {
	t.Parallel()
	options := trio(t)
	for i := range options {
		options[i].Patience = 6 * time.Second
	}
	nodes := openAll(t, options...)
	s, _ := storeOf(t, nodes[0], "")
	info := storetest.Put(t, s, "a", 1)
	nodes[1].Close()
	nodes[2].Close()
	storetest.Eventually(t, "the node says that it is alone", func() bool { return nodes[0].Err() != nil })
	storetest.Loads(t, s, "a", info.Digest)
	_, err := s.PutUpload(t.Context(), "b", storetest.Parts(t, 2), adapters.Note{})
	if !errors.Is(err, adapters.ErrUnavailable) {
		t.Errorf("stored without a majority: %v", err)
	}
	again := openAll(t, options[1:]...)
	storetest.Eventually(t, "the node says that it is not alone", func() bool { return nodes[0].Err() == nil })
	var put adapters.Info
	storetest.Eventually(t, "the node stores again", func() bool { // its streams may still choose a leader
		var err error
		put, err = s.PutUpload(t.Context(), "b", storetest.Parts(t, 3), adapters.Note{})
		return err == nil
	})
	other, _ := storeOf(t, again[0], "")
	storetest.Loads(t, other, "b", put.Digest)
	storetest.Loads(t, other, "a", info.Digest)
}
