package training

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// This file is the preparer's work: a job's datasets become its examples.

// prepare reads the datasets of a job and writes its examples.
func (q *Queue) prepare(ctx context.Context, j *job) (end outcome, err error) {
	job, err := q.Get(j.ID)
	if err != nil {
		return outcome{}, err
	}
	err = q.retryWhileFull(ctx, j, func() error {
		end, err = q.tryPrepare(ctx, j, &job)
		return err
	})
	return end, err
}

func (q *Queue) tryPrepare(ctx context.Context, j *job, job *Job) (outcome, error) {
	if err := q.convertInputs(ctx, job); err != nil {
		return outcome{}, err
	}
	w, err := q.newEncoding(job)
	if err != nil {
		return outcome{}, err
	}
	defer w.close()
	train, err := w.lines(ctx, trainingFile, "training")
	if err != nil {
		return outcome{}, err
	}
	var held []encodedLine
	from := trainingFile // where held comes from
	switch {
	case job.Validation != nil:
		if held, err = w.lines(ctx, validationFile, "validation"); err != nil {
			return outcome{}, err
		}
		from = validationFile
	case job.Config.ValidationSplit > 0:
		if train, held, err = holdBack(train, &job.Config); err != nil {
			return outcome{}, err
		}
	}
	return q.finishPreparing(j, job, w, train, held, from)
}

// finishPreparing writes what the lines to train and to measure on have given. held is from the file from.
func (q *Queue) finishPreparing(j *job, job *Job, w *encoding, train, held []encodedLine, from string) (outcome, error) {
	trainList, heldList := w.examplesOf(train), w.examplesOf(held)
	if len(trainList) == 0 {
		return outcome{}, allDropped("training", len(train), w.enc, &job.Config)
	}
	if len(held) > 0 && len(heldList) == 0 {
		return outcome{}, allDropped("validation", len(held), w.enc, &job.Config)
	}
	if len(held) == 0 {
		held = train
	}
	if err := q.writeSamples(job, from, held); err != nil {
		return outcome{}, err
	}
	all := &w.set
	r := &run{q: q, job: *job, set: &examples{train: all.part(trainList), eval: all.part(heldList)}}
	if err := r.planSteps(); err != nil {
		return outcome{}, err
	}
	if err := q.checkFit(&job.Config, r.most, len(trainList)+len(heldList)); err != nil {
		return outcome{}, err
	}
	if err := w.flush(); err != nil {
		return outcome{}, err
	}
	if err := writeExamples(q.disk, q.inJob(job.ID, examplesFile), all, trainList, heldList); err != nil {
		return outcome{}, err
	}
	if w.enc.Dropped+w.enc.Truncated > 0 {
		q.tell(j, LevelWarn, fmt.Sprintf("Of the examples, %d were truncated and %d dropped: max_length is %d tokens%s.",
			w.enc.Truncated, w.enc.Dropped, job.Config.MaxLength, reasons(w.enc)))
	}
	data := w.count(train, trainList, heldList)
	return outcome{validated, fmt.Sprintf("The files are valid: %d examples with %d tokens, of which %d are learned; %d for validation.",
		data.Examples, data.Tokens, data.Labelled, data.Validation), func(r *record) { r.Data = data }}, nil
}

func allDropped(which string, lines int, enc *dataset.Encoder, c *Config) error {
	return &DatasetError{Dataset: which, Reason: fmt.Sprintf("has nothing to learn from: all of its %d lines were dropped; "+
		"max_length is %d%s", lines, c.MaxLength, reasons(enc))}
}

// reasons says why lines of the datasets were dropped, besides that they are too long.
func reasons(enc *dataset.Encoder) (text string) {
	if enc.Excluded > 0 {
		text = fmt.Sprintf("; of all lines, %d say by a flag, such as weight 0, that nothing of them is to be learned", enc.Excluded)
	}
	if enc.Identical > 0 {
		text += fmt.Sprintf("; of all pairs, %d have two equal answers, from which nothing can be learned", enc.Identical)
	}
	return text
}

// inJob is the name of a file in a job's folder.
func (q *Queue) inJob(id, file string) string { return filepath.Join("jobs", id, file) }

// tell appends a message to a job's events.
func (q *Queue) tell(j *job, level, message string) {
	q.log(j, Event{Created: now(), Level: level, Kind: KindMessage, Message: message}, false)
}

// log appends an event. One that cannot be written is reported to the operator; the job goes on.
func (q *Queue) log(j *job, e Event, sync bool) {
	if err := j.log.append(e, sync); err != nil {
		q.o.Warn(fmt.Sprintf("training job %s: an event was lost: %v", j.ID, err))
	}
}

// encoder returns what turns the conversations of a job into examples.
func (q *Queue) encoder(c *Config) *dataset.Encoder {
	return dataset.NewEncoder(q.o.Model, q.o.Template, dataset.EncoderOptions{
		Kind: c.kind(), MaxLength: c.promptLength(), Drop: c.Truncation == Drop, TrainOnInputs: c.TrainOnInputs, Invocation: c.Invocation, Effort: c.effort(),
	})
}

// reading is how a dataset of a job is read.
func (q *Queue) reading(c *Config, which string) dataset.ReadOptions {
	return dataset.ReadOptions{Which: which, Kind: c.kind(), Limits: q.limits()}
}

// schedule returns what the order of a job's examples depends on.
func (q *Queue) schedule(c *Config) dataset.ScheduleOptions {
	if c.Method == Reinforcement {
		return c.promptSchedule()
	}
	return dataset.ScheduleOptions{
		Packing: c.Packing, MaxLength: c.MaxLength, Batch: c.Batch, Accumulation: c.Accumulation, Epochs: c.Epochs,
		MaxSteps: c.MaxSteps, MicroBatchTokens: q.o.MicroBatchTokens, Seed: uint64(c.Seed),
	}
}

// What is rendered and tokenized before a job is accepted, while its client waits. The preparer does all.
const (
	maxRendered   = 64      // conversations with tools, calls or the like
	maxCheckBytes = 1 << 20 // of their text, and of the text of the lines that show how much memory the job needs
)

// checkDataset looks at every line of the file, and whether the chat template prints what the first ones have.
func (q *Queue) checkDataset(ctx context.Context, c *Config, path, which string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	rendered, text, printed := 0, 0, dataset.NewPrintChecker(q.o.Template)
	return dataset.Read(f, q.reading(c, which), func(_ int, line dataset.Conversation) error {
		for one := &line; one != nil; one = one.Rejected {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := dataset.CheckRoles(q.o.Template, one); err != nil {
				return err
			}
			if rendered == maxRendered || text+one.Bytes() > maxCheckBytes || line.Skip || !one.HasMore() {
				continue
			}
			rendered, text = rendered+1, text+one.Bytes()
			if err := printed.Check(one); err != nil {
				return err
			}
		}
		return nil
	})
}
