package server

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/klauspost/compress/zstd"
)

// Bodies may come compressed by gzip or zstd. What they decompress to is bounded as other bodies are, and takes its share
// of the same budget; a body that goes on and on is refused where it passes the bound, however little of it was sent.

// maxWindow is the largest window of a zstd frame: what RFC 9659 allows in HTTP.
const maxWindow = 8 << 20

// errWindow says that a zstd frame needs more memory to be decompressed than it may.
var errWindow = errors.New("a frame has a larger window than 8 MiB")

// contentEncoding returns how a body is compressed: gzip, zstd, or "" for not at all.
func contentEncoding(c *fiber.Ctx) (string, error) {
	switch e := strings.ToLower(strings.TrimSpace(c.Get(fiber.HeaderContentEncoding))); e {
	case "", "identity":
		return "", nil
	case "gzip", "x-gzip":
		return "gzip", nil
	case "zstd":
		return e, nil
	default:
		return "", &refusal{
			status: http.StatusBadRequest, code: codeUnsupported,
			message: fmt.Sprintf("a body with Content-Encoding %q is not read, gzip and zstd are", e),
		}
	}
}

// readEncoded is readBody of a compressed body. stream has its bytes as they were sent.
func (s *Server) readEncoded(c *fiber.Ctx, stream io.Reader, encoding string, limit int64) (body []byte, done func(), err error) {
	done = func() {}
	sent := &boundedReader{r: stream, left: limit}
	plain, window, err := decompress(sent, encoding)
	if err != nil {
		return nil, done, refuseEncoded(c, stream, encoding, limit, err)
	}
	defer plain.Close()
	share := int64(smallBody) // a small body takes nothing of the budget, as long as its window is small too
	if window > smallBody {
		share = limit
	}
	for {
		var give func()
		if give, err = s.bodies.take(share); err != nil {
			discard(c, stream, limit, bodyTime)
			return nil, done, err
		}
		var more []byte
		more, err = readAtMost(plain, min(share, limit)-int64(len(body)), 0)
		body = append(body, more...)
		if errors.Is(err, errTooLong) && share < limit {
			share = limit // it has turned out to be large; the small share was nothing to give back
			if conn := c.Context().Conn(); conn != nil {
				_ = conn.SetReadDeadline(time.Now().Add(bodyTime + time.Duration(limit/bodyRate)*time.Second)) // as for other large bodies
			}
			continue
		}
		if err == nil {
			return body, give, nil
		}
		give()
		return nil, done, refuseEncoded(c, stream, encoding, limit, err)
	}
}

// decompress returns what an encoded body decompresses to, and the bytes of memory that this looks back on.
func decompress(r io.Reader, encoding string) (plain io.ReadCloser, window int64, err error) {
	if encoding == "gzip" {
		z, err := gzip.NewReader(r)
		return z, 0, err
	}
	b := bufio.NewReaderSize(r, 4<<10)
	start, err := b.Peek(zstd.HeaderMaxSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	var head zstd.Header
	if err := head.Decode(start); err != nil {
		return nil, 0, err
	}
	need := max(head.WindowSize, zstd.MinWindowSize)
	if head.Skippable { // the frames with the content come later
		need = maxWindow
	}
	if need > maxWindow {
		return nil, 0, errWindow
	}
	z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(need), zstd.WithDecoderMaxMemory(uint64(maxWindow)<<1)) // further frames have no larger window
	if err != nil {
		return nil, 0, err
	}
	return z.IOReadCloser(), int64(need), nil
}

// refuseEncoded returns what is said about a compressed body that was not read to its end.
func refuseEncoded(c *fiber.Ctx, stream io.Reader, encoding string, limit int64, err error) error {
	if errors.Is(err, errTooLong) {
		return tooLarge(c, stream, limit)
	}
	discard(c, stream, maxDrain, drainTime)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // of an empty body
	}
	return &refusal{
		status: http.StatusBadRequest, code: "invalid_encoding",
		message: fmt.Sprintf("the body cannot be decompressed by its Content-Encoding %s: %v", encoding, err),
	}
}

// boundedReader returns errTooLong beyond so many bytes.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		n, err := b.r.Read(make([]byte, 1))
		if n > 0 {
			err = errTooLong
		}
		return 0, err
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
