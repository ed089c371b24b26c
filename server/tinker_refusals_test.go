package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/tinker"
	"github.com/lorikeet-ai/lorikeet/tinker/wire"
)

// What cannot be is refused with the name of the field.
func TestTinkerRefuses(t *testing.T) {
	s := openTinker(t)
	m := s.model(0)
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"create_model", `{"session_id":"x","model_seq_id":0,"base_model":"fake","lora_config":{"rank":4}}`, 410, "session"},
		{"create_model", fmt.Sprintf(`{"session_id":%q,"model_seq_id":1,"base_model":"other","lora_config":{"rank":4}}`, s.session), 400, "base_model"},
		{"create_model", fmt.Sprintf(`{"session_id":%q,"model_seq_id":1,"base_model":"fake","lora_config":{"rank":4000}}`, s.session), 400, "rank"},
		{"create_model", fmt.Sprintf(`{"session_id":%q,"model_seq_id":1,"base_model":"fake","optimizer_config":{"type":"dimuon"}}`, s.session), 400, "optimizer_config"},
		{"optim_step", fmt.Sprintf(`{"model_id":%q,"seq_id":0}`, m), 400, "seq_id"},
		{"optim_step", fmt.Sprintf(`{"model_id":%q,"seq_id":1,"adam_params":{"beta1":1}}`, m), 400, "beta1"},
		{"optim_step", `{"model_id":"x","seq_id":1}`, 404, "model"},
		{"save_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":1,"path":"../x"}`, m), 400, "path"},
		{"save_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":1,"path":"x","ttl_seconds":0}`, m), 400, "ttl_seconds"},
		{"load_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":1,"path":"tinker://a/weights/b"}`, m), 404, "checkpoint"},
		{"load_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":1,"path":"b"}`, m), 400, "path"},
		{"create_sampling_session", fmt.Sprintf(`{"session_id":%q,"sampling_session_seq_id":0}`, s.session), 400, "base_model"},
		{"asample", `{"base_model":"fake","prompt":{"chunks":[]},"sampling_params":{}}`, 400, "prompt"},
		{"asample", `{"base_model":"fake","prompt":{"chunks":[{"type":"image"}]},"sampling_params":{}}`, 400, "prompt.chunks"},
		{"asample", `{"base_model":"fake","num_samples":1000,"prompt":{"chunks":[{"type":"encoded_text","tokens":[97]}]},"sampling_params":{}}`, 400, "num_samples"},
		{"asample", `{"base_model":"fake","prompt":{"chunks":[{"type":"encoded_text","tokens":[97]}]},"sampling_params":{},"prompt_alt_tokens_k":2}`, 400, "prompt_alt_tokens_k"},
		{"retrieve_future", `{"request_id":"x"}`, 410, "request"},
		{"session_heartbeat", `{"session_id":"x"}`, 410, "session"},
	} {
		r := s.do("POST", "/api/v1/"+c.path, c.body)
		if r.status != c.status || !strings.Contains(string(r.body), c.want) {
			t.Errorf("%s %s: %d %s", c.path, c.body, r.status, r.body)
		}
	}
	good := func() *wire.ForwardBackwardRequest {
		return &wire.ForwardBackwardRequest{ModelId: m, SeqId: 1, Data: []*wire.Datum{datumOf("abc", nil)}, LossFn: "cross_entropy"}
	}
	for want, spoil := range map[string]func(*wire.ForwardBackwardRequest){
		"loss_fn": func(r *wire.ForwardBackwardRequest) { r.LossFn = "mse" },
		"seq_id":  func(r *wire.ForwardBackwardRequest) { r.SeqId = 0 },
		"data":    func(r *wire.ForwardBackwardRequest) { r.Data = nil },
		"advantages": func(r *wire.ForwardBackwardRequest) {
			r.LossFn = "ppo"
			r.Data[0].LossFnInputs["logprobs"] = floats(0, 0)
		},
		"loss_fn_inputs.weights":       func(r *wire.ForwardBackwardRequest) { r.Data[0].LossFnInputs["weights"] = floats(1) },
		"loss_fn_inputs.more":          func(r *wire.ForwardBackwardRequest) { r.Data[0].LossFnInputs["more"] = floats(1, 1) },
		"loss_fn_inputs.target_tokens": func(r *wire.ForwardBackwardRequest) { r.Data[0].LossFnInputs["target_tokens"].Shape = []int64{1, 2} },
		"model_input": func(r *wire.ForwardBackwardRequest) {
			r.Data[0].ModelInput = []*wire.Chunk{{Chunk: &wire.Chunk_Image{}}}
		},
		"setting": func(r *wire.ForwardBackwardRequest) { r.LossFnConfig = map[string]float64{"beta": 1} },
	} {
		r := good()
		spoil(r)
		if got := s.sendForward(r); got.status != 400 || !strings.Contains(string(got.body), want) {
			t.Errorf("%s: %d %s", want, got.status, got.body)
		}
	}
	// Nothing of it counts as a call.
	if out := s.forward(m, "cross_entropy", true, datumOf("abc", nil)); len(logProbsOf(out)) != 2 {
		t.Errorf("the first call gives %v", out)
	}
}

// A session ends when nobody uses it, with its models; a heartbeat keeps it.
func TestTinkerSessionsExpire(t *testing.T) {
	s := openTinker(t)
	m := s.model(0)
	pass := func(d time.Duration) {
		s.mu.Lock()
		s.now = s.now.Add(d)
		s.mu.Unlock()
		s.server.tinker.Clean()
	}
	pass(4 * time.Minute)
	s.post("/api/v1/session_heartbeat", fmt.Sprintf(`{"session_id":%q}`, s.session), &openapi.TinkerType{})
	pass(4 * time.Minute)
	s.post("/api/v1/get_info", fmt.Sprintf(`{"model_id":%q}`, m), &openapi.TinkerModelFacts{})
	waits := s.call("optim_step", fmt.Sprintf(`{"model_id":%q,"seq_id":5}`, m))
	pass(6 * time.Minute)
	if r := s.result(waits); r.Error == nil || *r.Category != tinker.CategoryUser {
		t.Errorf("a call of an ended session gives %+v", r)
	}
	gone := s.session + ":train:0:77" // whose result was never there
	if r := s.result(gone); r.Error == nil || *r.Category != tinker.CategoryUser || !strings.Contains(*r.Error, "checkpoint") {
		t.Errorf("a call of a model that has ended gives %+v", r)
	}
	if r := s.do("POST", "/api/v1/get_info", fmt.Sprintf(`{"model_id":%q}`, m)); r.status != 404 {
		t.Errorf("the model is still there: %d %s", r.status, r.body)
	}
}

// A model's number is used once: when the model has ended, a request that comes again gets the first answer, and makes no other model.
func TestTinkerNumbersOfModels(t *testing.T) {
	s := openTinker(t)
	m := s.model(0)
	s.result(s.call("unload_model", fmt.Sprintf(`{"model_id":%q}`, m)))
	if again := s.model(0); again != m {
		t.Errorf("the model of a number that was used is %s, not %s", again, m)
	}
	if r := s.do("POST", "/api/v1/optim_step", fmt.Sprintf(`{"model_id":%q,"seq_id":1}`, m)); r.status != 404 {
		t.Errorf("a call of the model that has ended: %d %s", r.status, r.body)
	}
	var list openapi.TinkerRunList
	s.get("/api/v1/training_runs", &list)
	if len(list.TrainingRuns) != 0 {
		t.Errorf("the models are %+v", list.TrainingRuns)
	}
}
