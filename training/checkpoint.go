package training

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/adapters"
)

// state is the content of checkpoint.json. Together with the Trainer's state, in the file that it names, it is everything
// that the run needs to continue: what it does next follows from Step.
type state struct {
	Step    int     `json:"step"`              // done
	File    string  `json:"state,omitempty"`   // the Trainer's; "" at step 0, where a new one is
	Done    bool    `json:"done,omitempty"`    // the run is over, only publishing is left
	Tokens  int64   `json:"tokens"`            // trained
	Seconds float64 `json:"seconds"`           // in training
	Loss    float64 `json:"loss"`              // of the last step
	Correct float64 `json:"accuracy"`          // of the last step
	Guard   guard   `json:"guard"`             //
	Base    *score  `json:"base,omitempty"`    // of the base, before the first step
	Last    *score  `json:"last,omitempty"`    // of the last evaluation
	Best    *score  `json:"best,omitempty"`    // with early stopping: the best evaluation,
	BestAt  string  `json:"best_at,omitempty"` // and the Trainer's state then
	Stale   int     `json:"stale,omitempty"`   // evaluations since
}

// score is an evaluation.
type score struct {
	Step     int     `json:"step"`
	Loss     float64 `json:"loss"`     // per labelled token
	Accuracy float64 `json:"accuracy"` // the share of the labelled tokens that were the likeliest
	Tokens   int     `json:"tokens"`   // labelled

	Measures map[string]float64 `json:"measures,omitempty"` // further numbers of the method
}

// load restores the last checkpoint, if there is one.
func (r *run) load() error {
	err := r.q.disk.readJSON(r.q.inJob(r.job.ID, checkpointFile), &r.state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return r.restore(r.state.File)
}

// restore gives the Trainer the state that is in a file.
func (r *run) restore(file string) error {
	if file == "" {
		return nil
	}
	f, err := os.Open(r.q.disk.path(r.q.inJob(r.job.ID, file)))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, file, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = r.trainer.ReadState(f, info.Size())
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, file, err)
	}
	return nil
}

// save writes a checkpoint, publishes it where the adapter is to be served as of this step, and removes the files
// that it makes useless. best says that this is the best evaluation yet. On a full disk it waits for room.
func (r *run) save(ctx context.Context, publish, best bool) error {
	return r.q.retryWhileFull(ctx, r.j, func() error { return r.trySave(publish, best) })
}

func (r *run) trySave(publish, best bool) error {
	if publish {
		if err := r.publishCheckpoint(); err != nil {
			return err
		}
	}
	s := r.state
	if s.Step > 0 {
		s.File = fmt.Sprintf("%s%d.bin", statePrefix, s.Step)
		if r.written != s.File {
			if err := r.q.disk.put(r.q.inJob(r.job.ID, s.File), r.trainer.WriteState); err != nil {
				return err
			}
		}
		r.written = s.File
		if best {
			s.BestAt = s.File
		}
	}
	if err := r.q.disk.putJSON(r.q.inJob(r.job.ID, checkpointFile), s); err != nil {
		return err
	}
	r.state, r.saved = s, r.now()
	r.q.dropStates(r.job.ID, s.File, s.BestAt)
	if publish {
		r.q.writeResults(r.q.ctx, r.j)
	}
	return r.q.forgetCrashes(r.job.ID)
}

// forgetCrashes notes that a job has come further since the server ended while it worked on it: it is not the job that
// ends the server.
func (q *Queue) forgetCrashes(id string) error {
	q.commit.Lock()
	defer q.commit.Unlock()
	j, rec, err := q.record(id)
	if err != nil || rec.Crashes == 0 {
		return err
	}
	rec.Crashes = 0
	return q.save(j, rec)
}

const statePrefix = "state-"

// dropStates removes a job's state files except those to keep. A file that cannot be removed is reported and left.
func (q *Queue) dropStates(id string, keep ...string) {
	entries, err := os.ReadDir(q.disk.path("jobs", id))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), statePrefix) && !slices.Contains(keep, e.Name()) {
			err = errors.Join(err, q.disk.remove(q.inJob(id, e.Name())))
		}
	}
	if err != nil {
		q.o.Warn(fmt.Sprintf("training job %s: removing old states: %v", id, err))
	}
}

// removeWorkFiles removes the files that only a running or resumable job needs. Its datasets stay.
func (q *Queue) removeWorkFiles(id string) {
	q.dropStates(id)
	for _, name := range []string{examplesFile, referenceFile, startFile} {
		if err := q.disk.remove(q.inJob(id, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			q.o.Warn(fmt.Sprintf("training job %s: removing %s: %v", id, name, err))
		}
	}
}

// publishCheckpoint stores the adapter as it stands, to be served as name@step-N.
func (r *run) publishCheckpoint() error {
	info, err := r.q.o.Store.PutCheckpoint(r.job.Name, r.state.Step, r.job.Config.SaveTotal, r.trainer, r.note())
	if err != nil {
		return fmt.Errorf("storing a checkpoint: %w", err)
	}
	c := Checkpoint{
		ID: fmt.Sprintf("ftckpt-%s-%d", strings.TrimPrefix(r.job.ID, jobPrefix), r.state.Step), Step: r.state.Step,
		Adapter: r.job.Name + "@" + info.Label, Digest: info.Digest, Created: now(),
		Loss: r.state.Loss, Accuracy: r.state.Correct,
	}
	if e := r.state.Last; e != nil && e.Step == r.state.Step {
		c.EvalLoss, c.EvalAccuracy = &e.Loss, &e.Accuracy
	}
	if err := r.q.keepCheckpoint(r.job.ID, c); err != nil {
		return err
	}
	r.q.tell(r.j, LevelInfo, fmt.Sprintf("Checkpoint: %s can be used.", c.Adapter))
	return nil
}

// keepCheckpoint adds a checkpoint to a job, in the place of one at the same step.
func (q *Queue) keepCheckpoint(id string, c Checkpoint) error {
	q.commit.Lock()
	defer q.commit.Unlock()
	j, rec, err := q.record(id)
	if err != nil {
		return err
	}
	var list []Checkpoint
	for _, old := range rec.Checkpoints {
		if old.Step < c.Step { // a run that goes on makes the later ones again
			list = append(list, old)
		}
	}
	list = append(list, c)
	rec.Checkpoints = list[max(0, len(list)-rec.Config.SaveTotal):]
	return q.save(j, rec)
}

// serves reports whether the Store still has a checkpoint.
func (q *Queue) serves(name string, c Checkpoint) bool {
	_, err := q.o.Store.Get(adapters.Ref{Name: name, Version: c.Digest})
	return err == nil
}
