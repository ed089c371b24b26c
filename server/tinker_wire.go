package server

import (
	"encoding/binary"
	"math"
	"net/http"
	"unsafe"

	"github.com/gofiber/fiber/v2"
	"google.golang.org/protobuf/proto"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/tinker"
	"github.com/lorikeet-ai/lorikeet/tinker/wire"
)

// mimeProtobuf is the content type of protobuf bodies.
const mimeProtobuf = "application/x-protobuf"

// codeProtobuf says that a body is not the message that it should be.
const codeProtobuf = "invalid_protobuf"

// sendWire answers with a protobuf message.
func sendWire(c *fiber.Ctx, m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	c.Context().SetContentType(mimeProtobuf)
	c.Context().Response.SetBodyRaw(b)
	return nil
}

// readForwardBackward reads the body of forward_backward. Nothing of it is kept.
func readForwardBackward(body []byte) (model string, seq int64, r *tinker.ForwardBackward, err error) {
	var m wire.ForwardBackwardRequest
	if err := boundWire(body, &m); err != nil {
		return "", 0, nil, err
	}
	if err := proto.Unmarshal(body, &m); err != nil {
		return "", 0, nil, &refusal{status: http.StatusBadRequest, code: codeProtobuf, message: "the body is not a ForwardBackwardRequest in protobuf: " + err.Error()}
	}
	r = &tinker.ForwardBackward{Loss: m.GetLossFn(), Settings: m.GetLossFnConfig(), ForwardOnly: m.GetForwardOnly()}
	for name, v := range m.GetLossFnConfigV2() {
		if _, is := v.GetValue().(*wire.LossConfigValue_Text); is {
			return "", 0, nil, refuse(codeUnsupported, "loss_fn_config", "has a text for %.60q, numbers are read", name)
		}
		if r.Settings == nil {
			r.Settings = map[string]float64{}
		}
		r.Settings[name] = v.GetNumber()
	}
	r.Data = make([]tinker.Datum, len(m.GetData()))
	for i, d := range m.GetData() {
		if err := readDatum(d, &r.Data[i]); err != nil {
			return "", 0, nil, err
		}
	}
	return m.GetModelId(), int64(m.GetSeqId()), r, nil
}

func readDatum(d *wire.Datum, out *tinker.Datum) error {
	for _, chunk := range d.GetModelInput() {
		encoded, is := chunk.GetChunk().(*wire.Chunk_EncodedText)
		if !is {
			return refuse(codeUnsupported, "model_input", "has a chunk that is no encoded_text: images and audio are not read")
		}
		tokens := encoded.EncodedText.GetTokens()
		if len(tokens)%4 != 0 {
			return refuse(codeValue, "model_input", "has %d bytes of tokens, of which each has 4", len(tokens))
		}
		for ; len(tokens) > 0; tokens = tokens[4:] {
			out.Tokens = append(out.Tokens, runtime.Token(binary.LittleEndian.Uint32(tokens)))
		}
	}
	out.Inputs = make(map[string]tinker.Array, len(d.GetLossFnInputs()))
	for name, t := range d.GetLossFnInputs() {
		a, err := readTensor("loss_fn_inputs."+clipName(name), t)
		if err != nil {
			return err
		}
		out.Inputs[name] = a
	}
	return nil
}

// readTensor reads an array of one dimension.
func readTensor(field string, t *wire.Tensor) (a tinker.Array, err error) {
	if _, sparse := t.GetEncoding().(*wire.Tensor_SparseCsr); sparse || len(t.GetShape()) > 1 {
		return a, refuse(codeUnsupported, field, "has more than one dimension: one target for each token is supported")
	}
	data := t.GetDense()
	width := map[wire.DType]int{wire.DType_DTYPE_FLOAT32: 4, wire.DType_DTYPE_INT64: 8, wire.DType_DTYPE_INT32: 4}[t.GetDtype()]
	switch {
	case width == 0:
		return a, refuse(codeUnsupported, field, "has the type %v, float32 and int64 are read", t.GetDtype())
	case len(data)%width != 0 || len(t.GetShape()) == 1 && t.GetShape()[0] != int64(len(data)/width):
		return a, refuse(codeValue, field, "has %d bytes, which are not the shape %v of %v", len(data), t.GetShape(), t.GetDtype())
	}
	n := len(data) / width
	switch t.GetDtype() {
	case wire.DType_DTYPE_FLOAT32:
		a.Floats = make([]float32, n)
		for i := range a.Floats {
			a.Floats[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	case wire.DType_DTYPE_INT64:
		a.Ints = make([]int64, n)
		for i := range a.Ints {
			a.Ints[i] = int64(binary.LittleEndian.Uint64(data[8*i:]))
		}
	default:
		a.Ints = make([]int64, n)
		for i := range a.Ints {
			a.Ints[i] = int64(int32(binary.LittleEndian.Uint32(data[4*i:])))
		}
	}
	return a, nil
}

// appendNumbers appends numbers of 4 bytes, little-endian.
func appendNumbers[T int32 | float32](b []byte, list []T) []byte {
	for i := range list {
		b = binary.LittleEndian.AppendUint32(b, *(*uint32)(unsafe.Pointer(&list[i])))
	}
	return b
}

// outputType names what the results of a loss are.
const outputType = "ArrayRecord"

// forwardBackwardWire puts a result in its message.
func forwardBackwardWire(r *tinker.ForwardBackwardResult) proto.Message {
	logProbs := &wire.BatchedTensor{Dtype: wire.DType_DTYPE_FLOAT32, Offsets: make([]byte, 8)}
	for _, l := range r.LogProbs {
		logProbs.Data = appendNumbers(logProbs.Data, l)
		logProbs.Offsets = binary.LittleEndian.AppendUint64(logProbs.Offsets, uint64(len(logProbs.Data)))
	}
	return &wire.ForwardBackwardOutput{
		LossFnOutputType: outputType, Metrics: r.Metrics,
		LossFnOutputs: []*wire.ArrayRecord{{TypeTag: outputType, NumDatums: int64(len(r.LogProbs)), Fields: map[string]*wire.BatchedTensor{"logprobs": logProbs}}},
	}
}

// sampleWire puts sampled sequences in their message.
func sampleWire(r *tinker.SampleResult) proto.Message {
	out := &wire.SampleResponse{PromptCacheHitTokens: int32(r.Cached)}
	for i := range r.Sequences {
		out.Sequences = append(out.Sequences, sequenceWire(&r.Sequences[i], r.Top))
	}
	if !r.Scored {
		return out
	}
	nothing := runtime.TokenText{Logprob: float32(math.NaN())} // before the first token there is nothing
	prompt := append([]runtime.TokenText{nothing}, r.Prompt...)
	for i := range max(0, len(prompt)-r.LastN) {
		if r.LastN > 0 {
			prompt[i] = nothing
		}
	}
	logProbs := make([]float32, len(prompt))
	for i := range prompt {
		logProbs[i] = prompt[i].Logprob
	}
	out.PromptLogprobs = appendNumbers(nil, logProbs)
	if r.PromptTop > 0 {
		out.TopkPromptLogprobs = topWire(prompt, r.PromptTop)
	}
	return out
}

func sequenceWire(q *tinker.Sequence, top int) *wire.SampledSequence {
	tokens, logProbs := make([]int32, len(q.Tokens)), make([]float32, len(q.Tokens))
	for i := range q.Tokens {
		tokens[i], logProbs[i] = q.Tokens[i].Token, q.Tokens[i].Logprob
	}
	out := &wire.SampledSequence{StopReason: wire.StopReason_STOP_REASON_LENGTH, Tokens: appendNumbers(nil, tokens), Logprobs: appendNumbers(nil, logProbs)}
	if q.Ended {
		out.StopReason = wire.StopReason_STOP_REASON_STOP
	}
	if top > 0 {
		out.TopkSampledLogprobs = topWire(q.Tokens, top)
	}
	return out
}

func topWire(tokens []runtime.TokenText, k int) *wire.TopLogprobs {
	ids, logProbs := topOf(tokens, k)
	return &wire.TopLogprobs{TokenIds: appendNumbers(nil, ids), Logprobs: appendNumbers(nil, logProbs), K: uint32(k), Length: uint32(len(tokens))}
}
