package program

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// certificateCheck is how long a certificate is used before its files are looked at again.
const certificateCheck = 10 * time.Second

// certificate is a TLS certificate that is read again when its files change. Its methods may be called from any
// goroutine.
type certificate struct {
	certFile, keyFile string
	log               zerolog.Logger
	now               func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	changed [2]time.Time // modification times of the files that current was read from
	checked time.Time
}

// newCertificate reads a certificate. Its errors name the flag at fault.
func newCertificate(certFile, keyFile string, log zerolog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, now: time.Now}
	changed, err := c.times()
	if err != nil {
		return nil, err
	}
	if err := c.read(changed); err != nil {
		return nil, err
	}
	return c, nil
}

// listen returns ln with TLS, versions 1.2 and 1.3.
func (c *certificate) listen(ln net.Listener) net.Listener {
	return tls.NewListener(ln, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(), nil },
	})
}

// get returns the certificate as its files are now. Where they cannot be read, or do not fit together as while they are
// being replaced, the last one that could be read stays in use.
func (c *certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.checked) >= certificateCheck {
		c.checked = now
		changed, err := c.times()
		if err == nil && changed != c.changed {
			if err = c.read(changed); err == nil {
				c.log.Info().Str("file", c.certFile).Msg("the TLS certificate was read again")
			}
		}
		if err != nil {
			c.log.Error().Err(err).Msg("the TLS certificate cannot be read again; the last one stays in use")
		}
	}
	return c.current
}

// times returns when the files were changed.
func (c *certificate) times() (changed [2]time.Time, err error) {
	for i, f := range []struct{ flag, path string }{{"--tls-cert", c.certFile}, {"--tls-key", c.keyFile}} {
		info, err := os.Stat(f.path)
		if err != nil {
			return changed, fmt.Errorf("%s: %w", f.flag, err)
		}
		changed[i] = info.ModTime()
	}
	return changed, nil
}

func (c *certificate) read(changed [2]time.Time) error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("--tls-cert %s, --tls-key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current, c.changed = &pair, changed
	return nil
}
