package program

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/cluster"
	"github.com/lorikeet-ai/lorikeet/server"
)

// EmbedCluster is the Cluster.At of a server that runs the cluster's NATS server itself.
const EmbedCluster = "embed"

// ClusterConfig is what a server is told of the cluster that it is part of.
type ClusterConfig struct {
	At          string   // EmbedCluster, or addresses of NATS servers with commas between them; "": it keeps everything to itself
	Listen      string   // host:port of this node for the others, of an embedded server
	Advertise   string   // host:port under which they reach it; "": Listen
	Peers       []string // host:port of the others
	Name        string   // of this node; "": the machine's, and the port
	Prefix      string
	Secret      string // that embedded servers know each other by
	Replicas    int    // 0: 3, or 1 where an embedded server is alone
	MaxBytes    int64  // that adapters may have, on each node that holds copies
	LocalBytes  int64  // that this node's copies of adapters may have
	Wait        time.Duration
	Credentials string // file
	TLSCert     string // files
	TLSKey      string
	TLSCA       string
}

// others says with whom adapters are shared, without passwords.
func (c *ClusterConfig) others() string {
	switch {
	case c.At != EmbedCluster:
		return "by " + regexp.MustCompile(`[^/@,]*@`).ReplaceAllString(c.At, "")
	case len(c.Peers) == 0:
		return "the only one"
	}
	return "with " + strings.Join(c.Peers, ", ")
}

// Bounds of how long a version stays in the cluster after its last name has gone: requests may still wait to load it.
const (
	leastGrace     = 15 * time.Minute
	unlimitedGrace = 24 * time.Hour // where requests have no deadline
)

// CheckCluster returns why the cluster's settings cannot be used.
func (c *Config) CheckCluster() error {
	if c.Cluster.At == "" {
		return nil
	}
	o := c.clusterOptions(zerolog.Nop())
	return o.Check()
}

// clusterOptions are the settings as package cluster has them.
func (c *Config) clusterOptions(log zerolog.Logger) cluster.Options {
	x := &c.Cluster
	o := cluster.Options{Name: c.nodeName(), Prefix: x.Prefix, Replicas: x.Replicas, MaxBytes: x.MaxBytes, Wait: x.Wait,
		Credentials: x.Credentials, TLSCert: x.TLSCert, TLSKey: x.TLSKey, TLSCA: x.TLSCA, Log: log}
	if x.At == EmbedCluster {
		o.Embedded = cluster.Embedded{Dir: c.clusterDir("jetstream"), Listen: x.Listen, Advertise: x.Advertise, Peers: x.Peers, Secret: x.Secret}
	} else {
		for address := range strings.SplitSeq(x.At, ",") {
			if address = strings.TrimSpace(address); !strings.Contains(address, "://") {
				address = "nats://" + address
			}
			o.URLs = append(o.URLs, address)
		}
	}
	if o.Replicas == 0 {
		if o.Replicas = 3; x.At == EmbedCluster && len(x.Peers) == 0 {
			o.Replicas = 1
		}
	}
	return o
}

// nodeName is the name that was given, or one that stays the same from start to start.
func (c *Config) nodeName() string {
	if c.Cluster.Name != "" {
		return c.Cluster.Name
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "node"
	}
	address := c.Listen
	if c.Cluster.Listen != "" {
		address = c.Cluster.Listen
	}
	if _, port, err := net.SplitHostPort(address); err == nil {
		name += "-" + port
	}
	return strings.TrimLeft(regexp.MustCompile(`[^A-Za-z0-9._-]`).ReplaceAllString(name, "-"), "._-")
}

func (c *Config) clusterDir(part string) string { return filepath.Join(c.Data, "cluster", part) }

// openCluster joins the other nodes, before minutes go into loading a model.
func (p *Program) openCluster() (err error) {
	if p.config.Cluster.At == "" {
		return nil
	}
	p.closeData()
	if p.node, err = cluster.Open(p.starting, p.config.clusterOptions(p.log)); err != nil {
		return fmt.Errorf("--cluster: %w", err)
	}
	p.onClose(p.node.Close)
	return nil
}

// clusterStorage returns where the adapters of the cluster are; nil without a cluster.
func (p *Program) clusterStorage() (adapters.Storage, error) {
	if p.node == nil {
		return nil, nil
	}
	f := p.model.Facts()
	if err := p.node.Join(p.starting, f.Fingerprint, p.name()); err != nil {
		return nil, fmt.Errorf("--cluster-prefix: %w", err)
	}
	grace := max(leastGrace, p.config.Deadline+5*time.Minute)
	if p.config.Deadline == 0 {
		grace = unlimitedGrace
	}
	var err error
	p.shared, err = p.node.Adapters(p.starting, cluster.AdapterOptions{Dir: p.config.clusterDir("versions"), LocalBytes: p.config.Cluster.LocalBytes, Grace: grace})
	if err != nil {
		return nil, fmt.Errorf("--cluster: %w", err)
	}
	if left, err := os.ReadDir(filepath.Join(p.config.Data, "names")); err == nil && len(left) > 0 {
		p.log.Warn().Int("adapters", len(left)).Str("data", p.config.Data).
			Msg("adapters that were stored in --data before are not served in the cluster: export them from a server without --cluster, and upload them")
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return p.shared, nil
}

// clusterState is what the server asks; nil without a cluster.
func (p *Program) clusterState() func() server.ClusterState {
	if p.node == nil {
		return nil
	}
	return func() server.ClusterState {
		s := p.shared.Stats()
		return server.ClusterState{Err: p.node.Err(), Copies: s.Local, CopyBytes: s.LocalBytes, CopyBudget: s.LocalBudget, Fetches: s.Fetches,
			FetchFailures: s.Failures, FetchedBytes: s.FetchedBytes, FetchSeconds: s.FetchSeconds, Conflicts: s.Conflicts}
	}
}
