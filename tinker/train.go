package tinker

import (
	"context"
	"fmt"
	"math"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/loss"
)

// ForwardBackward adds a model's call with the number seq. The future's result is a *ForwardBackwardResult.
func (s *Service) ForwardBackward(who *Caller, id string, seq int64, r *ForwardBackward) (*Future, error) {
	if err := checkSeq(seq); err != nil {
		return nil, err
	}
	if err := r.check(s.o.Model.Facts().VocabSize); err != nil {
		return nil, err
	}
	m, err := s.model(who, id)
	if err != nil {
		return nil, err
	}
	size := func(result any) int64 { return result.(*ForwardBackwardResult).bytes() }
	return m.submit(seq, r.bytes(), size, func(ctx context.Context) (any, error) { return m.forwardBackward(ctx, r) })
}

// checkSeq checks the number of a call that is not a model's first.
func checkSeq(seq int64) error {
	if seq < 1 || seq > math.MaxInt32 {
		return invalid("seq_id", "is %d: the calls of a model are numbered from 1 on", seq)
	}
	return nil
}

// forwardBackward computes a call in micro-batches. After an error no gradients are left, since some may have been added.
func (m *model) forwardBackward(ctx context.Context, r *ForwardBackward) (any, error) {
	for i := range r.Data {
		if n := len(r.Data[i].Tokens); n > m.maxTokens {
			return nil, invalid("data", "has a sequence of %d tokens, the memory and the context of this server allow %d for this model", n, m.maxTokens)
		}
	}
	out, metrics := &ForwardBackwardResult{}, loss.Metrics{}
	starts := microBatches(r.Data, m.maxTokens)
	for i := range len(starts) - 1 {
		part := r.Data[starts[i]:starts[i+1]]
		logProbs, err := m.microBatch(ctx, r, part, metrics)
		if err != nil {
			if had := m.gradients; !r.ForwardOnly {
				if m.gradients = false; had {
					err = fmt.Errorf("%w; the gradients since the last optim_step are dropped", err)
				}
			}
			return nil, err
		}
		for j := range part {
			n := len(part[j].Tokens)
			out.LogProbs = append(out.LogProbs, logProbs[:n:n])
			logProbs = logProbs[n:]
		}
	}
	out.Metrics = metricsOf(metrics)
	return out, nil
}

// microBatch computes the loss of some data, adds it to the metrics, and adds its gradients where they are asked for. It
// returns the log-probabilities of the target tokens.
func (m *model) microBatch(ctx context.Context, r *ForwardBackward, part []Datum, metrics loss.Metrics) ([]float32, error) {
	b, linear := batch(part), r.Loss == crossEntropy
	in := loss.Tokens{}
	if linear {
		in.Weights = values(part, weights)
		b.Weights = in.Weights
	} else {
		in.Sampled, in.Advantages = values(part, sampled), values(part, advantages)
	}
	var err error
	if r.ForwardOnly || !linear {
		in.LogProbs, err = m.pass(ctx, runtime.TrainEval, b)
	} else {
		in.LogProbs, err = m.gradientPass(ctx, b)
	}
	if err != nil {
		return nil, err
	}
	result, err := r.compute(in)
	if err != nil {
		return nil, err
	}
	if !r.ForwardOnly && !linear {
		b.Weights = result.Weights
		if _, err := m.gradientPass(ctx, b); err != nil {
			return nil, err
		}
	}
	metrics.Add(result.Metrics)
	metrics.Add(loss.Metrics{lossSum: {Sum: result.Loss}, tokensSum: {Sum: float64(len(b.Tokens))}})
	return in.LogProbs, nil
}

// Names of metrics; that of every metric says how those of several calls are put together.
const (
	lossSum    = "loss:sum"
	tokensSum  = "tokens:sum"
	meanEnding = ":mean"
)

// metricsOf puts metrics under names that clients know.
func metricsOf(m loss.Metrics) map[string]float64 {
	out := map[string]float64{}
	for name, x := range m {
		if name == lossSum || name == tokensSum {
			out[name] = x.Sum
		} else {
			out[name+meanEnding] = x.Value()
		}
	}
	return out
}

// gradientPass adds the gradients of a micro-batch to those that there are.
func (m *model) gradientPass(ctx context.Context, b runtime.TrainBatch) ([]float32, error) {
	mode := runtime.TrainFirst
	if m.gradients {
		mode = runtime.TrainFurther
	}
	logProbs, err := m.pass(ctx, mode, b)
	m.gradients = m.gradients || err == nil
	return logProbs, err
}

// pass runs one micro-batch and returns the log-probabilities of its labels.
func (m *model) pass(ctx context.Context, mode runtime.TrainMode, b runtime.TrainBatch) ([]float32, error) {
	if err := m.trainer.Begin(mode, b); err != nil {
		return nil, err
	}
	if err := m.service.o.Work(ctx, m.trainer); err != nil {
		return nil, err
	}
	return m.trainer.Result().LogProbs, nil
}

// OptimStepResult is the result of OptimStep.
type OptimStepResult struct{ Metrics map[string]float64 }

// OptimStep adds a model's call: a step of Adam over the gradients so far. The future's result is an *OptimStepResult.
func (s *Service) OptimStep(who *Caller, id string, seq int64, u runtime.TrainUpdate) (*Future, error) {
	if err := checkSeq(seq); err != nil {
		return nil, err
	}
	if err := checkUpdate(&u); err != nil {
		return nil, err
	}
	m, err := s.model(who, id)
	if err != nil {
		return nil, err
	}
	return m.submit(seq, 0, nil, func(ctx context.Context) (any, error) { return m.optimStep(ctx, u) })
}

// checkUpdate returns a FieldError for a value that Adam cannot be run with.
func checkUpdate(u *runtime.TrainUpdate) error {
	for _, f := range []struct {
		name        string
		value       float32
		least, most float64
	}{
		{"learning_rate", u.Rate, 0, 1e3}, {"beta1", u.Beta1, 0, 1 - 1e-7}, {"beta2", u.Beta2, 0, 1 - 1e-7}, {"eps", u.Epsilon, 1e-37, 1},
		{"weight_decay", u.WeightDecay, 0, 1e3}, {"grad_clip_norm", u.Clip, 0, math.MaxFloat32},
	} {
		if v := float64(f.value); !(v >= f.least && v <= f.most) {
			return invalid("adam_params."+f.name, "is %v, it must be from %v to %v", f.value, f.least, f.most)
		}
	}
	return nil
}

func (m *model) optimStep(ctx context.Context, u runtime.TrainUpdate) (any, error) {
	if !m.gradients {
		return nil, invalid("optim_step", "comes without gradients: there was no forward_backward since the last step")
	}
	m.gradients = false
	if err := m.trainer.BeginUpdate(u); err != nil {
		return nil, err
	}
	if err := m.service.o.Work(ctx, m.trainer); err != nil {
		return nil, err
	}
	m.steps++
	metrics := map[string]float64{"steps": float64(m.trainer.Result().Steps)}
	if norm := m.trainer.Result().GradNorm; !math.IsNaN(norm) && !math.IsInf(norm, 0) {
		metrics["grad_norm"] = norm
	}
	return &OptimStepResult{metrics}, nil
}
