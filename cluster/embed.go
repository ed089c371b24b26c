package cluster

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	natsCluster   = "lorikeet" // the name that all embedded NATS servers share
	routeUser     = "lorikeet" // with the secret as its password
	startTime     = 20 * time.Second
	maxPayload    = 1 << 20 // bytes of a message
	routeAuthTime = 5       // seconds for another node to say the secret
)

// startServer runs a NATS server in this process, which only this process and the other nodes can use. It writes to the
// log alone and leaves signals to the program. as is how this process has to connect.
func startServer(o *Options) (_ *server.Server, as []nats.Option, err error) {
	e := &o.Embedded
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return nil, nil, err
	}
	// SyncAlways: a write that was acknowledged is on the disk of a majority, not only in the memory of its machines.
	so := &server.Options{ServerName: o.Name, NoSigs: true, NoLog: true, MaxPayload: maxPayload, DisableJetStreamBanner: true,
		JetStream: true, StoreDir: e.Dir, SyncAlways: true}
	if err := routes(o, so); err != nil {
		return nil, nil, err
	}
	if so.DontListen = len(so.Routes) == 0; !so.DontListen { // a server with routes listens for clients, too: for none but us
		so.Host, so.Port, so.Username, so.Password = "127.0.0.1", server.RANDOM_PORT, "lorikeet", rand.Text()
		as = append(as, nats.UserInfo(so.Username, so.Password))
	}
	s, err := server.NewServer(so)
	if err != nil {
		return nil, nil, fmt.Errorf("the NATS server in this process: %w", err)
	}
	s.SetLogger(serverLog{o.Log}, false, false)
	s.Start()
	if !s.ReadyForConnections(startTime) {
		s.Shutdown()
		return nil, nil, fmt.Errorf("the NATS server in this process does not start: it listens for other nodes on %q and keeps its files in %s; the log says more",
			e.Listen, e.Dir)
	}
	if !s.JetStreamEnabled() {
		s.Shutdown()
		return nil, nil, fmt.Errorf("the NATS server in this process cannot keep its files in %s; the log says more", filepath.Clean(e.Dir))
	}
	return s, append(as, nats.InProcessServer(s)), nil
}

// routes sets how the server reaches the other nodes.
func routes(o *Options, so *server.Options) error {
	e := &o.Embedded
	peers := e.otherPeers()
	if len(peers) == 0 {
		return nil
	}
	host, port, err := net.SplitHostPort(e.Listen)
	if err != nil {
		return err
	}
	c := &so.Cluster
	c.Name, c.Host, c.Advertise, c.NoAdvertise, c.AuthTimeout = natsCluster, host, e.Advertise, true, routeAuthTime
	if c.Port, err = strconv.Atoi(port); err != nil {
		return fmt.Errorf("%w: address %q: want a port in numbers", ErrOptions, e.Listen)
	}
	var user *url.Userinfo
	if e.Secret != "" {
		c.Username, c.Password = routeUser, e.Secret
		user = url.UserPassword(routeUser, e.Secret)
	}
	for _, p := range peers {
		so.Routes = append(so.Routes, &url.URL{Scheme: "nats", Host: p, User: user})
	}
	if o.TLSCert != "" {
		if c.TLSConfig, err = tlsOf(o); err != nil {
			return err
		}
		c.TLSTimeout = routeAuthTime
	}
	return nil
}

// tlsOf reads the certificates of a node, for both ends of the connections between nodes.
func tlsOf(o *Options) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if o.TLSCA != "" {
		text, err := os.ReadFile(o.TLSCA)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, errors.New(o.TLSCA + " has no certificate in PEM")
		}
		c.RootCAs, c.ClientCAs, c.ClientAuth = pool, pool, tls.RequireAndVerifyClientCert
	}
	return c, nil
}
