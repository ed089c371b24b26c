package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/storetest"
)

// link carries connections to a node, and can be cut.
type link struct {
	net.Listener
	to string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func newLink(t testing.TB, to string) *link {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{Listener: ln, to: to}
	t.Cleanup(func() { l.Close(); l.set(true) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go l.carry(c)
		}
	}()
	return l
}

func (l *link) carry(c net.Conn) {
	far, err := net.Dial("tcp", l.to)
	l.mu.Lock()
	if err != nil || l.cut {
		c.Close()
		if err == nil {
			far.Close()
		}
		l.mu.Unlock()
		return
	}
	l.conns = append(l.conns, c, far)
	l.mu.Unlock()
	go func() { _, _ = io.Copy(far, c); far.Close() }() // the other end sees that it ended
	_, _ = io.Copy(c, far)
	c.Close()
}

// set cuts the link, or lets it carry again.
func (l *link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if cut {
		for _, c := range l.conns {
			c.Close()
		}
		l.conns = nil
	}
}

// A node that is cut off the network goes on serving what it has and stores nothing; when the network is back it has what the
// others did meanwhile, without a restart.
func TestNodeThatIsCutOff(t *testing.T) {
	t.Parallel()
	options := trio(t)
	options[2].Patience = 6 * time.Second
	ports := []string{options[0].Embedded.Listen, options[1].Embedded.Listen, options[2].Embedded.Listen}
	var links []*link
	through := func(to string) string {
		l := newLink(t, to)
		links = append(links, l)
		return l.Addr().String()
	}
	for i := range options { // nodes tell each other where the others are
		options[i].Embedded.Advertise = through(ports[i])
	}
	options[0].Embedded.Peers = []string{ports[1], options[2].Embedded.Advertise}
	options[1].Embedded.Peers = []string{ports[0], options[2].Embedded.Advertise}
	options[2].Embedded.Peers = []string{options[0].Embedded.Advertise, options[1].Embedded.Advertise}
	nodes := openAll(t, options...)
	var stores []*adapters.Store
	for _, n := range nodes {
		s, _ := storeOf(t, n, "")
		stores = append(stores, s)
	}
	points := func(s *adapters.Store, name, digest string) func() bool {
		return func() bool {
			info, err := s.Get(adapters.Ref{Name: name})
			return err == nil && info.Digest == digest
		}
	}
	before := storetest.Put(t, stores[0], "a", 1)
	storetest.Eventually(t, "the node is told", points(stores[2], "a", before.Digest))
	storetest.Loads(t, stores[2], "a", before.Digest)
	for _, l := range links {
		l.set(true)
	}
	while := storetest.Put(t, stores[0], "a", 2)
	storetest.Eventually(t, "the others go on", points(stores[1], "a", while.Digest))
	storetest.Eventually(t, "the node says that it is cut off", func() bool { return nodes[2].Err() != nil })
	storetest.Loads(t, stores[2], "a", before.Digest)
	if _, err := stores[2].PutUpload(t.Context(), "b", storetest.Parts(t, 3), adapters.Note{}); !errors.Is(err, adapters.ErrUnavailable) {
		t.Errorf("cut off, it stores: %v", err)
	}
	for _, l := range links {
		l.set(false)
	}
	storetest.Eventually(t, "the node has what the others did", points(stores[2], "a", while.Digest))
	storetest.Eventually(t, "the node says that it is back", func() bool { return nodes[2].Err() == nil })
	storetest.Eventually(t, "the node reads what the others stored", func() bool { // each stream chooses its leader for itself
		_, _, err := stores[2].Load(adapters.Ref{Name: "a"})
		return !errors.Is(err, adapters.ErrUnavailable)
	})
	storetest.Loads(t, stores[2], "a", while.Digest)
	after := storetest.Put(t, stores[2], "a", 4)
	storetest.Eventually(t, "the others have what it puts", points(stores[0], "a", after.Digest))
	if list, err := stores[0].Versions("a"); err != nil || len(list) != 3 {
		t.Errorf("the versions are %v, %v", list, err)
	}
}

// NATS servers outside of this process are used with what the address says of the user; others are refused soon.
func TestServersOutside(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, Username: "u", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("no server")
	}
	o := single(t)
	o.Embedded = Embedded{}
	o.URLs = []string{"nats://u:p@" + s.Addr().String()}
	n := open(t, o)
	store, _ := storeOf(t, n, "")
	info := storetest.Put(t, store, "a", 1)
	other, _ := storeOf(t, n, "")
	storetest.Loads(t, other, "a", info.Digest)

	o.Replicas = 3
	o.Prefix = "three"
	if _, err := Open(t.Context(), o); err == nil || errors.Is(err, adapters.ErrUnavailable) {
		t.Errorf("three copies on one server: %v", err)
	}
	o.URLs = []string{"nats://u:wrong@" + s.Addr().String()}
	if _, err := Open(t.Context(), o); err == nil || errors.Is(err, adapters.ErrUnavailable) {
		t.Errorf("a wrong password: %v", err)
	}
}

// certificates writes a certificate of loopback that is signed by itself, and its key.
func certificates(t testing.TB) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nodes"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// Nodes know each other by certificates, or by the secret: two with the right ones are a majority, and the third is left out.
func TestStrangersAreLeftOut(t *testing.T) {
	for name, strange := range map[string]func(*Options){
		"another secret":      func(o *Options) { o.Embedded.Secret = "another" },
		"another certificate": func(o *Options) { o.TLSCert, o.TLSKey = certificates(t); o.TLSCA = o.TLSCert },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := trio(t)
			cert, key := certificates(t)
			for i := range options {
				options[i].TLSCert, options[i].TLSKey, options[i].TLSCA = cert, key, cert
			}
			nodes := openAll(t, options...) // the first start takes all three
			s, _ := storeOf(t, nodes[0], "")
			info := storetest.Put(t, s, "a", 1)
			nodes[2].Close()
			strange(&options[2])
			options[2].Wait = 5 * time.Second
			if stranger, err := Open(t.Context(), options[2]); !errors.Is(err, adapters.ErrUnavailable) {
				t.Errorf("a stranger joins: %v", err)
				if stranger != nil {
					stranger.Close()
				}
			}
			other, _ := storeOf(t, nodes[1], "")
			storetest.Loads(t, other, "a", info.Digest)
		})
	}
}
