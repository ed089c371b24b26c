package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/tinker"
)

// modelBytes is what the fake Trainer of a model of rank 4 takes with the shortest micro-batches, and what a copy of its adapter
// takes.
func modelBytes(s *tinkerServer) (trainer, copied int64) {
	for _, shape := range s.testServer.model.Facts().Targets {
		copied += 4 * 4 * int64(shape.In+shape.Out)
	}
	return 4*copied + 8*128, copied
}

// A model is made where its Trainer and the copy by which its weights are sampled from fit into the memory, and refused with the
// numbers where they do not. One that was made can be sampled from as often as its client likes, also when others are refused.
func TestTinkerCountsCopies(t *testing.T) {
	trainer, copied := modelBytes(openTinker(t))
	create := func(s *tinkerServer, n int) openapi.TinkerResult {
		return s.result(s.call("create_model", fmt.Sprintf(`{"session_id":%q,"model_seq_id":%d,"base_model":"fake","lora_config":{"rank":4,"train_unembed":true}}`, s.session, n)))
	}
	small := openTinkerIn(t, trainer+copied-1)
	if r := create(small, 0); r.Error == nil || *r.Category != tinker.CategoryUser || !strings.Contains(*r.Error, fmt.Sprint(trainer+copied)) {
		t.Errorf("without the memory for a copy a model is made: %+v", r)
	}
	enough := openTinkerIn(t, trainer+copied)
	r := create(enough, 0)
	if r.ModelId == nil {
		t.Fatalf("with the memory for a copy there is no model: %+v", *r.Error)
	}
	m := *r.ModelId
	for n := range 12 {
		enough.forward(m, "cross_entropy", false, datumOf("hello world", nil))
		enough.step(m)
		saved := enough.result(enough.call("save_weights_for_sampler", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"sampling_session_seq_id":%d}`, m, enough.next(m), n)))
		if saved.SamplingSessionId == nil {
			t.Fatalf("placing the weights for the time %d: %+v", n+1, saved)
		}
	}
}

// The first values of an adapter are computed in slices, whatever is asked for first.
func TestTinkerStartsInSlices(t *testing.T) {
	for name, ask := range map[string]func(s *tinkerServer, m string){
		"saved": func(s *tinkerServer, m string) {
			s.result(s.call("save_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"path":"x"}`, m, s.next(m))))
		},
		"saved for sampling": func(s *tinkerServer, m string) {
			s.result(s.call("save_weights_for_sampler", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"path":"x"}`, m, s.next(m))))
		},
		"sampled from": func(s *tinkerServer, m string) {
			s.result(s.call("save_weights_for_sampler", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"sampling_session_seq_id":1}`, m, s.next(m))))
		},
		"loaded": func(s *tinkerServer, m string) {
			saved := s.result(s.call("save_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"path":"x"}`, m, s.next(m))))
			s.result(s.call("load_weights", fmt.Sprintf(`{"session_id":%q,"model_seq_id":9,"path":%q}`, s.session, *saved.Path)))
			s.result(s.call("load_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"path":%q}`, m, s.next(m), *saved.Path)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTinker(t)
			ask(s, s.model(0))
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, trainer := range s.trainers {
				if trainer.StartedOutside() {
					t.Error("the first values were computed outside of slices")
				}
			}
		})
	}
}

// A session that ends frees what its models and sampling sessions had: the trainers, and the weights that were placed.
func TestTinkerSessionsFreeMemory(t *testing.T) {
	s := openTinker(t)
	before := s.cache.Stats()
	m := s.model(0)
	saved := s.result(s.call("save_weights_for_sampler", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"sampling_session_seq_id":1}`, m, s.next(m))))
	if saved.SamplingSessionId == nil || s.cache.Stats().Bytes <= before.Bytes {
		t.Fatalf("nothing was placed: %+v, %+v", saved, s.cache.Stats())
	}
	s.mu.Lock()
	s.now = s.now.Add(time.Hour)
	s.mu.Unlock()
	s.server.tinker.Clean()
	for range 500 {
		s.mu.Lock()
		freed := s.trainers[0].Begin(runtime.TrainEval, runtime.TrainBatch{}) == runtime.ErrClosed
		s.mu.Unlock()
		if freed && s.cache.Stats().Bytes == before.Bytes {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("an hour later the memory is %+v, before it was %+v", s.cache.Stats(), before)
}

// A model takes up a checkpoint of another model, whatever seed that began with, and goes on as that would.
func TestTinkerLoadsIntoAnotherModel(t *testing.T) {
	s := openTinker(t)
	create := func(n int) string {
		r := s.result(s.call("create_model", fmt.Sprintf(`{"session_id":%q,"model_seq_id":%d,"base_model":"fake","lora_config":{"rank":4}}`, s.session, n)))
		return *r.ModelId
	}
	train := func(m string) float64 {
		loss := s.forward(m, "cross_entropy", false, datumOf("hello world", nil)).Metrics["loss:sum"]
		s.step(m)
		return loss
	}
	a, b := create(0), create(1)
	train(a)
	train(a)
	saved := s.result(s.call("save_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"path":"x"}`, a, s.next(a))))
	loaded := s.result(s.call("load_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"path":%q,"optimizer":true}`, b, s.next(b), *saved.Path)))
	if loaded.Path == nil {
		t.Fatalf("loading gives %+v", *loaded.Error)
	}
	for range 2 {
		if x, y := train(a), train(b); x != y {
			t.Errorf("the loss of the loaded model is %v, of its source %v", y, x)
		}
	}
	// What it saves can be loaded again, and a checkpoint that is deleted while the call waits is said to be.
	again := s.result(s.call("save_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"path":"y"}`, b, s.next(b))))
	if r := s.result(s.call("load_weights", fmt.Sprintf(`{"session_id":%q,"model_seq_id":5,"path":%q,"optimizer":true}`, s.session, *again.Path))); r.ModelId == nil {
		t.Errorf("loading what a loaded model saved gives %+v", *r.Error)
	}
	first := s.next(a)
	waits := s.call("load_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"path":%q}`, a, s.next(a), *again.Path))
	if r := s.do("DELETE", "/api/v1/training_runs/"+b+"/checkpoints/weights/y", ""); r.status != 204 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	s.call("optim_step", fmt.Sprintf(`{"model_id":%q,"seq_id":%d}`, a, first))
	if r := s.result(waits); r.Error == nil || *r.Category != tinker.CategoryUser || !strings.Contains(*r.Error, *again.Path) {
		t.Errorf("loading what was deleted gives %+v", r)
	}
	train(a) // and it is as it was
}
