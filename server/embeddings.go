package server

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

const (
	// maxInputs bounds the texts of one request for embeddings, as OpenAI does.
	maxInputs = 2048
	// maxNumbers bounds the numbers of one answer, and with them its memory.
	maxNumbers = 4 << 20
	// maxConcurrentInputs is how many texts of one request the engine has at once.
	maxConcurrentInputs = 16
	// vectorMemory is how many bytes of answers may be made at once.
	vectorMemory = 128 << 20
)

// embedding is a checked request for embeddings.
type embedding struct {
	inputs     []prompt
	model      *model
	record     *requestRecord // nil where none is kept
	dimensions int            // numbers of each embedding
	base64     bool
}

// CreateEmbedding makes embeddings of texts: what the last layer makes of their tokens, pooled and brought to length 1.
func (s *Server) CreateEmbedding(c *fiber.Ctx) error {
	body, done, err := s.readBody(c, s.maxBody)
	if err != nil {
		return err
	}
	who := callerOf(c)
	e, err := s.embeddingRequest(who, body)
	done()
	if err != nil {
		return err
	}
	defer e.model.release()
	e.record = recordOf(c)
	ctx, stop := watch(c.Context().Conn())
	defer stop()
	out, err := s.embed(ctx, who, e)
	if errors.Is(err, runtime.ErrContextLength) {
		err = withParam("input", err)
	}
	if err != nil {
		return cause(ctx, err)
	}
	return sendJSON(c, http.StatusOK, out)
}

// embeddingRequest decodes and checks a request, up to the tokens of its texts.
func (s *Server) embeddingRequest(who caller, body []byte) (*embedding, error) {
	var req openapi.EmbeddingRequest
	if err := decodeJSON(body, &req); err != nil {
		return nil, err
	}
	return s.checkEmbedding(who, &req, false)
}

// checkEmbedding checks a request, up to the tokens of its texts. cut says that those longer than the context are cut.
func (s *Server) checkEmbedding(who caller, req *openapi.EmbeddingRequest, cut bool) (*embedding, error) {
	width := s.model.Facts().Embedding
	var check checker
	e := &embedding{dimensions: check.integer("dimensions", req.Dimensions, width, 1, width)}
	switch format := text(req.EncodingFormat); format {
	case "", "float":
	case "base64":
		e.base64 = true
	default:
		check.refuse(codeValue, "encoding_format", "is %q, it must be float or base64", format)
	}
	if check.err != nil {
		return nil, check.err
	}
	var err error
	if e.inputs, err = s.prompts(req.Input, promptField{"input", min(maxInputs, maxNumbers/e.dimensions), s.embeddedText, cut}); err != nil {
		return nil, err
	}
	e.model, err = s.choose(who, &openapi.GenerationParameters{Model: req.Model, Adapter: req.Adapter, Lora: req.Lora, LoraPath: req.LoraPath})
	return e, err
}

// embeddedText returns the tokens of a text, with what the model puts around every text: BOS, EOS, or neither.
func (s *Server) embeddedText(text string) ([]runtime.Token, error) {
	bos := s.model.Facts().BOSText
	return s.model.Tokenize(text, bos == "" || !strings.HasPrefix(text, bos), true)
}

// embed computes the embeddings, some at once and in their order.
func (s *Server) embed(ctx context.Context, who caller, e *embedding) (*openapi.EmbeddingList, error) {
	give, err := s.vectors.take(e.answerBytes())
	if err != nil {
		return nil, err
	}
	defer give()
	leave, err := admitAnswers(who, min(len(e.inputs), maxConcurrentInputs))
	if err != nil {
		return nil, err
	}
	var streams []*runtime.Stream
	defer func() {
		for _, stream := range streams {
			_ = stream.Close() // it returns no error that matters here
		}
		leave(streams)
		e.keep(streams)
	}()
	out := &openapi.EmbeddingList{
		Id: newID("embd-"), Object: "list", Model: e.model.name, Adapter: &e.model.label, Data: make([]openapi.Embedding, 0, len(e.inputs)),
	}
	for len(out.Data) < len(e.inputs) {
		for len(streams) < len(e.inputs) && len(streams)-len(out.Data) < maxConcurrentInputs {
			stream, err := s.submitEmbedding(ctx, who, e, e.inputs[len(streams)])
			if errors.Is(err, runtime.ErrQueueFull) && len(streams) > len(out.Data) {
				break // there is room again when one of these has ended
			}
			if err != nil {
				return nil, err
			}
			streams = append(streams, stream)
		}
		i := len(out.Data)
		vector, err := readEmbedding(ctx, streams[i])
		if err != nil {
			return nil, err
		}
		out.Data = append(out.Data, openapi.Embedding{Object: "embedding", Index: i, Embedding: e.encode(vector)})
		out.Usage.PromptTokens += streams[i].Usage().Prompt
	}
	out.Usage.TotalTokens = out.Usage.PromptTokens
	return out, nil
}

// keep notes what the streams have used in the request's record.
func (e *embedding) keep(streams []*runtime.Stream) {
	e.record.count(streams, 1)
	if e.record != nil && e.model.selection != nil {
		e.record.flow = e.model.selection.Flow()
	}
}

// answerBytes is about how much memory the answer takes: the text of each embedding, and all of them in one body.
func (e *embedding) answerBytes() int64 {
	const float, base64 = 12, 6 // bytes of a number's text
	number := float
	if e.base64 {
		number = base64
	}
	return 2 * int64(len(e.inputs)) * int64(e.dimensions) * int64(number)
}

// submitEmbedding hands a text to the engine.
func (s *Server) submitEmbedding(ctx context.Context, who caller, e *embedding, p prompt) (*runtime.Stream, error) {
	s.submitting.RLock()
	defer s.submitting.RUnlock()
	if s.draining.Load() {
		return nil, errDraining()
	}
	r := who.request()
	r.Prompt, r.Pooling, r.NoReuse = p.tokens, s.pooling, true
	if e.model.selection != nil {
		r.Adapters = e.model.selection
	}
	return s.engine.Submit(ctx, r)
}

// readEmbedding waits for the embedding of a stream.
func readEmbedding(ctx context.Context, s *runtime.Stream) (vector []float32, err error) {
	for {
		ev, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			return vector, nil
		}
		if err != nil {
			return nil, err
		}
		vector = ev.Embedding
	}
}

// encode cuts an embedding to the dimensions that are asked for, brings it to length 1 and writes it.
func (e *embedding) encode(vector []float32) json.RawMessage {
	vector = vector[:e.dimensions]
	square := 0.0
	for _, v := range vector {
		square += float64(v) * float64(v)
	}
	scale := 1.0
	if square > 0 {
		scale = 1 / math.Sqrt(square)
	}
	if e.base64 {
		raw := make([]byte, 0, 4*len(vector))
		for _, v := range vector {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(float64(v)*scale)))
		}
		b := make([]byte, 1, 2+base64.StdEncoding.EncodedLen(len(raw)))
		b[0] = '"'
		return append(base64.StdEncoding.AppendEncode(b, raw), '"')
	}
	b := []byte{'['}
	for i, v := range vector {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(float32(float64(v)*scale)), 'g', -1, 32)
	}
	return append(b, ']')
}
