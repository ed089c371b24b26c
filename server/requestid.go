package server

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"
)

// Every answer names its request in X-Request-Id, and so do the lines of the log: what a user reports is found there.

const (
	headerProcessing = "Openai-Processing-Ms"
	// maxRequestID is the longest id that is taken from a client.
	maxRequestID = 128
	// requestIDKey is where observe leaves the id.
	requestIDKey = "request-id"
	// requestStartKey is where observe leaves the time at which the request came.
	requestStartKey = "request-start"
)

// exposedHeaders are those that a web page of another origin may read.
const exposedHeaders = fiber.HeaderRetryAfter + "," + fiber.HeaderXRequestID + "," + headerProcessing +
	",X-Ratelimit-Limit-Requests,X-Ratelimit-Remaining-Requests,X-Ratelimit-Reset-Requests" +
	",X-Ratelimit-Limit-Tokens,X-Ratelimit-Remaining-Tokens,X-Ratelimit-Reset-Tokens"

// identifyRequest gives the request its id: the client's own, where it has a usable one, or a new one.
func identifyRequest(c *fiber.Ctx, start time.Time) {
	id := c.Get(fiber.HeaderXRequestID)
	if usableID(id) {
		id = string([]byte(id)) // the header's bytes are used again
	} else {
		var b [16]byte
		_, _ = rand.Read(b[:]) // which does not fail
		id = "req_" + hex.EncodeToString(b[:])
	}
	c.Locals(requestIDKey, id)
	c.Locals(requestStartKey, start)
	c.Set(fiber.HeaderXRequestID, id)
	if isMessages(c.Path()) {
		c.Set("Request-Id", id) // where Anthropic's clients look for it
	}
}

// usableID reports whether a client's id can be written to headers and logs: visible ASCII without quotes, not too long.
func usableID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == ',' {
			return false
		}
	}
	return true
}

// requestID returns the id of a request, "" where it has none yet.
func requestID(c *fiber.Ctx) string {
	id, _ := c.Locals(requestIDKey).(string)
	return id
}

// setProcessingTime tells how many milliseconds have passed since the request came.
func setProcessingTime(c *fiber.Ctx) {
	if start, ok := c.Locals(requestStartKey).(time.Time); ok {
		c.Set(headerProcessing, strconv.FormatInt(time.Since(start).Milliseconds(), 10))
	}
}
