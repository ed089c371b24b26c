package server

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/internal/jsonvalue"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/tinker"
)

// TinkerCreateSampler says what will be sampled from.
func (s *Server) TinkerCreateSampler(c *fiber.Ctx) error {
	var body openapi.TinkerSamplerRequest
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	id, err := t.CreateSampler(who, body.SessionId, body.SamplingSessionSeqId, text(body.BaseModel), text(body.ModelPath))
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.TinkerSampler{Type: "create_sampling_session", SamplingSessionId: id})
}

// TinkerJoinSampler gives another client of a sampling session a number.
func (s *Server) TinkerJoinSampler(c *fiber.Ctx) error {
	var body openapi.TinkerSamplerId
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	n, err := t.JoinSampler(who, body.SamplingSessionId)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.TinkerJoined{Type: "join_sampling_session", ClientCounter: n})
}

// TinkerGetSampler describes a sampling session.
func (s *Server) TinkerGetSampler(c *fiber.Ctx, id string) error {
	t, err := s.tinkerService()
	if err != nil {
		return err
	}
	i, err := t.Sampler(s.tinkerCaller(c), id)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.TinkerSamplerFacts{SamplerId: i.ID, BaseModel: s.name, ModelPath: nullable(i.Path)})
}

// TinkerCancelFuture ends a call of asample.
func (s *Server) TinkerCancelFuture(c *fiber.Ctx) error {
	var body openapi.TinkerRequestId
	t, who, err := s.tinkerCall(c, &body)
	if err == nil {
		err = t.Cancel(who, body.RequestId)
	}
	return sendNothing(c, err)
}

// TinkerSample samples sequences.
func (s *Server) TinkerSample(c *fiber.Ctx) error {
	var body openapi.TinkerSampleRequest
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	r, err := readSample(&body)
	if err != nil {
		return err
	}
	f, err := t.Sample(who, r)
	return sendFuture(c, f, err)
}

// readSample reads a request for sequences.
func readSample(b *openapi.TinkerSampleRequest) (*tinker.Sample, error) {
	if flag(b.RecordStabilityInfo, false) {
		return nil, refuse(codeUnsupported, "record_stability_info", "is not supported, nor is the loss stable_reinforce, which needs it; importance_sampling, ppo and cispo do not")
	}
	for _, f := range []struct {
		field string
		given bool
	}{
		{"target_prompt_logprobs", b.TargetPromptLogprobs != nil}, {"prompt_alt_tokens_k", b.PromptAltTokensK != nil && *b.PromptAltTokensK != 0},
	} {
		if f.given {
			return nil, refuse(codeUnsupported, f.field, "is not supported")
		}
	}
	p := &b.SamplingParams
	r := &tinker.Sample{
		SamplerID: text(b.SamplingSessionId), Base: text(b.BaseModel), Path: text(b.ModelPath), N: 1, Temperature: 1, TopP: 1,
		PromptLogProbs: flag(b.PromptLogprobs, false),
	}
	for _, f := range []struct {
		to   *int
		from *int
	}{
		{&r.N, b.NumSamples}, {&r.MaxTokens, p.MaxTokens}, {&r.TopK, p.TopK}, {&r.LastN, b.PromptLogprobsLastN}, {&r.PromptTop, b.TopkPromptLogprobs}, {&r.Top, b.TopkSampleLogprobs},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if p.Temperature != nil {
		r.Temperature = *p.Temperature
	}
	if p.TopP != nil {
		r.TopP = *p.TopP
	}
	switch {
	case p.MaxTokens != nil && *p.MaxTokens < 1:
		return nil, refuse(codeValue, "sampling_params.max_tokens", "is %d, it must be 1 or more", *p.MaxTokens)
	case r.SamplerID != "" && b.SeqId == nil:
		return nil, refuse(codeMissing, "seq_id", "is missing: the calls of a sampling session are numbered")
	case b.SeqId != nil:
		r.Seq = *b.SeqId
	}
	if err := readSeed(r, p.Seed); err != nil {
		return nil, err
	}
	if err := readStop(r, p.Stop); err != nil {
		return nil, err
	}
	for _, chunk := range b.Prompt.Chunks {
		if chunk.Type != "encoded_text" || chunk.Tokens == nil {
			return nil, refuse(codeUnsupported, "prompt.chunks", "has a chunk of the type %.40q, encoded_text with tokens is read", chunk.Type)
		}
		r.Prompt = append(r.Prompt, *chunk.Tokens...)
	}
	return r, nil
}

// readSeed reads a seed: any whole number of up to 64 bits, with a sign or without.
func readSeed(r *tinker.Sample, raw json.RawMessage) error {
	if jsonvalue.Kind(raw) == "null" {
		return nil
	}
	if u, err := strconv.ParseUint(string(raw), 10, 64); err == nil {
		r.Seed = &u
		return nil
	}
	i, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return refuse(codeType, "sampling_params.seed", "must be an integer of at most 64 bits")
	}
	u := uint64(i)
	r.Seed = &u
	return nil
}

// readStop reads what ends a sequence: a text, a list of texts or a list of tokens. An empty list is nothing at all.
func readStop(r *tinker.Sample, raw json.RawMessage) error {
	const field = "sampling_params.stop"
	switch jsonvalue.Kind(raw) {
	case "null":
		return nil
	case "string":
		r.StopTexts = make([]string, 1)
		return decodeField(raw, field, &r.StopTexts[0])
	case "array":
	default:
		return refuse(codeType, field, "must be a string, strings or tokens, not %s", jsonvalue.Article(jsonvalue.Kind(raw)))
	}
	var list []json.RawMessage
	if err := decodeField(raw, field, &list); err != nil {
		return err
	}
	if len(list) == 0 {
		r.NoStop = true
		return nil
	}
	if jsonvalue.Kind(list[0]) == "string" {
		return decodeField(raw, field, &r.StopTexts)
	}
	var numbers []int64
	if err := decodeField(raw, field, &numbers); err != nil {
		return err
	}
	var err error
	r.StopTokens, err = tokensOf(numbers, field)
	return err
}

// topOf puts alternatives in a matrix of k columns.
func topOf(tokens []runtime.TokenText, k int) (ids []int32, logProbs []float32) {
	const noToken = -99999
	for i := range tokens {
		for j := range k {
			if j < len(tokens[i].Top) {
				ids, logProbs = append(ids, tokens[i].Top[j].Token), append(logProbs, tokens[i].Top[j].Logprob)
			} else {
				ids, logProbs = append(ids, 0), append(logProbs, noToken)
			}
		}
	}
	return ids, logProbs
}
