package training

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// This file is the preparer's work: a job's datasets become its examples.

// prepare reads the datasets of a job and writes its examples.
func (q *Queue) prepare(ctx context.Context, j *job) (ending, error) {
	job, err := q.Get(j.ID)
	if err != nil {
		return ending{}, err
	}
	enc := q.encoder(&job.Config)
	train, err := q.readLines(ctx, &job, enc, trainingFile, "training")
	if err != nil {
		return ending{}, err
	}
	var held []encoded
	from := trainingFile // where held comes from
	switch {
	case job.Validation != nil:
		if held, err = q.readLines(ctx, &job, enc, validationFile, "validation"); err != nil {
			return ending{}, err
		}
		from = validationFile
	case job.Config.ValidationSplit > 0:
		if train, held, err = holdBack(train, &job.Config); err != nil {
			return ending{}, err
		}
	}
	var set examples
	set.train, set.eval = flatten(train), flatten(held)
	data := count(&set, len(train), enc)
	if len(set.train) == 0 {
		return ending{}, allDropped("training", len(train), &job.Config)
	}
	if len(held) > 0 && len(set.eval) == 0 {
		return ending{}, allDropped("validation", len(held), &job.Config)
	}
	if len(held) == 0 {
		held = train
	}
	if err := q.whenThereIsRoom(ctx, j, func() error { return q.writeSamples(&job, from, held) }); err != nil {
		return ending{}, err
	}
	if err := q.checkFit(&job.Config, (&run{q: q, job: job, set: &set}).lay()); err != nil {
		return ending{}, err
	}
	err = q.whenThereIsRoom(ctx, j, func() error { return writeExamples(q.disk, q.inJob(job.ID, examplesFile), &set) })
	if err != nil {
		return ending{}, err
	}
	if enc.Dropped+enc.Truncated > 0 {
		q.tell(j, LevelWarn, fmt.Sprintf("Of the examples, %d were truncated and %d dropped: max_length is %d tokens.",
			enc.Truncated, enc.Dropped, job.Config.MaxLength))
	}
	return ending{validated, fmt.Sprintf("The files are valid: %d examples with %d tokens, of which %d are learned; %d for validation.",
		data.Examples, data.Tokens, data.Labelled, data.Validation), func(r *record) { r.Data = data }}, nil
}

func allDropped(which string, lines int, c *Config) error {
	return &DatasetError{Dataset: which, Reason: fmt.Sprintf("has nothing to learn from: all of its %d lines were dropped; "+
		"max_length is %d", lines, c.MaxLength)}
}

// inJob is the name of a file in a job's folder.
func (q *Queue) inJob(id, file string) string { return filepath.Join("jobs", id, file) }

// encoded is one line of a dataset.
type encoded struct {
	line     int
	sample   bool // it can be asked as it stands
	examples []dataset.Example
}

// readLines encodes a dataset.
func (q *Queue) readLines(ctx context.Context, job *Job, enc *dataset.Encoder, file, which string) ([]encoded, error) {
	f, err := os.Open(q.disk.path(q.inJob(job.ID, file)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []encoded
	err = dataset.Read(f, which, func(line int, c dataset.Conversation) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		x, err := enc.Encode(ctx, c)
		list = append(list, encoded{line, canAsk(&c), x})
		return err
	})
	return list, err
}

// holdBack takes the share of the lines for validation that the configuration asks for, at least one of each kind.
func holdBack(all []encoded, c *Config) (train, held []encoded, err error) {
	if len(all) < 2 {
		return nil, nil, &DatasetError{Dataset: "training", Reason: "has a single line: none can be held back for validation_split"}
	}
	n := int(math.Round(c.ValidationSplit * float64(len(all))))
	n = min(max(n, 1), len(all)-1)
	order := dataset.Shuffled(len(all), uint64(c.Seed), dataset.SplitOrder)
	slices.Sort(order[:n])
	slices.Sort(order[n:])
	for _, i := range order[:n] {
		held = append(held, all[i])
	}
	for _, i := range order[n:] {
		train = append(train, all[i])
	}
	return train, held, nil
}

func flatten(list []encoded) []dataset.Example {
	var out []dataset.Example
	for _, e := range list {
		out = append(out, e.examples...)
	}
	return out
}

// count describes what the datasets gave.
func count(set *examples, lines int, enc *dataset.Encoder) Data {
	d := Data{Lines: lines, Examples: len(set.train), Validation: len(set.eval), Truncated: enc.Truncated, Dropped: enc.Dropped}
	for i, x := range set.train {
		d.Tokens += int64(len(x.Tokens))
		d.Longest = max(d.Longest, len(x.Tokens))
		d.Labelled += int64(dataset.Labelled(set.train, []int{i}))
	}
	return d
}

// tell adds a message to a job's events.
func (q *Queue) tell(j *job, level, message string) {
	q.log(j, Event{Created: now(), Level: level, Kind: KindMessage, Message: message}, false)
}

// log adds an event. One that cannot be written is not worth failing the job for.
func (q *Queue) log(j *job, e Event, sync bool) {
	if err := j.log.append(e, sync); err != nil {
		q.o.Warn(fmt.Sprintf("training job %s: an event was lost: %v", j.ID, err))
	}
}

// encoder returns what turns the conversations of a job into examples.
func (q *Queue) encoder(c *Config) *dataset.Encoder {
	return dataset.NewEncoder(q.o.Model, q.o.Template, dataset.EncoderOptions{
		MaxLength: c.MaxLength, Drop: c.Truncation == Drop, TrainOnInputs: c.TrainOnInputs,
	})
}

// schedule returns what the order of a job's examples depends on.
func (q *Queue) schedule(c *Config) dataset.ScheduleOptions {
	return dataset.ScheduleOptions{
		Packing: c.Packing, MaxLength: c.MaxLength, Batch: c.Batch, Accumulation: c.Accumulation, Epochs: c.Epochs,
		MaxSteps: c.MaxSteps, MicroBatchTokens: q.o.PassTokens, Seed: uint64(c.Seed),
	}
}

// maxRendered is how many conversations with tools, calls or the like are rendered before a job is accepted. The
// preparer renders all.
const maxRendered = 64

// checkDataset looks at every line of the file, and whether the chat template prints what the first ones have.
func (q *Queue) checkDataset(ctx context.Context, path, which string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	rendered := 0
	return dataset.Read(f, which, func(_ int, c dataset.Conversation) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := dataset.CheckRoles(q.o.Template, &c); err != nil {
			return err
		}
		if rendered == maxRendered || c.Skip || !c.HasMore() {
			return nil
		}
		rendered++
		return dataset.CheckPrinted(q.o.Template, &c)
	})
}
