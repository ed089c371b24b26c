package server

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// fasthttp does not tell a handler that its client has disconnected, and it does not read from the connection while the
// handler runs. So the server reads meanwhile: a watcher that reads the end of the connection cancels the request, and
// bytes of a following request that it reads are handed to fasthttp afterwards. This needs no further system calls and
// works for every net.Conn. A client that shuts down only its writing side counts as disconnected, as in net/http.

const (
	// maxUnread is how many bytes of following requests a watcher keeps; a client that sends more while it
	// waits for an answer is no longer watched.
	maxUnread = 64 << 10
	// writeTimeout is how long a write may take before the client counts as disconnected.
	writeTimeout = 30 * time.Second
)

// listener makes the connections that it accepts watchable.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// conn is a connection that can be watched while no handler reads from it. Read and watch are never under way at
// the same time: fasthttp reads before a handler and after the answer, a watcher between the two.
type conn struct {
	net.Conn
	unread []byte // what a watcher read
}

// Read returns what a watcher has read before it reads itself.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// Write fails where the client has not read for the time of writeTimeout.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// watch returns a context that ends with errClientGone as its cause when the client disconnects. stop ends the watch and
// the context; it must be called before anyone reads from the connection again, and may be called twice.
func (c *conn) watch() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	_ = c.Conn.SetReadDeadline(time.Time{}) // a connection without deadlines fails in Read too
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 256)
		for len(c.unread) < maxUnread {
			n, err := c.Conn.Read(buf)
			c.unread = append(c.unread, buf[:n]...)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return // stopped
			}
			if err != nil {
				cancel(errClientGone)
				return
			}
		}
	}()
	return ctx, sync.OnceFunc(func() {
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
		<-done
		_ = c.Conn.SetReadDeadline(time.Time{})
		cancel(context.Canceled)
	})
}

// watch watches the connection of a request whose body has been read. On a connection that is not the
// server's own (Fiber's in-memory tests) the context ends with stop alone.
func watch(c net.Conn) (ctx context.Context, stop func()) {
	if own, ok := c.(*conn); ok {
		return own.watch()
	}
	return context.WithCancel(context.Background())
}
