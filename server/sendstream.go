package server

import (
	"bufio"
	"bytes"
	"net"

	"github.com/gofiber/fiber/v2"
)

const eventStream = "text/event-stream; charset=utf-8"

// sendStream answers with what write writes, as it is written: it runs after the handler has returned. A client of
// HTTP/1.1 gets it in chunks. One of HTTP/1.0, such as nginx by default, does not know chunks: the end of the connection
// ends its answer.
func sendStream(c *fiber.Ctx, contentType string, write func(*bufio.Writer)) {
	c.Set(fiber.HeaderContentType, contentType)
	c.Set(fiber.HeaderCacheControl, "no-cache")
	c.Set("X-Accel-Buffering", "no")
	ctx := c.Context()
	if ctx.Request.Header.IsHTTP11() {
		ctx.SetBodyStreamWriter(write)
		return
	}
	setProcessingTime(c)
	c.Set(fiber.HeaderConnection, "close")
	head := bytes.Clone(ctx.Response.Header.Header())
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(conn net.Conn) { // closed afterwards
		w := bufio.NewWriter(conn)
		if _, err := w.Write(head); err == nil {
			write(w)
		}
		_ = w.Flush() // a client that has gone reads nothing
	})
}
