package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/lorikeet-ai/lorikeet/internal/program"
)

// clusterPrefix begins the names of all flags of the cluster but --cluster itself.
const clusterPrefix = "cluster-"

// bindCluster declares the flags of a server that shares its adapters with others.
func (c *serveFlags) bindCluster(flags *pflag.FlagSet) {
	x := &c.Cluster
	flags.StringVar(&x.At, "cluster", "", "share adapters with other servers of the same base: embed, which runs a NATS server with JetStream in this process, or nats://host1,host2 of NATS servers (tls:// with TLS, user:password@ before the host)")
	flags.StringVar(&x.Listen, "cluster-listen", "", "address on which the embedded NATS server talks with the other nodes; empty: this node is the only one")
	flags.StringVar(&x.Advertise, "cluster-advertise", "", "host:port under which the other nodes reach --cluster-listen, where that is another, as behind an address translation; empty: the same")
	flags.StringArrayVar(&x.Peers, "cluster-peers", nil, "host:port of the other nodes' --cluster-listen, with commas between them; a node's own is left out; repeatable")
	flags.StringVar(&x.Name, "cluster-name", "", "name of this node, which no other has and which stays the same; empty: the machine's name and the port of --cluster-listen")
	flags.StringVar(&x.Prefix, "cluster-prefix", "lorikeet", "what the names of the cluster's buckets begin with; every base needs its own")
	flags.StringVar(&x.Secret, "cluster-secret", "", "secret that the embedded NATS servers know each other by; needed where they are on several machines, unless --cluster-tls-ca is given")
	flags.IntVar(&x.Replicas, "cluster-replicas", 0, "nodes that hold a copy of everything: 1, 3 or 5; 0: 3, or 1 where an embedded NATS server is alone")
	sizeFlag(flags, (*size)(&x.MaxBytes), "cluster-max-data", 8<<30, "space that the cluster's adapters may take on each node that holds copies; of nodes that say different numbers the largest counts")
	sizeFlag(flags, (*size)(&x.LocalBytes), "cluster-local-data", 16<<30, "space in --data for files of the cluster's adapters that this node has loaded; those not used for the longest time are removed")
	secondsFlag(flags, (*seconds)(&x.Wait), "cluster-wait", time.Minute, "how long a starting server waits for the other nodes")
	flags.StringVar(&x.Credentials, "cluster-creds", "", "file of NATS credentials (.creds) for the servers of --cluster")
	flags.StringVar(&x.TLSCert, "cluster-tls-cert", "", "file of this node's TLS certificate for the cluster, in PEM")
	flags.StringVar(&x.TLSKey, "cluster-tls-key", "", "file of the private key of --cluster-tls-cert, in PEM")
	flags.StringVar(&x.TLSCA, "cluster-tls-ca", "", "file of the certificates that those of the cluster's servers are signed by, in PEM; embedded NATS servers then ask each other for certificates")
}

// checkCluster completes the flags of the cluster and returns an error that names the one at fault.
func (c *serveFlags) checkCluster(flags *pflag.FlagSet) error {
	x := &c.Cluster
	var unused error
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Changed {
			return
		}
		if x.At == "" && strings.HasPrefix(f.Name, clusterPrefix) && unused == nil {
			unused = fmt.Errorf("%w: --%s is given without --cluster", errUsage, f.Name)
		}
		embedded := f.Name == "cluster-listen" || f.Name == "cluster-advertise" || f.Name == "cluster-peers" || f.Name == "cluster-secret"
		if x.At != "" && x.At != program.EmbedCluster && embedded && unused == nil {
			unused = fmt.Errorf("%w: --%s is for --cluster embed", errUsage, f.Name)
		}
	})
	if unused != nil || x.At == "" {
		return unused
	}
	var peers []string
	for _, list := range x.Peers {
		for p := range strings.SplitSeq(list, ",") {
			if p = strings.TrimSpace(p); p != "" {
				peers = append(peers, p)
			}
		}
	}
	x.Peers = peers
	switch {
	case len(c.AdapterDirs) > 0:
		return fmt.Errorf("%w: --adapter-dir with --cluster: folders of several nodes would contradict each other about the same names; upload the adapters to one node", errUsage)
	case x.LocalBytes <= 0:
		return fmt.Errorf("%w: --cluster-local-data is 0: no adapter could be loaded", errUsage)
	case x.Wait <= 0:
		return fmt.Errorf("%w: --cluster-wait is 0: the other nodes could not be waited for", errUsage)
	}
	for _, f := range []struct{ flag, path string }{{"cluster-creds", x.Credentials}, {"cluster-tls-cert", x.TLSCert}, {"cluster-tls-key", x.TLSKey}, {"cluster-tls-ca", x.TLSCA}} {
		if f.path == "" {
			continue
		}
		if err := mustBe(f.path, false); err != nil {
			return fmt.Errorf("%w: --%s: %w", errUsage, f.flag, err)
		}
	}
	if err := c.CheckCluster(); err != nil {
		return fmt.Errorf("%w: --cluster: %w", errUsage, err)
	}
	return nil
}
