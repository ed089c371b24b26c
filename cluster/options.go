package cluster

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Options are a node's settings.
type Options struct {
	URLs     []string      // of NATS servers: nats://host:port, tls://user:password@host:port; nil: one in this process
	Embedded Embedded      // the NATS server in this process
	Name     string        // of this node, which must stay the same when it starts again
	Prefix   string        // of the buckets' names
	Replicas int           // how many nodes hold a copy of each bucket: 1, 3 or 5
	MaxBytes int64         // that the adapters of the prefix may have, on each of those nodes
	Wait     time.Duration // how long Open and Join wait for other nodes
	// Patience is how long the cluster may not answer before it counts as out of reach; 0: 20 s. Choosing another leader, when a
	// node is lost, takes up to 15 s. A write waits twice as long.
	Patience time.Duration

	Credentials string // file of NATS credentials; "": none
	TLSCert     string // files of this node's certificate and key, in PEM; "": none
	TLSKey      string
	TLSCA       string // file of the certificates that others' are signed by; "": the system's

	Log zerolog.Logger
}

// Embedded are the settings of a NATS server in this process.
type Embedded struct {
	Dir       string   // where JetStream keeps what it holds
	Listen    string   // host:port for the other nodes; "": this node is the only one
	Advertise string   // host:port under which the others reach Listen; "": Listen itself
	Peers     []string // host:port of the other nodes
	Secret    string   // that nodes know each other by; "": none
}

// ErrOptions means that Options cannot be used.
var ErrOptions = errors.New("invalid settings of the cluster")

var (
	nodeName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
)

// Check returns an ErrOptions that says what cannot be used.
func (o *Options) Check() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrOptions}, args...)...)
	}
	switch {
	case !nodeName.MatchString(o.Name):
		return refuse("node name %q: want 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit", o.Name)
	case !bucketName.MatchString(o.Prefix):
		return refuse("prefix %q: want 1 to 64 letters, digits, '_' and '-', the first a letter or digit", o.Prefix)
	case !slices.Contains([]int{1, 3, 5}, o.Replicas):
		return refuse("%d replicas: want 1, 3 or 5", o.Replicas)
	case o.MaxBytes <= 0:
		return refuse("adapters may have %d bytes: want more than 0", o.MaxBytes)
	case (o.TLSCert == "") != (o.TLSKey == ""):
		return refuse("a certificate and its key must be given together")
	case len(o.URLs) > 0:
		return nil
	}
	return o.checkEmbedded(refuse)
}

// checkEmbedded is Check of the NATS server in this process.
func (o *Options) checkEmbedded(refuse func(string, ...any) error) error {
	e := &o.Embedded
	for _, address := range append([]string{e.Listen}, e.Peers...) {
		if _, port, err := net.SplitHostPort(address); (err != nil || port == "") && (address != "" || len(e.Peers) > 0) {
			return refuse("address %q: want host:port", address)
		}
	}
	if _, port, err := net.SplitHostPort(e.Advertise); e.Advertise != "" && (err != nil || port == "") {
		return refuse("address %q: want host:port", e.Advertise)
	}
	switch peers := e.otherPeers(); {
	case o.Credentials != "":
		return refuse("credentials are for NATS servers outside of this process")
	case e.Dir == "":
		return refuse("the NATS server in this process has no folder")
	case e.Listen != "" && len(peers) == 0:
		return refuse("it listens for other nodes on %s, and none is named", e.Listen)
	case len(peers) == 1:
		return refuse("there is one other node: want none, or two or more, since a majority of two nodes is both")
	case o.Replicas > len(peers)+1:
		return refuse("%d replicas on %d nodes", o.Replicas, len(peers)+1)
	case e.Secret == "" && o.TLSCA == "" && !e.onLoopback():
		return refuse("nodes on other machines need a secret in common, or certificates")
	case o.TLSCA != "" && o.TLSCert == "":
		return refuse("nodes that know each other by certificates need one of their own")
	}
	return nil
}

// otherPeers are the other nodes, each once.
func (e *Embedded) otherPeers() []string {
	list := slices.DeleteFunc(slices.Clone(e.Peers), func(p string) bool { return p == e.Listen || p == e.Advertise })
	slices.Sort(list)
	return slices.Compact(list)
}

// onLoopback reports whether no other machine is involved.
func (e *Embedded) onLoopback() bool {
	for _, address := range append([]string{e.Listen}, e.Peers...) {
		host, _, _ := net.SplitHostPort(address)
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if address != "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}
