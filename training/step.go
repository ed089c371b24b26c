package training

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// step does one step of the method and takes account of it.
func (r *run) step(ctx context.Context) error {
	began, n := r.now(), r.state.Step
	res, err := r.method.step(ctx, n)
	if err != nil {
		return r.at(n+1, err)
	}
	s := &r.state
	r.written = ""
	s.Step++
	s.Tokens += int64(res.tokens)
	s.Loss, s.Correct = res.loss, res.accuracy
	r.speed.add(res.tokens, r.now().Sub(began))
	r.progress(res)
	return nil
}

// compute runs a micro-batch between the decodes.
func (r *run) compute(ctx context.Context, mode runtime.TrainMode, b runtime.TrainBatch) (runtime.TrainResult, error) {
	if b.Active == nil {
		dataset.Activate(&b, r.job.Config.Invocation)
	}
	if err := r.trainer.Begin(mode, b); err != nil {
		return runtime.TrainResult{}, err
	}
	if err := r.q.o.Work(ctx, r.trainer); err != nil {
		return runtime.TrainResult{}, err
	}
	return r.trainer.Result(), nil
}

// update has the Trainer update the adapter with the gradients of step n, and notes the rate and the norm of the gradients.
func (r *run) update(ctx context.Context, n int, out *stepResult) error {
	u := r.job.Config.update(n, r.order.Steps())
	if err := r.trainer.BeginUpdate(u); err != nil {
		return err
	}
	if err := r.q.o.Work(ctx, r.trainer); err != nil {
		return err
	}
	out.rate, out.gradNorm = float64(u.Rate), finite(r.trainer.Result().GradNorm)
	return nil
}

// at says at which step an error of the Trainer came.
func (r *run) at(step int, err error) error {
	if isDiverged(err) {
		return fmt.Errorf("at step %d: %w", step, err)
	}
	return err
}

func isDiverged(err error) bool { return errors.Is(err, runtime.ErrDiverged) }

// update is the optimizer's step.
func (c *Config) update(step, steps int) runtime.TrainUpdate {
	rate := c.rate(step, steps)
	u := runtime.TrainUpdate{
		Rate: float32(rate), Beta1: float32(c.Beta1), Beta2: float32(c.Beta2), Epsilon: float32(c.Epsilon),
		WeightDecay: float32(c.WeightDecay), Clip: float32(c.MaxGradNorm),
	}
	if c.LoRAPlus > 0 {
		u.RateB = float32(rate * c.LoRAPlus)
	}
	return u
}

// evalSet is what the base and the adapter are compared on: the examples for validation, or some of the others.
func (r *run) evalSet() (all *exampleSet, list []int) {
	if len(r.set.eval.lengths) == 0 {
		return &r.set.train, r.probe
	}
	list = make([]int, len(r.set.eval.lengths))
	for i := range list {
		list[i] = i
	}
	return &r.set.eval, list
}

// evalBatches are the micro-batches of an evaluation: no larger than those of a step, unless one example is.
func (r *run) evalBatches() [][]int {
	all, list := r.evalSet()
	return dataset.Split(all.lengths, list, r.order.LargestMicroBatch())
}

// largestMicroBatch returns how many tokens a micro-batch of a step or of an evaluation has at most.
func (r *run) largestMicroBatch() int {
	most := r.order.LargestMicroBatch()
	all, _ := r.evalSet()
	for _, part := range r.evalBatches() {
		tokens := 0
		for _, i := range part {
			tokens += all.lengths[i]
		}
		most = max(most, tokens)
	}
	return most
}

// evaluate measures the adapter as it stands.
func (r *run) evaluate(ctx context.Context) (*score, error) {
	s, err := r.method.evaluate(ctx)
	return s, r.at(r.state.Step, err)
}

// tellScore reports an evaluation. Of training examples it is a message, not a validation loss.
func (r *run) tellScore(s *score, when string) {
	e := Event{Created: now(), Level: LevelInfo, Kind: KindMessage}
	if len(r.set.eval.lengths) == 0 {
		e.Message = fmt.Sprintf("%s: %s on %d tokens of the training examples.", when, r.method.describe(s), s.Tokens)
	} else {
		e.Kind = KindMetrics
		e.Message = fmt.Sprintf("%s: %s.", when, r.method.describe(s))
		e.Metrics = r.metrics()
		e.Metrics.Measures = s.Measures
		e.Metrics.EvalLoss, e.Metrics.EvalAccuracy = &s.Loss, &s.Accuracy
	}
	r.q.log(r.j, e, false)
}

// perplexity is e^loss, as far as JSON has numbers.
func perplexity(loss float64) float64 { return finite(math.Exp(loss)) }

func finite(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return math.MaxFloat64
	}
	return x
}

// metrics are the numbers of the last step.
func (r *run) metrics() *Metrics {
	s := &r.state
	return &Metrics{
		Step: s.Step, Steps: r.order.Steps(), Epoch: r.order.Epoch(s.Step), Loss: s.Loss, Accuracy: s.Correct,
		TokensPerSecond: r.speed.tokensPerSecond(), ETA: r.speed.left(r.order.Steps() - s.Step).Seconds(),
	}
}

// progress updates the job in memory, and reports the step where of is not nil.
func (r *run) progress(of *stepResult) {
	s, t := &r.state, r.now()
	s.Seconds += t.Sub(r.clock).Seconds()
	r.clock = t
	m := r.metrics()
	p := Progress{Step: s.Step, Steps: m.Steps, Epoch: m.Epoch, Loss: s.Loss, Tokens: s.Tokens, Seconds: s.Seconds, TokensPerSecond: m.TokensPerSecond}
	if s.Last != nil && len(r.set.eval.lengths) > 0 {
		loss := s.Last.Loss
		p.EvalLoss = &loss
	}
	if m.ETA > 0 {
		p.ETA = now().Add(time.Duration(m.ETA * float64(time.Second))).Round(time.Second)
	}
	r.q.mu.Lock()
	r.j.Progress = p
	r.q.mu.Unlock()
	if of != nil {
		m.Rate, m.GradNorm, m.Measures = of.rate, of.gradNorm, of.measures
		r.q.log(r.j, Event{Created: now(), Level: LevelInfo, Kind: KindMetrics, Metrics: m,
			Message: fmt.Sprintf("Step %d/%d: training loss %.4f", s.Step, m.Steps, s.Loss)}, false)
	}
}

// speed measures steps, the later ones more.
type speed struct {
	tokens, seconds, steps float64
}

func (s *speed) add(tokens int, took time.Duration) {
	const memory = 0.95
	s.tokens = memory*s.tokens + float64(tokens)
	s.seconds = memory*s.seconds + took.Seconds()
	s.steps = memory*s.steps + 1
}

func (s *speed) tokensPerSecond() float64 {
	if s.seconds <= 0 {
		return 0
	}
	return s.tokens / s.seconds
}

func (s *speed) left(steps int) time.Duration {
	if s.steps == 0 {
		return 0
	}
	return time.Duration(float64(steps) * s.seconds / s.steps * float64(time.Second))
}
