package training

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// TestTrainingOn trains on from an adapter, which is deleted while the job waits: a job that learns nothing gives the adapter back, and one
// that is stopped in the middle goes on as if it were not.
func TestTrainingOn(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	c := smallConfig()
	c.TargetModules, c.DoRA, c.ModulesToSave = Names{"q_proj", "v_proj"}, true, []string{"norm"}
	first, _ := h.wait(h.create("first", c).ID)
	from := adapters.Ref{Name: "first", Scale: 1}
	still := smallConfig()
	still.LearningRate, still.MaxSteps, still.Rank = 1e-30, 1, 7
	j, err := h.Create(t.Context(), CreateRequest{Name: "still", Config: still, Training: input(conversations(4)), From: &from})
	if err != nil {
		t.Fatal(err)
	}
	if j.Config.Rank != 2 || len(j.Start.Modules) != 4 || !j.Config.DoRA || len(j.Start.Norms) != 5 || len(j.Config.TargetModules) != 2 ||
		!slices.Equal(j.Config.ModulesToSave, []string{"input_layernorm", "model.norm", "post_attention_layernorm"}) {
		t.Errorf("the job is %s", asJSON(t, j))
	}
	if j, _ = h.wait(j.ID); j.Status != Succeeded || !bytes.Equal(h.weights(j.Result.Digest), h.weights(first.Result.Digest)) {
		t.Errorf("what was trained on from is not there: %s", asJSON(t, j))
	}
	if _, err := os.Stat(filepath.Join(h.dir, "training", "jobs", j.ID, startFile)); !os.IsNotExist(err) {
		t.Errorf("the copy stays when the job has succeeded: %v", err)
	}

	more := preferenceConfig("")
	more.Epochs = 2
	request := func(name string) CreateRequest {
		return CreateRequest{Name: name, Config: more, Training: input(pairs(20)), From: &from}
	}
	whole, err := h.Create(t.Context(), request("whole"))
	if err != nil {
		t.Fatal(err)
	}
	whole, _ = h.wait(whole.ID)
	if j, err = h.Create(t.Context(), request("stopped")); err != nil {
		t.Fatal(err)
	}
	if err := h.store.Delete("first", adapters.Origin{Kind: adapters.ByRequest}); err != nil {
		t.Fatal(err)
	}
	h.waitFor(j.ID, "Step 2/")
	if paused, err := h.Pause(t.Context(), j.ID); err == nil && paused.Status == Paused {
		h.close()
		h = openFixture(t, h.dir, nil)
		if _, err := h.Resume(j.ID); err != nil {
			t.Fatal(err)
		}
	}
	if j, _ = h.wait(j.ID); j.Status != Succeeded || !bytes.Equal(h.weights(j.Result.Digest), h.weights(whole.Result.Digest)) {
		t.Errorf("it is another adapter than without the stop: %s", asJSON(t, j))
	}
	if report, err := h.Report(j.ID); err != nil || report.Base.Measures["rewards/margins"] != 0 {
		t.Errorf("before the first step it is not the reference model: %v, error %v", report.Base, err)
	}
	_, err = h.Create(t.Context(), request("gone"))
	wantError(t, err, adapters.ErrUnknown)
}

// TestTrainingOnFromAnActivatedAdapter has the run begin with the adapter's invocation tokens.
func TestTrainingOnFromAnActivatedAdapter(t *testing.T) {
	var started []runtime.Token
	h := openFixture(t, t.TempDir(), func(o *Options) {
		make := o.NewTrainer
		o.NewTrainer = func(s runtime.TrainSpec) (runtime.Trainer, error) {
			if s.Start != nil {
				started = s.Start.Invocation
			}
			return make(s)
		}
	})
	c := smallConfig()
	c.MaxSteps, c.InvocationString = 1, "assistant"
	first, _ := h.wait(h.create("first", c).ID)
	c = smallConfig()
	c.MaxSteps = 1
	j, err := h.Create(t.Context(), CreateRequest{Name: "second", Config: c, Training: input(conversations(20)), From: &adapters.Ref{Name: "first"}})
	if err != nil {
		t.Fatal(err)
	}
	if j, _ = h.wait(j.ID); j.Status != Succeeded || len(started) == 0 || !slices.Equal(started, first.Config.Invocation) {
		t.Errorf("the run begins with the tokens %v, the adapter acts from %v on: %s", started, first.Config.Invocation, asJSON(t, j))
	}
}

// TestStartsThatAreRefused names the tensor of what is not trained.
func TestStartsThatAreRefused(t *testing.T) {
	whole := []runtime.LoRAModule{{Tensor: "blk.0.attn_q.weight", Rank: 1, Magnitude: []float32{1}}}
	for want, lora := range map[string]*runtime.LoRA{
		"": {Modules: whole, Norms: []runtime.LoRANorm{{Tensor: "output_norm.weight"}}, Invocation: []runtime.Token{1}},
		"a bias of its own (blk.0.attn_q.weight)": {Modules: whole, Biases: []runtime.LoRABias{{Tensor: "blk.0.attn_q.weight"}}},
		"rows of its own (token_embd.weight)":     {Modules: whole, Rows: []runtime.LoRARows{{Tensor: "token_embd.weight"}}},
		"no LoRA":                                 {Norms: []runtime.LoRANorm{{Tensor: "output_norm.weight"}}},
	} {
		if got := untrainable(lora); got != want {
			t.Errorf("it has %q, want %q", got, want)
		}
	}
}

// TestDamagedStart fails a job whose copy of the adapter is not what was stored, whatever byte it is.
func TestDamagedStart(t *testing.T) {
	h := openFixture(t, t.TempDir(), nil)
	c := smallConfig()
	c.MaxSteps, c.ModulesToSave = 1, []string{"input_layernorm"}
	h.wait(h.create("first", c).ID)
	_, lora, err := h.store.Load(adapters.Ref{Name: "first"})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := writeStart(&b, lora); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), startFile)
	read := func(raw []byte) error {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got, err := parseStart(f)
		if err == nil && asJSON(t, got) != asJSON(t, lora) {
			t.Error("another adapter was read")
		}
		return err
	}
	whole := b.Bytes()
	if err := read(whole); err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += 1 + len(whole)/200 {
		raw := bytes.Clone(whole)
		raw[at] ^= 1
		if read(raw) == nil {
			t.Errorf("byte %d is another, and nothing is found", at)
		}
		if read(whole[:at]) == nil {
			t.Errorf("cut to %d bytes, and nothing is found", at)
		}
	}
	if !strings.HasPrefix(string(whole), startMagic) {
		t.Errorf("it begins with %q", whole[:8])
	}
}
