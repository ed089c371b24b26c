package server

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/tinker/wire"
)

// Sequences are sampled from the base, from weights in memory and from a checkpoint.
func TestTinkerSamples(t *testing.T) {
	s := openTinker(t, saying("abcabc"))
	m := s.model(0)
	inMemory := s.result(s.call("save_weights_for_sampler", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"sampling_session_seq_id":7}`, m, s.next(m))))
	if inMemory.SamplingSessionId == nil || *inMemory.SamplingSessionId != s.session+":sample:7" {
		t.Fatalf("the sampling session is %+v", inMemory)
	}
	var base openapi.TinkerSampler
	s.post("/api/v1/create_sampling_session", fmt.Sprintf(`{"session_id":%q,"sampling_session_seq_id":8,"base_model":"default"}`, s.session), &base)
	prompt := `"prompt":{"chunks":[{"type":"encoded_text","tokens":` + tokensJSON("assistant\n") + `}]}`
	seq := 0
	sample := func(sampler, params, more string) *wire.SampleResponse {
		t.Helper()
		seq++
		var f openapi.TinkerFuture
		s.post("/api/v1/asample", fmt.Sprintf(`{"sampling_session_id":%q,"seq_id":%d,%s,"sampling_params":{"temperature":0,%s}%s}`, sampler, seq, prompt, params, more), &f)
		var out wire.SampleResponse
		if r := s.retrieve(f.RequestId); proto.Unmarshal(r.body, &out) != nil || f.SampleSequenceIds == nil || len(*f.SampleSequenceIds) != len(out.Sequences) {
			t.Fatalf("the result is %s, the ids are %v", r.body, f.SampleSequenceIds)
		}
		return &out
	}
	text := func(q *wire.SampledSequence) string {
		var b strings.Builder
		for i := 0; i < len(q.Tokens); i += 4 {
			if id := binary.LittleEndian.Uint32(q.Tokens[i:]); id < 256 {
				b.WriteByte(byte(id))
			} else {
				b.WriteString("|")
			}
		}
		return b.String()
	}
	for _, c := range []struct{ params, want string }{
		{`"max_tokens":4`, "abca"}, {`"max_tokens":20`, "abcabc|"}, {`"max_tokens":20,"stop":"ca"`, "abca"}, {`"max_tokens":20,"stop":["x","bc"]`, "abc"},
		{`"max_tokens":20,"stop":[98]`, "ab"},
	} {
		for _, sampler := range []string{*inMemory.SamplingSessionId, base.SamplingSessionId} {
			q := sample(sampler, c.params, "").Sequences[0]
			if got := text(q); got != c.want || len(q.Logprobs) != len(q.Tokens) || (q.StopReason == wire.StopReason_STOP_REASON_LENGTH) != (c.want == "abca" && !strings.Contains(c.params, "stop")) {
				t.Errorf("%s gives %q and %v, want %q", c.params, got, q.StopReason, c.want)
			}
		}
	}
	out := sample(base.SamplingSessionId, `"max_tokens":2`, `,"num_samples":3,"prompt_logprobs":true,"topk_prompt_logprobs":2`)
	if n := len("assistant\n"); len(out.Sequences) != 3 || len(out.PromptLogprobs) != 4*n || out.TopkPromptLogprobs.Length != uint32(n) || out.TopkPromptLogprobs.K != 2 {
		t.Errorf("three sequences with the prompt's scores: %v", out)
	}
	if first := math.Float32frombits(binary.LittleEndian.Uint32(out.PromptLogprobs)); first == first {
		t.Errorf("the first token has the log-probability %v", first)
	}
}

func tokensJSON(text string) string {
	list := make([]int, len(text))
	for i := range len(text) {
		list[i] = int(text[i])
	}
	b, _ := json.Marshal(list)
	return string(b)
}
