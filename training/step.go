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

// step does one step: the micro-batches, then the update.
func (r *run) step(ctx context.Context) error {
	began, n := r.now(), r.state.Step
	parts := r.order.Step(n)
	norm := 0
	for _, part := range parts {
		norm += r.set.train.learned(part)
	}
	var sum total
	for i, part := range parts {
		mode := runtime.TrainFurther
		if i == 0 {
			mode = runtime.TrainFirst
		}
		if err := r.runMicroBatch(ctx, mode, &r.set.train, part, float64(norm), &sum); err != nil {
			return r.at(n+1, err)
		}
	}
	loss := sum.loss / float64(norm)
	if err := r.state.Guard.see(n+1, loss); err != nil {
		return err
	}
	u := r.job.Config.update(n, r.order.Steps())
	if err := r.trainer.BeginUpdate(u); err != nil {
		return err
	}
	if err := r.q.o.Work(ctx, r.trainer); err != nil {
		return r.at(n+1, err)
	}
	s := &r.state
	r.written = ""
	s.Step++
	s.Tokens += int64(sum.tokens)
	s.Loss, s.Correct = loss, float64(sum.correct)/float64(norm)
	r.speed.add(sum.tokens, r.now().Sub(began))
	r.progress(&Metrics{Rate: float64(u.Rate), GradNorm: finite(r.trainer.Result().GradNorm)})
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

// total sums the results of micro-batches.
type total struct {
	loss                      float64
	labelled, correct, tokens int
}

// pass runs one micro-batch and adds what it gave.
func (r *run) runMicroBatch(ctx context.Context, mode runtime.TrainMode, all *exampleSet, part []int, norm float64, sum *total) error {
	list, err := all.read(part)
	if err != nil {
		return err
	}
	b := dataset.Batch(list, norm)
	if err := r.trainer.Begin(mode, b); err != nil {
		return err
	}
	if err := r.q.o.Work(ctx, r.trainer); err != nil {
		return err
	}
	res := r.trainer.Result()
	sum.loss += res.Loss
	sum.labelled += res.Labelled
	sum.correct += res.Correct
	sum.tokens += len(b.Tokens)
	return nil
}

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

// evaluate returns the loss as it stands.
func (r *run) evaluate(ctx context.Context) (*score, error) {
	all, list := r.evalSet()
	norm := all.learned(list)
	var sum total
	for _, part := range r.evalBatches() {
		if err := r.runMicroBatch(ctx, runtime.TrainEval, all, part, float64(norm), &sum); err != nil {
			return nil, r.at(r.state.Step, err)
		}
	}
	s := &score{Step: r.state.Step, Loss: sum.loss / float64(norm), Accuracy: float64(sum.correct) / float64(norm), Tokens: norm}
	if math.IsNaN(s.Loss) || math.IsInf(s.Loss, 0) {
		return nil, fmt.Errorf("%w: the validation loss after step %d is %v", runtime.ErrDiverged, s.Step, s.Loss)
	}
	return s, nil
}

// tellScore reports an evaluation. Of training examples it is a message, not a validation loss.
func (r *run) tellScore(s *score, when string) {
	e := Event{Created: now(), Level: LevelInfo, Kind: KindMessage}
	if len(r.set.eval.lengths) == 0 {
		e.Message = fmt.Sprintf("%s: loss %.4f on %d tokens of the training examples.", when, s.Loss, s.Tokens)
	} else {
		e.Kind = KindMetrics
		e.Message = fmt.Sprintf("%s: loss %.4f, perplexity %.2f, accuracy %.3f.", when, s.Loss, perplexity(s.Loss), s.Accuracy)
		e.Metrics = r.metrics()
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

// progress updates the job in memory, and reports the step where of is not nil: it has what metrics has not.
func (r *run) progress(of *Metrics) {
	s, t := &r.state, r.now()
	s.Seconds += t.Sub(r.clock).Seconds()
	r.clock = t
	m := r.metrics()
	p := Progress{Step: s.Step, Steps: m.Steps, Epoch: m.Epoch, Loss: s.Loss, Tokens: s.Tokens, Seconds: s.Seconds}
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
		m.Rate, m.GradNorm = of.Rate, of.GradNorm
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
