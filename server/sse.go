package server

import (
	"strconv"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// sse is what all forms have in common that write server-sent events.
type sse struct{}

func (sse) contentType() string { return "text/event-stream; charset=utf-8" }

func (sse) wait(b []byte) []byte { return append(b, ": waiting\n\n"...) }

func (sse) fail(b []byte, e openapi.Error) []byte {
	return appendEvent(b, "", openapi.ErrorResponse{Error: e})
}

// appendEvent appends an event with its name, which may be "", and its data as JSON.
func appendEvent(b []byte, name string, data any) []byte {
	if name != "" {
		b = append(append(append(b, "event: "...), name...), '\n')
	}
	return append(appendJSON(append(b, "data: "...), data), '\n', '\n')
}

// chunks writes the events of OpenAI's two completion endpoints, each of which has some choices of the answer.
type chunks struct {
	sse
	object string // the object field of a chunk
	head   []byte // of every chunk, up to its choices
	tail   string // of every chunk but the last
}

// begin prepares what is the same in all chunks.
func (c *chunks) begin(b []byte, r *reply) []byte {
	h := append([]byte(`data: {"id":`), jsonvalue.AppendString(nil, r.id)...)
	h = append(append(h, `,"object":`...), jsonvalue.AppendString(nil, c.object)...)
	h = strconv.AppendInt(append(h, `,"created":`...), r.created, 10)
	h = jsonvalue.AppendString(append(h, `,"model":`...), r.model.name)
	h = jsonvalue.AppendString(append(h, `,"system_fingerprint":`...), r.fingerprint)
	h = append(append(h, `,"adapter":`...), r.model.label...)
	h = append(h, `,"choices":[`...)
	c.head, c.tail = h, "]}\n\n"
	if r.includeUsage {
		c.tail = `],"usage":null}` + "\n\n"
	}
	return b
}

// chunk appends the beginning of a chunk and of its only choice, which the caller completes and ends with c.tail.
func (c *chunks) chunk(b []byte, i int) []byte {
	return strconv.AppendInt(append(append(b, c.head...), `{"index":`...), int64(i), 10)
}

// finish appends the chunk with the usage and no choices, where it is asked for, and the end of the stream.
func (c *chunks) finish(b []byte, r *reply) []byte {
	if r.includeUsage {
		b = append(b, c.head...)
		b = appendJSON(append(b, `],"usage":`...), r.usage())
		b = appendJSON(append(b, `,"timings":`...), r.timings())
		b = append(b, "}\n\n"...)
	}
	return append(b, "data: [DONE]\n\n"...)
}
