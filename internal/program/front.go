package program

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// A port is taken before a model is fetched, converted and loaded, so that one that is not free is noticed at once. Until
// the model is loaded, requests are answered 503.

// front is a listening socket whose connections are answered 503 until take.
type front struct {
	*net.TCPListener
	ended chan struct{} // closed when no further connection is answered
}

// Bounds of the answers meanwhile.
const (
	frontRequest = 8 << 20 // bytes of a request that are read before the answer
	frontTime    = 5 * time.Second
	frontAtOnce  = 64 // connections; further ones are closed
)

// openFront listens on a TCP address.
func openFront(address string) (*front, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	f := &front{TCPListener: ln.(*net.TCPListener), ended: make(chan struct{})}
	return f, nil
}

// answer answers the connections of ln, which is f or TLS on top of it, until take or Close.
func (f *front) answer(ln net.Listener) {
	go func() {
		defer close(f.ended)
		places := make(chan struct{}, frontAtOnce)
		for {
			c, err := ln.Accept()
			if err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
					return
				}
				time.Sleep(10 * time.Millisecond) // too many open files, for one
				continue
			}
			select {
			case places <- struct{}{}:
			default:
				c.Close()
				continue
			}
			go func() {
				defer func() { <-places }()
				unavailable(c)
			}()
		}
	}()
}

// take ends answer, after which somebody else may accept connections.
func (f *front) take() error {
	if err := f.SetDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	<-f.ended
	return f.SetDeadline(time.Time{})
}

const loading = "the model is being loaded"

// loadingError is that error in the shape of the API that has a path.
func loadingError(path string) string {
	switch {
	case path == "/v1/messages" || strings.HasPrefix(path, "/v1/messages/"):
		return `{"type":"error","error":{"type":"overloaded_error","message":"` + loading + `"}}`
	case strings.HasPrefix(path, "/api/"):
		return `{"error":"` + loading + `"}`
	}
	return `{"error":{"message":"` + loading + `","type":"server_error","param":null,"code":"loading"}}`
}

// unavailable reads the header of one request and answers it 503.
func unavailable(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(frontTime)) // where this fails, so does reading
	r := bufio.NewReader(io.LimitReader(c, frontRequest))
	length, path := int64(0), ""
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if words := strings.Fields(line); path == "" && len(words) > 1 {
			path, _, _ = strings.Cut(words[1], "?")
		}
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Content-Length") {
			length, _ = strconv.ParseInt(strings.TrimSpace(value), 10, 64) // 0 where it is no number
		}
		if line == "\r\n" || line == "\n" {
			break
		}
	}
	_, _ = io.CopyN(io.Discard, r, max(0, length)) // a client that still writes may miss the answer
	body := loadingError(path)
	_, _ = fmt.Fprintf(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s",
		len(body), body) // a client that is gone needs no answer
	if tcp, ok := c.(interface{ CloseWrite() error }); ok {
		_ = tcp.CloseWrite()
		_, _ = io.Copy(io.Discard, r) // a body that is not read would reset the connection before the answer is read
	}
}
