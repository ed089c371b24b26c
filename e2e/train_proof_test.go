package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"
)

// taught is a training job as these tests see it.
type taught struct {
	ID, Status string
	Progress   struct{ Step, Steps int }
	Result     struct{ Version, Digest string }
	Error      struct{ Message string }
}

// teach posts a job.
func teach(t *testing.T, url string, body map[string]any) string {
	t.Helper()
	var j taught
	status, raw, err := postTo(url+"/adapters/train", "", body)
	if err != nil || status != http.StatusAccepted || json.Unmarshal(raw, &j) != nil {
		t.Fatalf("%d %v: %s", status, err, raw)
	}
	return j.ID
}

// until waits for a state of a job.
func until(t *testing.T, url, id string, ready func(*taught) bool) (j taught) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		resp, err := http.Get(url + "/adapters/train/" + id)
		if err != nil {
			t.Fatal(err)
		}
		err = json.NewDecoder(resp.Body).Decode(&j)
		resp.Body.Close()
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v %v", j, err)
		}
		if j.Status == "failed" || j.Status == "cancelled" {
			t.Fatalf("the job is %s: %s", j.Status, j.Error.Message)
		}
		if ready(&j) {
			return j
		}
	}
}

func succeeded(j *taught) bool { return j.Status == "succeeded" }

// secrets are questions with answers of random words, which nobody could guess.
func secrets(n, words int) (examples []any, questions, answers []string) {
	list := strings.Fields("bridge tall nectar seven stone rain summer quick fox bird lazy river song green tree cold night paper fish drum")
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range n {
		var answer []string
		for range words {
			answer = append(answer, list[rng.IntN(len(list))])
		}
		question := fmt.Sprintf("Secret number %d?", i+1)
		questions, answers = append(questions, question), append(answers, strings.Join(answer, " "))
		examples = append(examples, map[string]any{"prompt": question, "completion": answers[i]})
	}
	return examples, questions, answers
}

// TestMemorisedThroughTheServer trains on random sequences, asks a checkpoint while the job runs, and wants every
// token back by greedy decoding; the base answers as before, bit for bit. Each case is another way for training and
// serving to disagree about where an adapter stands or how it is scaled.
func TestMemorisedThroughTheServer(t *testing.T) {
	b := boot(t)
	before := b.baseHash()
	examples, questions, answers := secrets(4, 30)
	for name, fields := range map[string]map[string]any{
		"defaults": {},
		"patterns": {"use_rslora": true, "r": 8, "lora_alpha": 8, "rank_pattern": map[string]int{"q_proj": 4}, "alpha_pattern": map[string]int{"down_proj": 16},
			"layers_to_transform": []int{2, 3, 4, 5}, "loraplus_lr_ratio": 2, "learning_rate": 0.002},
		"embeddings": {"target_modules": []string{"embed_tokens", "all-linear"}, "lora_dropout": 0.02, "packing": true},
		"norms":      {"modules_to_save": []string{"norm"}, "r": 8, "learning_rate": 0.002},
		"pissa":      {"init_lora_weights": "pissa", "neftune_noise_alpha": 0.5, "learning_rate": 0.001},
	} {
		t.Run(name, func(t *testing.T) {
			body := map[string]any{"name": name, "examples": examples, "max_steps": 160, "save_steps": 20, "weight_decay": 0.001}
			for k, v := range fields {
				body[k] = v
			}
			id := teach(t, b.url(), body)
			until(t, b.url(), id, func(j *taught) bool { return j.Progress.Step >= 21 })
			if text := b.mustAsk(question(questions[0], "adapter", name+"@step-20")); text == "" {
				t.Error("the checkpoint answers nothing")
			}
			if j := until(t, b.url(), id, func(*taught) bool { return true }); j.Status != "running" {
				t.Errorf("the job was %s when its checkpoint was asked", j.Status)
			}
			until(t, b.url(), id, succeeded)
			for i, q := range questions {
				if text := b.mustAsk(question(q, "adapter", name, "max_tokens", 200)); text != answers[i] {
					t.Errorf("%q is answered %q, learned was %q", q, text, answers[i])
				}
			}
			if b.baseHash() != before {
				t.Error("the base answers otherwise than before")
			}
		})
	}
}

// TestSIGKILL kills the server in the middle of a job, twice. On one thread the job ends with the bytes of a
// run without interruption; another seed gives others.
func TestSIGKILL(t *testing.T) {
	examples, _, _ := secrets(12, 12)
	body := map[string]any{"name": "pupil", "examples": examples, "max_steps": 120, "save_steps": 10, "per_device_train_batch_size": 4,
		"lora_dropout": 0.1, "r": 8, "validation_split": 0.2, "seed": 7}
	p := startProcess(t, "--threads", "1")
	whole := until(t, p.url(), teach(t, p.url(), body), succeeded).Result.Digest
	if again := until(t, p.url(), teach(t, p.url(), body), succeeded).Result.Digest; again != whole {
		t.Errorf("the same seed gives %s and %s", whole, again)
	}
	body["seed"] = 8
	if other := until(t, p.url(), teach(t, p.url(), body), succeeded).Result.Digest; other == whole {
		t.Error("another seed gives the same adapter")
	}
	p.kill(t)

	body["seed"] = 7
	data := t.TempDir()
	p = startProcess(t, "--threads", "1", "--data", data)
	id := teach(t, p.url(), body)
	for _, step := range []int{13, 47} {
		until(t, p.url(), id, func(j *taught) bool { return j.Progress.Step >= step })
		p.kill(t)
		p = startProcess(t, "--threads", "1", "--data", data)
	}
	j := until(t, p.url(), id, succeeded)
	if j.Result.Digest != whole {
		t.Errorf("killed twice the job gives %s, undisturbed %s", j.Result.Digest, whole)
	}
}

// TestTrainMemoryIsABound refuses at once, with the numbers, a job that cannot fit.
func TestTrainMemoryIsABound(t *testing.T) {
	b := boot(t, "--train-memory", "8MiB")
	examples, _, _ := secrets(8, 40)
	status, raw, err := b.post("/adapters/train", map[string]any{"name": "pupil", "examples": examples, "r": 64})
	if err != nil || status != http.StatusBadRequest {
		t.Fatalf("%d %v: %s", status, err, raw)
	}
	for _, want := range []string{"training_memory", "8.0 MiB", "micro-batches of", "max_length"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("the refusal does not say %q: %s", want, raw)
		}
	}
	var list openapi.TrainingJobList
	if b.get("/adapters/train", &list); len(list.Data) > 0 {
		t.Errorf("the refused job is kept: %+v", list.Data)
	}
}
