package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

const (
	requestTime = 5 * time.Second        // for one answer of JetStream
	retryPause  = 250 * time.Millisecond // between attempts while others start
	askEvery    = 2 * time.Second        // whether the cluster is there
	askTime     = 6 * time.Second        // for an answer
	patience    = 20 * time.Second       // of Options, where they say nothing
	recordBytes = 16                     // part of MaxBytes, one of so many, that records may have
)

// Node is this server's part of a cluster. Its methods may be called from any goroutine.
type Node struct {
	o      Options
	server *server.Server // nil: elsewhere
	lock   *os.File       // of the server's folder
	conn   *nats.Conn
	js     jetstream.JetStream
	base   jetstream.KeyValue
	closer sync.Once
	err    error // of Close
	stop   context.CancelFunc
	asked  chan struct{} // closed when the loop of ask has ended

	mu       sync.Mutex
	streams  []string  // that this node needs
	answered time.Time // when the cluster last answered
	failed   error     // of the attempts since; nil: it answered
}

// Open connects to the cluster, or starts this node's NATS server, and waits until a majority answers, for Options.Wait
// at most. The caller closes the Node.
func Open(ctx context.Context, o Options) (_ *Node, err error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.Patience <= 0 {
		o.Patience = patience
	}
	n := &Node{o: o, asked: make(chan struct{})}
	run, stop := context.WithCancel(context.Background())
	n.stop = stop
	defer func() {
		if err != nil {
			close(n.asked)
			err = errors.Join(err, n.Close())
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, o.Wait)
	defer cancel()
	if err := n.connect(ctx); err != nil {
		return nil, err
	}
	if n.js, err = jetstream.New(n.conn, jetstream.WithDefaultTimeout(requestTime)); err != nil {
		return nil, err
	}
	n.base, err = n.keyValue(ctx, "", 1, 1<<20)
	if err != nil {
		return nil, err
	}
	n.answered = time.Now()
	o.Log.Info().Str("node", o.Name).Int("replicas", o.Replicas).Str("prefix", o.Prefix).Msg("joined the cluster")
	go n.ask(run)
	return n, nil
}

// connect makes the connection to NATS.
func (n *Node) connect(ctx context.Context) (err error) {
	log := n.o.Log
	options := []nats.Option{nats.Name("lorikeet " + n.o.Name), nats.MaxReconnects(-1), nats.ReconnectWait(500 * time.Millisecond),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn().Err(err).Msg("the connection to NATS is lost; it is made again")
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info().Msg("connected to NATS again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Debug().Err(err).Msg("NATS") }),
	}
	if len(n.o.URLs) == 0 {
		if err := os.MkdirAll(n.o.Embedded.Dir, 0o700); err != nil {
			return err
		}
		if n.lock, err = disk.Lock(n.o.Embedded.Dir); err != nil {
			return err
		}
		if err := keepIdentity(&n.o); err != nil {
			return err
		}
		var as []nats.Option
		if n.server, as, err = startServer(&n.o); err != nil {
			return err
		}
		n.conn, err = nats.Connect("", append(options, as...)...)
		return err
	}
	if n.o.Credentials != "" {
		options = append(options, nats.UserCredentials(n.o.Credentials))
	}
	if n.o.TLSCert != "" || n.o.TLSCA != "" {
		t, err := tlsOf(&n.o)
		if err != nil {
			return err
		}
		options = append(options, nats.Secure(t))
	}
	return n.until(ctx, "NATS at "+redacted(n.o.URLs), func(context.Context) (err error) {
		n.conn, err = nats.Connect(strings.Join(n.o.URLs, ","), options...)
		return err
	})
}

// redacted are addresses without their passwords.
func redacted(urls []string) string {
	var list []string
	for _, text := range urls {
		if u, err := url.Parse(text); err == nil {
			text = u.Redacted()
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// until tries until it succeeds, finds that it never will, or ctx ends.
func (n *Node) until(ctx context.Context, what string, try func(context.Context) error) error {
	began, told := time.Now(), false
	for {
		limit, cancel := context.WithTimeout(ctx, requestTime)
		err := try(limit)
		cancel()
		switch {
		case err == nil:
			return nil
		case apiCode(err) == codeReplicasNotSupported:
			return fmt.Errorf("%s: %d copies are asked of a single NATS server, which can hold 1: %w", what, n.o.Replicas, err)
		case errors.Is(err, nats.ErrAuthorization) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
			return fmt.Errorf("%s: %w", what, err)
		}
		if !told && time.Since(began) > requestTime {
			told = true
			n.o.Log.Info().Err(err).Str("for", what).Strs("peers", n.o.Embedded.Peers).Stringer("at_most", n.o.Wait).Msg("waiting for the other nodes")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: waited %s: %w", adapters.ErrUnavailable, n.majority(what), time.Since(began).Round(time.Second), err)
		case <-time.After(retryPause):
		}
	}
}

// majority says what is waited for.
func (n *Node) majority(what string) string {
	if peers := n.o.Embedded.otherPeers(); len(n.o.URLs) == 0 && len(peers) > 0 {
		return fmt.Sprintf("%s needs %d nodes at the first start and a majority later, of this one and %s", what, n.o.Replicas, strings.Join(peers, ", "))
	}
	return what
}

// baseRecord says which base a prefix belongs to.
type baseRecord struct {
	Fingerprint string `json:"fingerprint"`
	Model       string `json:"model"`
	Node        string `json:"node"` // that was the first
}

// ErrBase means that the prefix belongs to another base.
var ErrBase = errors.New("the cluster's prefix belongs to another base")

// Join records that the prefix belongs to the base, or returns an ErrBase with both fingerprints where it belongs to another.
func (n *Node) Join(ctx context.Context, fingerprint, model string) error {
	ctx, cancel := context.WithTimeout(ctx, n.o.Wait)
	defer cancel()
	mine := baseRecord{fingerprint, model, n.o.Name}
	data, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	var there baseRecord
	err = n.until(ctx, "joining "+n.o.Prefix, func(ctx context.Context) error {
		_, err := n.base.Create(ctx, "base", data)
		if err == nil {
			there = mine
			return nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) {
			return err
		}
		entry, err := n.base.Get(ctx, "base")
		if err != nil {
			return err
		}
		return json.Unmarshal(entry.Value(), &there)
	})
	if err == nil && there.Fingerprint != fingerprint {
		return fmt.Errorf("%w: %s has the fingerprint %s (%s, first served by node %s), this base has %s (%s); give it another prefix",
			ErrBase, n.o.Prefix, there.Fingerprint, there.Model, there.Node, fingerprint, model)
	}
	return err
}

// Name is this node's.
func (n *Node) Name() string { return n.o.Name }

// Close leaves the cluster. It may be called twice.
func (n *Node) Close() error {
	n.closer.Do(func() {
		n.stop()
		<-n.asked
		if n.conn != nil {
			n.conn.Close()
		}
		if n.server != nil {
			n.server.Shutdown()
			n.server.WaitForShutdown()
		}
		var lock io.Closer = io.NopCloser(nil)
		if n.lock != nil {
			lock = n.lock
		}
		n.err = lock.Close()
	})
	return n.err
}
