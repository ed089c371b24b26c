package training

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// run is the training of one job, from its last checkpoint to its end or until its context ends.
type run struct {
	q       *Queue
	j       *job
	job     Job // as it was when the run began
	set     *examples
	order   *dataset.Schedule
	method  method
	most    int   // tokens of a micro-batch
	probe   []int // of the training examples, where there are none for validation
	trainer runtime.Trainer
	state   state

	written string    // the file the Trainer's state is in, as it is now; "" where it is in none
	saved   time.Time // when the last checkpoint was written
	clock   time.Time // up to when state.Seconds counts
	speed   speed
	now     func() time.Time
}

// maxProbe is how many training examples the base and the adapter are compared on where none are held back.
const maxProbe = 16

// train runs a job to its end.
func (q *Queue) train(ctx context.Context, j *job) (outcome, error) {
	job, err := q.Get(j.ID)
	if err != nil {
		return outcome{}, err
	}
	r := &run{q: q, j: j, job: job, now: time.Now}
	defer r.close()
	if err := r.open(ctx); err != nil {
		return outcome{}, err
	}
	if err := r.steps(ctx); err != nil {
		return outcome{}, r.explain(err)
	}
	return r.publish(ctx)
}

// open opens the examples, makes the Trainer, and restores the last checkpoint.
func (r *run) open(ctx context.Context) (err error) {
	c := &r.job.Config
	if r.job.Base != r.q.o.Model.Facts().Fingerprint {
		return fmt.Errorf("%w: the job was made for another base, with the fingerprint %s", runtime.ErrTrain, r.job.Base)
	}
	if r.set, err = openExamples(r.q.disk.path(r.q.inJob(r.job.ID, examplesFile))); err != nil {
		return err
	}
	if err := r.planSteps(); err != nil {
		return err
	}
	spec, err := r.q.spec(c, r.most, len(r.set.train.lengths)+len(r.set.eval.lengths))
	if err != nil {
		return err
	}
	err = r.q.waitForMemory(ctx, r.j, func() (err error) {
		if spec.Start, err = r.readStart(); err == nil {
			r.trainer, err = r.q.o.NewTrainer(spec)
		}
		if spec.Start != nil {
			spec.Start = nil // the Trainer has its own values
			r.q.freeCopies(4 * r.q.parameters(spec.Modules, spec.Norms))
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.begin(ctx, &spec)
}

// close frees what open has opened.
func (r *run) close() {
	if r.trainer != nil {
		r.trainer.Close()
	}
	if r.set != nil {
		r.set.Close()
	}
}

// planSteps makes the schedule of the run's examples, and the method that follows it.
func (r *run) planSteps() (err error) {
	c := &r.job.Config
	r.order = dataset.NewSchedule(r.set.train.lengths, r.q.schedule(c))
	if len(r.set.eval.lengths) == 0 {
		r.probe = dataset.Shuffled(len(r.set.train.lengths), uint64(c.Seed), dataset.ProbeOrder)
		r.probe = r.probe[:min(maxProbe, len(r.probe))]
	}
	if r.method, err = r.newMethod(); err != nil {
		return err
	}
	r.most = r.method.mostTokens()
	return nil
}

// begin restores the last checkpoint and reports where the run continues.
func (r *run) begin(ctx context.Context, spec *runtime.TrainSpec) error {
	if err := r.load(); err != nil {
		return err
	}
	r.written, r.saved, r.clock = r.state.File, r.now(), r.now()
	r.progress(nil)
	m := r.trainer.Memory()
	what := fmt.Sprintf("%d modules", len(spec.Modules))
	if n := len(spec.Norms); n > 0 {
		what += fmt.Sprintf(" and %d norms", n)
	}
	r.q.tell(r.j, LevelInfo, fmt.Sprintf("Training %s in micro-batches of up to %d tokens: %.0f MiB, activations of %d layers kept.",
		what, r.most, float64(m.Bytes)/(1<<20), m.Kept))
	if r.state.Step > 0 {
		r.q.tell(r.j, LevelInfo, fmt.Sprintf("Going on from the checkpoint at step %d.", r.state.Step))
		return r.method.begin(ctx)
	}
	if s := r.job.Start; s == nil {
		// The first values, in slices like all that follows: DoRA's lengths and decompositions of weights take long, and a method that samples
		// before it trains would have them computed all at once.
		if err := r.q.o.Work(ctx, r.trainer); err != nil {
			return err
		}
	} else {
		r.q.tell(r.j, LevelInfo, fmt.Sprintf("Training on from %s.", s))
	}
	err := r.q.retryWhileFull(ctx, r.j, func() error { // of an earlier job
		return disk.NoSpace(r.q.o.Store.DropCheckpoints(r.job.Name))
	})
	if err != nil {
		return err
	}
	return r.method.begin(ctx)
}

// explain adds to the error of a run that diverged what can be done about it.
func (r *run) explain(err error) error {
	if !isDiverged(err) {
		return err
	}
	text := fmt.Sprintf("try a lower learning_rate than %g", r.job.Config.LearningRate)
	if list, e := r.q.Checkpoints(r.job.ID); e == nil && len(list) > 0 {
		text += fmt.Sprintf("; the last good checkpoint is %s", list[0].Adapter)
	}
	return fmt.Errorf("%w; %s", err, text)
}

// steps trains until the plan or early stopping ends it. When it returns nil the Trainer holds what is to be
// published, and that is on disk.
func (r *run) steps(ctx context.Context) error {
	if r.state.Done {
		return r.restoreBest()
	}
	if r.state.Base == nil {
		base, err := r.evaluate(ctx)
		if err != nil {
			return err
		}
		r.state.Base = base
		r.tellScore(base, "Before training")
	}
	for r.state.Step < r.order.Steps() {
		if err := r.step(ctx); err != nil {
			return err
		}
		stop, err := r.after(ctx)
		if err != nil {
			return err
		}
		if stop {
			r.q.tell(r.j, LevelInfo, fmt.Sprintf("Stopped early at step %d: the validation loss was best at step %d.", r.state.Step, r.state.Best.Step))
			break
		}
		if r.pausing() {
			return r.pause(ctx)
		}
	}
	if r.state.Best != nil {
		r.state.Last = r.state.Best
	}
	if r.state.Last == nil || r.state.Best == nil && r.state.Last.Step < r.state.Step {
		last, err := r.evaluate(ctx)
		if err != nil {
			return err
		}
		r.state.Last = last
		r.tellScore(last, "After training")
	}
	r.state.Done = true
	if err := r.save(ctx, false, false); err != nil {
		return err
	}
	return r.restoreBest()
}

// restoreBest goes back to the best evaluation, where early stopping looked for one.
func (r *run) restoreBest() error {
	r.written = ""
	return r.restore(r.state.BestAt)
}

// after evaluates and saves a checkpoint where that is due after a step. It reports whether early stopping ends the run.
func (r *run) after(ctx context.Context) (stop bool, err error) {
	c, n := &r.job.Config, r.state.Step
	last := n == r.order.Steps()
	due := last || c.EvalStrategy == EverySteps && n%c.EvalSteps == 0 || c.EvalStrategy == EveryEpoch && n%r.order.StepsPerEpoch() == 0
	best := false
	if due && c.EvalStrategy != Never && len(r.set.eval.lengths) > 0 {
		if r.state.Last, err = r.evaluate(ctx); err != nil {
			return false, err
		}
		r.tellScore(r.state.Last, "Validation")
		best, stop = r.compare()
	}
	publish := c.publishes(n, r.order.StepsPerEpoch(), last)
	if best || r.state.Guard.stable() && (publish || r.now().Sub(r.saved) >= r.q.o.SaveEvery) {
		err = r.save(ctx, publish, best)
	}
	return stop, err
}

// publishes reports whether the adapter as it stands after step n is to be served as a checkpoint. The last of a run that
// saves by steps is the adapter itself.
func (c *Config) publishes(n, perEpoch int, last bool) bool {
	switch c.SaveStrategy {
	case Never:
		return false
	case EveryEpoch:
		return last || n%perEpoch == 0
	}
	return c.SaveSteps > 0 && n%c.SaveSteps == 0 && !last
}

// compare updates the best evaluation and the patience of early stopping with the last evaluation.
func (r *run) compare() (best, stop bool) {
	s := &r.state
	if r.job.Config.Patience == 0 {
		return false, false
	}
	if s.Best == nil || s.Last.Loss < s.Best.Loss {
		s.Best, s.Stale = s.Last, 0
		return true, false
	}
	s.Stale++
	return false, s.Stale >= r.job.Config.Patience
}

// note returns the origin and the metrics that the Store keeps with the adapter.
func (r *run) note() adapters.Note {
	s := &r.state
	m := map[string]float64{
		"train_loss": s.Loss, "steps": float64(s.Step), "epochs": r.order.Epoch(s.Step), "trained_tokens": float64(s.Tokens),
	}
	if s.Done {
		m["train_seconds"] = s.Seconds
	}
	if at := cmp.Or(s.Last, s.Base); len(r.set.eval.lengths) > 0 && at != nil {
		m["eval_loss"], m["eval_accuracy"] = at.Loss, at.Accuracy
		m["base_eval_loss"] = s.Base.Loss
		if r.job.Config.Method == Supervised {
			m["eval_perplexity"] = perplexity(at.Loss)
		}
		for name, x := range at.Measures {
			m["eval_"+name] = x
		}
	}
	return adapters.Note{Origin: adapters.Origin{Kind: adapters.FromJob, Detail: r.job.ID}, Metrics: m, Pin: r.job.Lasting}
}
