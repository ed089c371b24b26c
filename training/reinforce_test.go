package training

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/graders"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/runtimetest"
)

// policy stands for the engine: it answers every prompt with one of two words, as likely as the Trainer says they are.
type policy struct {
	t       *testing.T
	model   *runtimetest.Model
	trainer atomic.Pointer[runtimetest.Trainer]
	cache   *adapters.Cache
	before  func(r *runtime.Request) error // of every request; may be nil

	mu   sync.Mutex
	keys map[string]bool // of the adapters that answered
	asks atomic.Int64
}

// words are what it answers, with the token that ends an answer.
var words = []string{"y", "n"}

func (p *policy) submit(_ context.Context, r runtime.Request) (*runtime.Stream, error) {
	if p.before != nil {
		if err := p.before(&r); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	mix, ok := r.Adapters.TryAcquire()
	if !ok {
		p.t.Error("a request for an adapter that is not in memory")
	}
	defer mix.Release()
	if !r.KeepEnd || r.Top != 0 || r.Priority >= 0 || len(mix.Terms) != 1 {
		p.t.Errorf("a request %+v", r)
	}
	p.keys[r.Adapters.Key()] = true
	p.asks.Add(1)
	before := r.Prompt[len(r.Prompt)-1]
	var logs []float64
	sum := 0.0
	for _, w := range words {
		logs = append(logs, p.logProb(before, p.token(w)))
		sum += math.Exp(logs[len(logs)-1])
	}
	choice := 0
	u := rand.New(rand.NewPCG(r.Sampling.Seed, 1)).Float64() * sum
	if r.Sampling.Temperature == 0 {
		u = map[bool]float64{true: 0, false: sum}[logs[0] >= logs[1]]
	}
	if u > math.Exp(logs[0]) {
		choice = 1
	}
	stream, w := runtime.NewStream(nil)
	token := p.token(words[choice])
	end := p.model.Facts().EOS
	w.Send(runtime.Event{Text: words[choice], Tokens: []runtime.TokenText{{Token: token, Logprob: float32(logs[choice])}}})
	w.Send(runtime.Event{Tokens: []runtime.TokenText{{Token: end, Logprob: float32(p.logProb(token, end))}}, Finish: runtime.FinishStop})
	w.Finish(nil)
	return stream, nil
}

func (p *policy) token(word string) runtime.Token {
	tokens, err := p.model.Tokenize(word, false, false)
	if err != nil || len(tokens) != 1 {
		p.t.Fatalf("%q is %v, %v", word, tokens, err)
	}
	return tokens[0]
}

// logProb asks the Trainer, which does nothing else while answers are sampled.
func (p *policy) logProb(before, token runtime.Token) float64 {
	t := p.trainer.Load()
	err := t.Begin(runtime.TrainEval, runtime.TrainBatch{Tokens: []runtime.Token{before}, Labels: []runtime.Token{token}, Ends: []int{1}, Norm: 1})
	if err == nil {
		err = runtimetest.Work(context.Background(), t)
	}
	if err != nil {
		p.t.Error(err)
		return 0
	}
	return float64(t.Result().LogProbs[0])
}

// reinforced is a fixture whose answers a policy makes.
type reinforced struct {
	*fixture
	*policy
}

func openReinforced(t *testing.T, dir string, change func(*Options, *policy)) *reinforced {
	t.Helper()
	h := &reinforced{policy: &policy{t: t, keys: map[string]bool{}}}
	h.fixture = openFixture(t, dir, func(o *Options) {
		h.policy.model = o.Model.(*runtimetest.Model)
		o.NewTrainer = func(s runtime.TrainSpec) (runtime.Trainer, error) {
			tr, err := runtimetest.NewTrainer(h.policy.model, s)
			h.trainer.Store(tr)
			return tr, err
		}
		h.cache = adapters.NewCache(adapters.CacheOptions{Store: o.Store, Budget: 1 << 20, Pack: h.policy.model.Pack})
		t.Cleanup(func() { h.cache.Close() })
		o.Submit, o.Cache, o.Rollouts = h.submit, h.cache, 4
		if change != nil {
			change(o, h.policy)
		}
	})
	return h
}

// questions is a dataset of n prompts, each with the answer that is wanted.
func questions(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"messages": [{"role": "user", "content": "Is it %d?"}], "wanted": "y"}`+"\n", i)
	}
	return b.String()
}

// sameWord is a grader of such answers.
const sameWord = `{"type":"string_check","name":"same","input":"{{sample.output_text}}","reference":"{{item.wanted}}","operation":"eq"}`

func reinforceConfig() Config {
	c := smallConfig()
	c.Method, c.Reward, c.Generations, c.MaxCompletion, c.MaxLength = Reinforcement, json.RawMessage(sameWord), 4, 8, 64
	c.Batch, c.MaxSteps, c.LearningRate, c.Scheduler, c.ValidationSplit, c.SaveSteps = 16, 30, 0.05, Constant, 0.2, 10
	return c
}

func (h *reinforced) start(name string, c Config) Job {
	h.fixture.t.Helper()
	j, err := h.Create(context.Background(), CreateRequest{Name: name, Config: c, Training: input(questions(20))})
	if err != nil {
		h.fixture.t.Fatal(err)
	}
	return j
}

func TestReinforcementLearns(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"grpo":             func(*Config) {},
		"dr_grpo":          func(c *Config) { c.LossType = "dr_grpo" },
		"without KL":       func(c *Config) { c.Beta = new(float64) },
		"several updates":  func(c *Config) { c.Iterations, c.MaxSteps = 2, 20 },
		"small microbatch": func(c *Config) { c.MaxLength = 40 },
	} {
		t.Run(name, func(t *testing.T) {
			h := openReinforced(t, t.TempDir(), nil)
			c := reinforceConfig()
			change(&c)
			j, events := h.wait(h.start("yes", c).ID)
			if j.Status != Succeeded {
				t.Fatalf("ended: %s", asJSON(t, j))
			}
			var rewards []float64
			for _, e := range events {
				if e.Metrics != nil && e.Metrics.EvalLoss == nil && e.Metrics.Measures["graded"] > 0 {
					rewards = append(rewards, e.Metrics.Measures["reward"])
				}
			}
			if len(rewards) != c.MaxSteps || rewards[0] > 0.8 || rewards[len(rewards)-1] < 0.9 {
				t.Errorf("%d steps, mean rewards %.2f", len(rewards), rewards)
			}
			if c.klBeta() > 0 && events[len(events)-3].Metrics == nil && !strings.Contains(asJSON(t, events), `"kl":`) {
				t.Error("the events have no KL")
			}
			// Once for each step, and evaluations.
			if n := len(h.keys); n < c.MaxSteps || h.cache.Stats().Bytes != 0 {
				t.Errorf("%d different adapters answered; %d bytes are still held", n, h.cache.Stats().Bytes)
			}
			report, err := h.Report(j.ID)
			if err != nil || report.Base == nil || report.Trained == nil || report.Trained.Measures["reward"] < 0.9 || len(report.Curve) != c.MaxSteps {
				t.Errorf("the report is %s, %v", asJSON(t, report), err)
			}
		})
	}
}

// TestReinforcementGoesOn stops the queue in the middle: the job ends with the same adapter.
func TestReinforcementGoesOn(t *testing.T) {
	c := reinforceConfig()
	whole := openReinforced(t, t.TempDir(), nil)
	want, _ := whole.wait(whole.start("yes", c).ID)
	dir := t.TempDir()
	reached := make(chan struct{})
	var once sync.Once
	h := openReinforced(t, dir, func(o *Options, p *policy) {
		o.SaveEvery = time.Nanosecond
		p.before = func(*runtime.Request) error {
			if p.asks.Load() > 200 {
				once.Do(func() { close(reached) })
			}
			return nil
		}
	})
	id := h.start("yes", c).ID
	<-reached
	h.fixture.close()
	again := openReinforced(t, dir, nil)
	got, events := again.wait(id)
	if got.Status != Succeeded || got.Result.Digest != want.Result.Digest || !strings.Contains(asJSON(t, events), "Going on from the checkpoint") {
		t.Errorf("ended %s with %s, the run without a stop with %s", got.Status, asJSON(t, got.Result), asJSON(t, want.Result))
	}
}

// TestReinforcementIsCancelled cancels it while an answer is sampled that never ends.
func TestReinforcementIsCancelled(t *testing.T) {
	waiting := make(chan struct{})
	var once sync.Once
	h := openReinforced(t, t.TempDir(), func(o *Options, p *policy) {
		submit := o.Submit
		o.Submit = func(ctx context.Context, r runtime.Request) (*runtime.Stream, error) {
			if p.asks.Load() < 50 {
				return submit(ctx, r)
			}
			once.Do(func() { close(waiting) })
			stream, _ := runtime.NewStream(nil)
			return stream, nil
		}
	})
	j := h.start("yes", reinforceConfig())
	<-waiting
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	j, err := h.Cancel(ctx, j.ID)
	if err != nil || j.Status != Cancelled {
		t.Fatalf("%s, %v", j.Status, err)
	}
	if n := h.cache.Stats().Bytes; n != 0 {
		t.Errorf("%d bytes of the adapter are still held", n)
	}
}

// TestGraderFails has an endpoint fail now and then, and then always.
func TestGraderFails(t *testing.T) {
	calls := 0
	var mu sync.Mutex
	from := 1 << 30
	tools := graders.Tools{
		CheckURL: func(string) error { return nil },
		Post: func(context.Context, string, map[string]string, []byte) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			if calls++; calls%5 == 0 || calls > from {
				return nil, errors.New("no route to the endpoint")
			}
			return []byte(`{"score": 1}`), nil
		},
	}
	h := openReinforced(t, t.TempDir(), func(o *Options, _ *policy) {
		o.Graders = func(owner string) graders.Tools {
			if owner != "" {
				t.Errorf("graders of %q", owner)
			}
			return tools
		}
	})
	c := reinforceConfig()
	c.Reward, c.MaxSteps = json.RawMessage(`{"type":"endpoint","name":"far","url":"http://far"}`), 3
	j, events := h.wait(h.start("now-and-then", c).ID)
	if j.Status != Succeeded || !strings.Contains(asJSON(t, events), `could not be graded, and nothing is learned from them: grader \"far\": the endpoint http://far: no route`) {
		t.Errorf("a grader that fails now and then: %s: %s", asJSON(t, j), asJSON(t, events))
	}
	mu.Lock()
	calls, from = 0, 60
	mu.Unlock()
	c.MaxSteps = 30
	j, _ = h.wait(h.start("always", c).ID)
	if j.Status != Failed || j.Error.Code != CodeGrader || j.Error.Param != "reward" || !strings.Contains(j.Error.Message, "keeps failing") || !strings.Contains(j.Error.Message, "no route") {
		t.Errorf("a grader that always fails: %s", asJSON(t, j))
	}
}

func TestReinforcementRefusals(t *testing.T) {
	h := openReinforced(t, t.TempDir(), nil)
	for _, tc := range []struct {
		change func(*Config)
		field  string
		part   string
	}{
		{func(c *Config) { c.Reward = nil }, "reward", "a grader"},
		{func(c *Config) { c.Reward = json.RawMessage(`{"type":"string_check"}`) }, "reward.operation", "missing"},
		{func(c *Config) { c.Reward = json.RawMessage(`{"type":"python","source":"def grade(a, b): pass"}`) }, "reward.type", "sandbox"},
		{func(c *Config) { c.Batch = 10 }, "per_device_train_batch_size", "multiple of num_generations, 4"},
		{func(c *Config) { c.Generations = 1 }, "num_generations", "2 to 256"},
		{func(c *Config) { c.MaxCompletion = 64 }, "max_completion_length", "max_length, 64"},
		{func(c *Config) { c.Temperature = 0 }, "temperature", "above 0"},
		{func(c *Config) { c.LossType = "sigmoid" }, "loss_type", "dr_grpo"},
		{func(c *Config) { c.ClipLow = 1 }, "epsilon", "less than 1"},
		{func(c *Config) { c.Packing = true }, "packing", "false"},
		{func(c *Config) { c.Dropout = 0.1 }, "lora_dropout", "0"},
		{func(c *Config) { c.ResponseFormat = json.RawMessage(`{"type":"xml"}`) }, "response_format.type", "xml"},
		{func(c *Config) {
			c.ResponseFormat = json.RawMessage(`{"type":"json_schema","json_schema":{"schema":{"type":"odd"}}}`)
		}, "response_format", "odd"},
		{func(c *Config) { c.Method = Supervised }, "reward", "is for the method reinforcement"},
		{func(c *Config) { *c = smallConfig(); c.Temperature = 0.5 }, "temperature", "is for the method reinforcement"},
	} {
		c := reinforceConfig()
		tc.change(&c)
		_, err := h.Create(t.Context(), CreateRequest{Name: "no", Config: c, Training: input(questions(20))})
		var f *FieldError
		if !errors.As(err, &f) || !strings.HasPrefix(f.Field, tc.field) || !strings.Contains(err.Error(), tc.part) {
			t.Errorf("%v, want %s ... %s", err, tc.field, tc.part)
		}
	}
	_, err := h.Create(t.Context(), CreateRequest{Name: "no", Config: reinforceConfig(), Training: input(`{"wanted": "y"}`)})
	wantError(t, err, ErrDataset, "line 1")
}

// TestReinforcementStopsEarly wants the best mean reward to be what is kept.
func TestReinforcementStopsEarly(t *testing.T) {
	h := openReinforced(t, t.TempDir(), nil)
	c := reinforceConfig()
	c.MaxSteps, c.Patience, c.EvalStrategy, c.EvalSteps = 200, 3, EverySteps, 2
	j, events := h.wait(h.start("yes", c).ID)
	if j.Status != Succeeded || j.Progress.Step >= 200 || !strings.Contains(asJSON(t, events), "Stopped early") {
		t.Fatalf("ended: %s", asJSON(t, j))
	}
	if report, err := h.Report(j.ID); err != nil || report.Trained.Measures["reward"] < 0.9 {
		t.Errorf("the report is %s, %v", asJSON(t, report), err)
	}
}
