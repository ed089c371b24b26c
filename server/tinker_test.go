package server

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
	"github.com/lorikeet-ai/lorikeet/tinker"
	"github.com/lorikeet-ai/lorikeet/tinker/wire"
)

// tinkerServer is a test server with Tinker's API, on the fake Trainer.
type tinkerServer struct {
	*testServer
	session string
	seq     map[string]int64
	memory  int64 // of the trainers; 0: no bound

	mu  sync.Mutex
	now time.Time // what the service's clock says

	trainers []*runtimetest.Trainer // that were made; guarded by mu
}

func openTinker(t testing.TB, change ...func(*setup)) *tinkerServer {
	t.Helper()
	return openTinkerIn(t, 0, change...)
}

// openTinkerIn is openTinker with so many bytes of memory for trainers.
func openTinkerIn(t testing.TB, memory int64, change ...func(*setup)) *tinkerServer {
	t.Helper()
	s := startTinker(t, memory, change...)
	var made openapi.TinkerSession
	s.post("/api/v1/create_session", `{"tags":[],"sdk_version":"test","user_metadata":{"a":"b"}}`, &made)
	s.session = made.SessionId
	return s
}

// startTinker is openTinkerIn without a session.
func startTinker(t testing.TB, memory int64, change ...func(*setup)) *tinkerServer {
	t.Helper()
	s := &tinkerServer{seq: map[string]int64{}, now: time.Now(), memory: memory}
	dir := filepath.Join(t.TempDir(), "tinker")
	s.testServer = open(t, append(change, func(p *setup) {
		p.training = func(h *testServer, o *Options) {
			s.testServer = h
			o.Tinker = s.service(dir)
		}
	})...)
	t.Cleanup(func() { s.server.tinker.Close() })
	return s
}

// service opens what is kept in dir.
func (s *tinkerServer) service(dir string) *tinker.Service {
	h := s.testServer
	t, err := tinker.Open(tinker.Options{
		Dir: dir, Model: h.model, Names: []string{"fake", "default"}, Length: h.engine.Context(), Work: h.engine.Work, Submit: h.engine.Submit,
		NewTrainer: func(spec runtime.TrainSpec) (runtime.Trainer, error) {
			made, err := runtimetest.NewTrainer(h.model, spec)
			if err != nil {
				return nil, err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.trainers = append(s.trainers, made)
			return made, nil
		},
		Memory: s.memory,
		Store:  h.store, Cache: h.cache, Warn: func(text string) { h.t.Log(text) },
		Now: func() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.now },
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return t
}

// call sends a call and returns its future's id.
func (s *tinkerServer) call(path, body string) string {
	s.t.Helper()
	var f openapi.TinkerFuture
	s.post("/api/v1/"+path, body, &f)
	return f.RequestId
}

// retrieve waits for the result of a call.
func (s *tinkerServer) retrieve(id string) response {
	s.t.Helper()
	for {
		r := s.do("POST", "/api/v1/retrieve_future", fmt.Sprintf(`{"request_id":%q,"allow_metadata_only":true}`, id))
		if r.status != 200 || !strings.Contains(string(r.body), `"try_again"`) {
			return r
		}
	}
}

// result is a call's result in JSON.
func (s *tinkerServer) result(id string) (out openapi.TinkerResult) {
	s.t.Helper()
	s.ok(s.retrieve(id), &out)
	return out
}

func (s *tinkerServer) model(n int) string {
	s.t.Helper()
	r := s.result(s.call("create_model", fmt.Sprintf(`{"session_id":%q,"model_seq_id":%d,"base_model":"fake","lora_config":{"rank":4,"seed":1}}`, s.session, n)))
	if r.ModelId == nil {
		s.t.Fatalf("no model was made: %+v", r)
	}
	return *r.ModelId
}

// next is the number of a model's next call.
func (s *tinkerServer) next(model string) int64 { s.seq[model]++; return s.seq[model] }

// floats is a tensor of one dimension.
func floats(list ...float32) *wire.Tensor {
	return &wire.Tensor{Encoding: &wire.Tensor_Dense{Dense: appendNumbers(nil, list)}, Dtype: wire.DType_DTYPE_FLOAT32, Shape: []int64{int64(len(list))}}
}

// datumOf is a sequence whose tokens are the bytes of a text, each but the last with the next one as target.
func datumOf(text string, more map[string]*wire.Tensor) *wire.Datum {
	var tokens []int32
	var next []byte
	for i := range len(text) - 1 {
		tokens = append(tokens, int32(text[i]))
		next = binary.LittleEndian.AppendUint64(next, uint64(text[i+1]))
	}
	d := &wire.Datum{
		ModelInput:   []*wire.Chunk{{Chunk: &wire.Chunk_EncodedText{EncodedText: &wire.EncodedText{Tokens: appendNumbers(nil, tokens)}}}},
		LossFnInputs: map[string]*wire.Tensor{"target_tokens": {Encoding: &wire.Tensor_Dense{Dense: next}, Dtype: wire.DType_DTYPE_INT64}},
	}
	for name, t := range more {
		d.LossFnInputs[name] = t
	}
	return d
}

// sendForward sends a forward_backward.
func (s *tinkerServer) sendForward(m *wire.ForwardBackwardRequest) response {
	s.t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequest("POST", s.url+"/api/v1/forward_backward", bytes.NewReader(b))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", mimeProtobuf)
	return s.send(req)
}

// forward does a forward_backward and returns its result.
func (s *tinkerServer) forward(model, loss string, only bool, data ...*wire.Datum) *wire.ForwardBackwardOutput {
	s.t.Helper()
	var f openapi.TinkerFuture
	s.ok(s.sendForward(&wire.ForwardBackwardRequest{ModelId: model, SeqId: int32(s.next(model)), Data: data, LossFn: loss, ForwardOnly: only}), &f)
	return s.output(f.RequestId)
}

func (s *tinkerServer) output(id string) *wire.ForwardBackwardOutput {
	s.t.Helper()
	var out wire.ForwardBackwardOutput
	r := s.retrieve(id)
	if r.header.Get("Content-Type") != mimeProtobuf {
		s.t.Fatalf("the result is %s", r.body)
	}
	if err := proto.Unmarshal(r.body, &out); err != nil {
		s.t.Fatal(err)
	}
	return &out
}

func (s *tinkerServer) step(model string) openapi.TinkerResult {
	s.t.Helper()
	return s.result(s.call("optim_step", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"adam_params":{"learning_rate":0.05}}`, model, s.next(model))))
}

// logProbsOf are the log-probabilities of an output, of all its data.
func logProbsOf(out *wire.ForwardBackwardOutput) []float32 {
	data := out.LossFnOutputs[0].Fields["logprobs"].Data
	list := make([]float32, len(data)/4)
	for i := range list {
		list[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return list
}

// A model learns; parts of one call add up; a forward pass adds nothing; a number that comes again is not done again.
func TestTinkerTrains(t *testing.T) {
	s := openTinker(t)
	m := s.model(0)
	data := []*wire.Datum{datumOf("hello world", nil), datumOf("what is it", nil)}
	var losses []float64
	for range 5 {
		losses = append(losses, s.forward(m, "cross_entropy", false, data...).Metrics["loss:sum"])
		if r := s.step(m); r.Metrics == nil || (*r.Metrics)["grad_norm"] <= 0 {
			t.Fatalf("the step gives %+v", r)
		}
	}
	if losses[4] > 0.7*losses[0] {
		t.Errorf("the losses are %v", losses)
	}

	// The same data at once, and in two calls with forward passes between them.
	norm := func(n int, parts ...[]*wire.Datum) float64 {
		m := s.model(n)
		for _, part := range parts {
			s.forward(m, "cross_entropy", true, data...)
			s.forward(m, "cross_entropy", false, part...)
			s.forward(m, "cross_entropy", true, data...)
		}
		return (*s.step(m).Metrics)["grad_norm"]
	}
	if a, b := norm(1, data), norm(2, data[:1], data[1:]); math.Abs(a-b) > 1e-6*a {
		t.Errorf("the gradients of one call have the norm %v, of two calls %v", a, b)
	}

	// A step without gradients is an error of the user's.
	if r := s.step(m); r.Error == nil || *r.Category != tinker.CategoryUser {
		t.Errorf("a step without gradients gives %+v", r)
	}

	// Repeats are answered as the first time.
	before := logProbsOf(s.forward(m, "cross_entropy", true, data...))
	body := &wire.ForwardBackwardRequest{ModelId: m, SeqId: int32(s.next(m)), Data: data, LossFn: "cross_entropy"}
	first, second := s.sendForward(body), s.sendForward(body)
	if !bytes.Equal(first.body, second.body) {
		t.Errorf("%s and then %s", first.body, second.body)
	}
	step := fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"adam_params":{"learning_rate":0}}`, m, s.next(m))
	for range 3 {
		if r := s.result(s.call("optim_step", step)); r.Metrics == nil || (*r.Metrics)["steps"] != 6 {
			t.Errorf("a repeated step gives %+v", r)
		}
	}
	if after := logProbsOf(s.forward(m, "cross_entropy", true, data...)); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("a step at the rate 0 changed %v to %v", before, after)
	}
}

// Calls are done in the order of their numbers, whatever order they come in.
func TestTinkerOrdersCalls(t *testing.T) {
	s := openTinker(t)
	m := s.model(0)
	step := s.call("optim_step", fmt.Sprintf(`{"model_id":%q,"seq_id":2,"adam_params":{"learning_rate":0.05}}`, m))
	if f, err := s.server.tinker.Future(&tinker.Caller{}, step); err != nil || f.Ended() {
		t.Fatalf("the second call has ended before the first came: %v", err)
	}
	r := s.sendForward(&wire.ForwardBackwardRequest{ModelId: m, SeqId: 1, Data: []*wire.Datum{datumOf("hello", nil)}, LossFn: "cross_entropy"})
	if r.status != 200 {
		t.Fatalf("%s", r.body)
	}
	if r := s.result(step); r.Metrics == nil {
		t.Errorf("the step gives %+v", r)
	}
}

// The other losses, with the log-probabilities that the data was sampled with.
func TestTinkerLosses(t *testing.T) {
	s := openTinker(t)
	m := s.model(0)
	const text = "hello world"
	q := logProbsOf(s.forward(m, "cross_entropy", true, datumOf(text, nil)))
	advantages := make([]float32, len(q))
	for i := range advantages {
		advantages[i] = 1
	}
	inputs := map[string]*wire.Tensor{"logprobs": floats(q...), "advantages": floats(advantages...)}
	for loss, want := range map[string]float64{"importance_sampling": -float64(len(q)), "ppo": -float64(len(q))} {
		if got := s.forward(m, loss, false, datumOf(text, inputs)).Metrics["loss:sum"]; math.Abs(got-want) > 1e-3 {
			t.Errorf("%s on its own samples is %v, it must be %v", loss, got, want)
		}
	}
	for _, loss := range []string{"cispo", "dro"} {
		s.forward(m, loss, false, datumOf(text, inputs))
	}
	s.step(m)
	if now := logProbsOf(s.forward(m, "cross_entropy", true, datumOf(text, nil))); sumOf(now) <= sumOf(q) {
		t.Errorf("tokens of a positive advantage went from %v to %v", sumOf(q), sumOf(now))
	}
	weights := make([]float32, len(q))
	for i := range weights {
		weights[i] = -0.5
	}
	out := s.forward(m, "cross_entropy", true, datumOf(text, map[string]*wire.Tensor{"weights": floats(weights...)}))
	if got, want := out.Metrics["loss:sum"], 0.5*sumOf(logProbsOf(out)); math.Abs(got-want) > 1e-3 {
		t.Errorf("with negative weights the loss is %v, it must be %v", got, want)
	}
}

func sumOf(list []float32) (sum float64) {
	for _, v := range list {
		sum += float64(v)
	}
	return sum
}

// Training goes on from a checkpoint as if it had never stopped; without the optimizer's state it does not. A checkpoint is an
// adapter that a chat can name, is listed, downloaded, and gone when it is deleted or has expired; a restart keeps it.
func TestTinkerCheckpoints(t *testing.T) {
	s := openTinker(t)
	m := s.model(0)
	data := datumOf("hello world", nil)
	train := func(m string) float64 {
		loss := s.forward(m, "cross_entropy", false, data).Metrics["loss:sum"]
		s.step(m)
		return loss
	}
	train(m)
	train(m)
	saved := s.result(s.call("save_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"path":"two"}`, m, s.next(m))))
	if want := "tinker://" + m + "/weights/two"; saved.Path == nil || *saved.Path != want {
		t.Fatalf("saved as %+v, want %s", saved, want)
	}
	if r := s.result(s.call("save_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"path":"two"}`, m, s.next(m)))); r.Error == nil || !strings.Contains(*r.Error, "overwrite") {
		t.Errorf("a second one of the same name gives %+v", r)
	}
	from := func(n int, optimizer bool) string {
		r := s.result(s.call("load_weights", fmt.Sprintf(`{"session_id":%q,"model_seq_id":%d,"path":%q,"optimizer":%v}`, s.session, n, *saved.Path, optimizer)))
		if r.ModelId == nil {
			t.Fatalf("loading gives %+v", r)
		}
		return *r.ModelId
	}
	resumed, anew := from(1, true), from(2, false)
	var begin, last [3]float64
	for i, m := range []string{m, resumed, anew} {
		begin[i] = train(m)
		last[i] = train(m)
	}
	if begin[0] != begin[1] || begin[0] != begin[2] || last[0] != last[1] || last[0] == last[2] {
		t.Errorf("the losses are %v and then %v: they must begin alike, and the last one go on in another way", begin, last)
	}

	// The adapter, its listing and its archive.
	sampled := s.result(s.call("save_weights_for_sampler", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"path":"final","ttl_seconds":3600}`, m, s.next(m))))
	path := *sampled.Path
	if r := s.do("POST", "/v1/chat/completions", chatBody("hi", fmt.Sprintf(`"model":%q`, path))); r.status != 200 {
		t.Errorf("a chat with the checkpoint gives %d %s", r.status, r.body)
	}
	var list openapi.TinkerCheckpointList
	s.get("/api/v1/training_runs/"+m+"/checkpoints", &list)
	if len(list.Checkpoints) != 2 || list.Checkpoints[0].TinkerPath != path && list.Checkpoints[1].TinkerPath != path {
		t.Errorf("the list is %+v", list)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := client.Get(s.url + "/api/v1/training_runs/" + m + "/checkpoints/sampler_weights/final/archive")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	file, err := http.Get(r.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	zip, err := io.ReadAll(file.Body)
	file.Body.Close()
	if err != nil || file.StatusCode != 200 || !bytes.HasPrefix(zip, []byte("PK")) {
		t.Errorf("the archive is %d %.100q, %v", file.StatusCode, zip, err)
	}

	// After a restart.
	s.server.tinker.Close()
	s.server.tinker = s.service(s.server.tinker.Dir())
	var info openapi.TinkerWeights
	s.post("/api/v1/weights_info", fmt.Sprintf(`{"tinker_path":%q}`, path), &info)
	if info.LoraRank != 4 {
		t.Errorf("the restarted server says %+v", info)
	}
	if r := s.do("DELETE", "/api/v1/training_runs/"+m+"/checkpoints/weights/two", ""); r.status != 204 {
		t.Errorf("deleting gives %d %s", r.status, r.body)
	}
	s.mu.Lock()
	s.now = s.now.Add(2 * time.Hour)
	s.mu.Unlock()
	s.server.tinker.Clean()
	for _, p := range []string{*saved.Path, path} {
		if r := s.do("POST", "/api/v1/weights_info", fmt.Sprintf(`{"tinker_path":%q}`, p)); r.status != 404 {
			t.Errorf("%s is still there: %d %s", p, r.status, r.body)
		}
	}
	if n := len(s.store.List()); n != 0 {
		t.Errorf("%d adapters are left", n)
	}
}
