package training

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file has the calls that change jobs: Create, Cancel and Resume. Pause is in pause.go.

// errCancelled is the cause of a context that Cancel ended.
var errCancelled = errors.New("cancelled")

// Create checks the request, copies its datasets, and returns the new job, which then is on disk. The error
// wraps adapters.ErrName, ErrConfig (a FieldError), ErrDataset (a DatasetError), ErrTooLarge, ErrQueueFull,
// runtime.ErrTrainMemory or ErrClosed. Bodies are read to their end only where it is nil.
func (q *Queue) Create(ctx context.Context, r CreateRequest) (Job, error) {
	if err := adapters.CheckName(r.Name); err != nil {
		return Job{}, err
	}
	if err := q.checkConfig(&r.Config, r.Validation != nil); err != nil {
		return Job{}, err
	}
	if err := q.checkReward(&r.Config, r.Owner); err != nil {
		return Job{}, err
	}
	if err := q.checkWaiting(); err != nil {
		return Job{}, err
	}
	rec := record{Job: Job{
		ID: newID(jobPrefix), Name: r.Name, Status: Validating, Created: now(), Config: r.Config,
		Base: q.o.Model.Facts().Fingerprint, Owner: r.Owner, Metadata: r.Metadata, Request: r.Request, Lasting: r.Lasting,
	}}
	tmp := q.disk.path("tmp", rec.ID)
	if err := q.disk.mkdir(tmp); err != nil {
		return Job{}, err
	}
	defer os.RemoveAll(tmp)
	var err error
	if r.From != nil {
		err = q.oneAtATime(ctx, func() (err error) {
			rec.Start, err = q.copyStart(tmp, *r.From, &rec.Config)
			return err
		})
		if err != nil {
			return Job{}, err
		}
	}
	if rec.Training, err = q.copyInput(ctx, &rec, trainingFile, r.Training, "training", r.ValidateLater); err != nil {
		return Job{}, err
	}
	if r.Validation != nil {
		rec.Validation = new(Source)
		if *rec.Validation, err = q.copyInput(ctx, &rec, validationFile, *r.Validation, "validation", r.ValidateLater); err != nil {
			return Job{}, err
		}
	}
	if !r.ValidateLater {
		err := q.oneAtATime(ctx, func() error { return q.checkMemory(ctx, &rec.Config, filepath.Join(tmp, trainingFile)) })
		if err != nil {
			return Job{}, err
		}
	}
	if err := ctx.Err(); err != nil { // no client waits for the job any more
		return Job{}, err
	}
	return q.enter(rec, tmp, r.Notices)
}

// checkConfig validates a configuration, also against the base, and replaces the values that depend on the base.
func (q *Queue) checkConfig(c *Config, validation bool) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if err := c.fit(q.o.Model.Facts()); err != nil {
		return err
	}
	if err := c.fitInvocation(q.o.Model); err != nil {
		return err
	}
	if how, _, _ := c.Init.read(); how == runtime.InitLoftQ && q.o.NoOriginal != nil {
		return &FieldError{Field: "init_lora_weights", Reason: fmt.Sprintf(`is "loftq": %v`, q.o.NoOriginal)}
	}
	if validation && c.ValidationSplit > 0 {
		return &FieldError{Field: "validation_split", Reason: "is given together with a validation file"}
	}
	if c.Patience > 0 && !validation && c.ValidationSplit == 0 {
		return &FieldError{Field: "early_stopping_patience", Reason: "needs a validation file or validation_split"}
	}
	if _, err := c.modules(q.o.Model.Facts()); err != nil {
		return err
	}
	_, err := c.norms(q.o.Model.Facts())
	return err
}

// modules returns what is to be trained on the base.
func (c *Config) modules(f *runtime.Facts) ([]runtime.TrainModule, error) {
	if c.start != nil {
		return c.start.Modules, nil
	}
	raw, err := json.Marshal(map[string]any{
		"r": c.Rank, "lora_alpha": c.Alpha, "use_rslora": c.RSLoRA, "use_dora": c.DoRA, "target_modules": c.TargetModules.peft(),
		"exclude_modules": c.ExcludeModules, "layers_to_transform": c.Layers,
		"rank_pattern": orNull(c.RankPattern), "alpha_pattern": orNull(c.AlphaPattern),
	})
	if err != nil {
		return nil, err
	}
	list, err := peft.Targets(f, raw)
	if err != nil {
		return nil, configError(err)
	}
	how, iterations, _ := c.Init.read()
	for i := range list {
		if list[i].Tensor != "token_embd.weight" { // which begins as PEFT's default, whatever the others do
			list[i].Init, list[i].Iterations = how, iterations
		}
	}
	return list, nil
}

// norms returns the norms of the base that are to be trained whole.
func (c *Config) norms(f *runtime.Facts) ([]string, error) {
	if c.start != nil {
		return c.start.Norms, nil
	}
	if len(c.ModulesToSave) > 0 && len(c.Invocation) > 0 {
		return nil, &FieldError{Field: "modules_to_save", Reason: "is given beside alora_invocation_tokens: norms would act on the tokens before the invocation, too"}
	}
	list, err := peft.TrainedNorms(f, c.ModulesToSave)
	if err != nil {
		return nil, configError(err)
	}
	return list, nil
}

// configError is an error of package peft about a configuration as one of this package.
func configError(err error) error {
	if e := new(peft.FieldError); errors.As(err, &e) {
		return &FieldError{Field: e.Field, Reason: e.Reason}
	}
	return fmt.Errorf("%w: %w", ErrConfig, err)
}

// linears are the modules that "all-linear" stands for, where it is one of several names.
var linears = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

// peft is the value of target_modules as PEFT reads it: "all-linear" stands alone there.
func (n Names) peft() any {
	if len(n) == 1 && n[0] == AllLinear {
		return AllLinear
	}
	list := []string{}
	for _, name := range n {
		if name == AllLinear {
			list = append(list, linears...)
			continue
		}
		list = append(list, name)
	}
	return list
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}

// checkWaiting returns ErrQueueFull where Options.MaxWaiting jobs wait.
func (q *Queue) checkWaiting() error {
	q.mu.RLock()
	defer q.mu.RUnlock()
	waiting := 0
	for _, j := range q.jobs {
		if j.Status == Queued || j.Status == Validating {
			waiting++
		}
	}
	switch {
	case q.closed:
		return ErrClosed
	case waiting >= q.o.MaxWaiting:
		return fmt.Errorf("%w: %d jobs wait", ErrQueueFull, waiting)
	}
	return nil
}

// oneAtATime looks at a dataset while no other Create does, so that one line of them all is in memory.
func (q *Queue) oneAtATime(ctx context.Context, do func() error) error {
	select {
	case q.checking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-q.checking }()
	return do()
}

// enter moves the new job's folder tmp to its place and adds the job to the queue.
func (q *Queue) enter(rec record, tmp string, notices []string) (Job, error) {
	q.commit.Lock()
	defer q.commit.Unlock()
	if err := q.checkWaiting(); err != nil {
		return Job{}, err
	}
	q.mu.Lock()
	q.serial++
	rec.Serial, rec.Order = q.serial, q.serial
	q.mu.Unlock()
	inTmp := func(name string) string { return filepath.Join("tmp", rec.ID, name) }
	if err := q.disk.putJSON(inTmp(jobFile), rec); err != nil {
		return Job{}, err
	}
	log, err := openLog(q.disk, inTmp(eventsFile))
	if err == nil {
		err = log.append(newEvent(Validating, "The job was created: its files are being validated."), true)
	}
	for _, text := range notices {
		if err == nil {
			err = log.append(Event{Created: now(), Level: LevelWarn, Kind: KindMessage, Message: text}, true)
		}
	}
	if err == nil {
		err = q.disk.enter(tmp, filepath.Join("jobs", rec.ID))
	}
	if err != nil {
		return Job{}, err
	}
	log.name = filepath.Join("jobs", rec.ID, eventsFile)
	q.mu.Lock()
	j := &job{record: rec, log: log}
	q.jobs[rec.ID] = j
	q.mu.Unlock()
	q.measure(j)
	q.retain()
	wake(q.preparer)
	return rec.Job, nil
}

// Cancel ends a job that has not ended, and returns it when its new state is saved: a run stops at the end of its
// slice. The error wraps ErrUnknown, ErrState where the job has ended or ended first, or is ctx's.
func (q *Queue) Cancel(ctx context.Context, id string) (Job, error) {
	return q.stopJob(ctx, id, cancelled, "The job was cancelled.", func(a *activity) { a.cancel(errCancelled) })
}

// stopJob gives a job the state that g leads to. Where the job is being worked on, stop ends that, and stopJob waits for it.
func (q *Queue) stopJob(ctx context.Context, id string, g signal, message string, stop func(*activity)) (Job, error) {
	j, err := q.find(id)
	for err == nil {
		q.commit.Lock()
		a := q.activityOf(j)
		if a == nil {
			defer q.commit.Unlock()
			return q.changeLocked(id, g, message, nil)
		}
		q.commit.Unlock()
		stop(a)
		select {
		case <-a.done:
		case <-ctx.Done():
			return Job{}, ctx.Err()
		}
		if job, err := q.Get(id); err != nil || job.Status == Cancelled || job.Status == Paused && g == paused {
			return job, err
		}
	}
	return Job{}, err
}

// Resume queues a failed, cancelled or paused job again; it goes on from its last checkpoint. A run that diverged continues from its
// last checkpoint before that, and is likely to diverge again. The error wraps ErrUnknown, ErrState, or ErrQueueFull where too many wait.
func (q *Queue) Resume(id string) (Job, error) {
	if _, err := q.find(id); err != nil {
		return Job{}, err
	}
	q.commit.Lock()
	defer q.commit.Unlock()
	_, r, err := q.record(id)
	if err != nil {
		return Job{}, err
	}
	if _, err := next(r.Status, resumed); err != nil {
		return r.Job, err
	}
	if err := q.checkWaiting(); err != nil {
		return r.Job, err
	}
	g, who, what := resumed, q.worker, "queued"
	if _, err := os.Stat(q.disk.path("jobs", id, examplesFile)); err != nil {
		g, who, what = restarted, q.preparer, "being validated"
	}
	job, err := q.changeLocked(id, g, "The job was resumed: it is "+what+" again.", func(r *record) {
		q.mu.Lock()
		q.serial++
		r.Order = q.serial
		q.mu.Unlock()
		r.Error, r.Finished, r.Crashes = nil, time.Time{}, 0
	})
	if err == nil {
		wake(who)
	}
	return job, err
}
