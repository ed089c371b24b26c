package training

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// Status is the state of a job, by the names OpenAI gives them.
type Status string

// The states. The last three are final, unless the job is resumed.
const (
	Validating Status = "validating_files"
	Queued     Status = "queued"
	Running    Status = "running"
	Paused     Status = "paused" // until it is resumed
	Succeeded  Status = "succeeded"
	Failed     Status = "failed"
	Cancelled  Status = "cancelled"
)

// Ended reports whether the job is over.
func (s Status) Ended() bool { return s == Succeeded || s == Failed || s == Cancelled }

// signal is an event that changes a job's state.
type signal string

const (
	validated   signal = "validated"
	started     signal = "started"
	interrupted signal = "interrupted" // the process ended while the job ran
	finished    signal = "finished"
	failed      signal = "failed"
	cancelled   signal = "cancelled"
	paused      signal = "paused"
	resumed     signal = "resumed"                // its examples are there
	restarted   signal = "resumed from the start" // they are not
)

// transitions are all changes of state that there are.
var transitions = map[Status]map[signal]Status{
	Validating: {validated: Queued, failed: Failed, cancelled: Cancelled, paused: Paused},
	Queued:     {started: Running, cancelled: Cancelled, paused: Paused},
	Running:    {interrupted: Queued, finished: Succeeded, failed: Failed, cancelled: Cancelled, paused: Paused},
	Paused:     {resumed: Queued, restarted: Validating, cancelled: Cancelled},
	Failed:     {resumed: Queued, restarted: Validating},
	Cancelled:  {resumed: Queued, restarted: Validating},
}

// next returns the state that follows, or an error wrapping ErrState.
func next(s Status, g signal) (Status, error) {
	if to, ok := transitions[s][g]; ok {
		return to, nil
	}
	return s, fmt.Errorf("%w: it is %s and cannot be %s", ErrState, s, g)
}

// Job is a snapshot of a job. It belongs to the caller, but what its slices and maps hold must not be changed.
type Job struct {
	ID       string    `json:"id"`   // "ftjob-..."
	Name     string    `json:"name"` // of the adapter
	Status   Status    `json:"status"`
	Created  time.Time `json:"created_at"`
	Started  time.Time `json:"started_at,omitzero"` // for the first time
	Finished time.Time `json:"finished_at,omitzero"`

	Config     Config            `json:"config"`
	Base       string            `json:"base"` // fingerprint of the model it is trained on
	Training   Source            `json:"training"`
	Validation *Source           `json:"validation,omitempty"`
	Data       Data              `json:"data"`            // zero until the dataset has been read
	Owner      string            `json:"owner,omitempty"` // tenant that it is of
	Metadata   map[string]string `json:"metadata,omitempty"`
	Request    json.RawMessage   `json:"request,omitempty"` // as CreateRequest had it
	Start      *Start            `json:"start,omitempty"`   // what it trains on from; nil: it begins anew on the base
	Lasting    bool              `json:"lasting,omitempty"` // as CreateRequest had it

	Progress Progress  `json:"progress"`
	Result   *Result   `json:"result,omitempty"` // of a job that succeeded
	Error    *JobError `json:"error,omitempty"`  // of one that failed
	Waits    string    `json:"-"`                // why it waits at the moment; "": it does not
}

// Source says where a dataset came from.
type Source struct {
	File  string `json:"file,omitempty"` // the id of an uploaded file, or its name; "" for inline examples
	Bytes int64  `json:"bytes"`

	Format dataset.Format `json:"format,omitempty"` // what it was written in; it is kept as JSON Lines
}

// Data counts what a job's datasets gave.
type Data struct {
	Lines      int   `json:"lines"`      // conversations and texts to learn from, without the validation's
	Examples   int   `json:"examples"`   // of them, after what was dropped
	Validation int   `json:"validation"` // examples held back or sent for validation
	Tokens     int64 `json:"tokens"`     // of Examples
	Labelled   int64 `json:"labelled"`   // of them, those that are learned
	Longest    int   `json:"longest"`    // tokens
	Truncated  int   `json:"truncated"`  // examples cut to max_length
	Dropped    int   `json:"dropped"`    // examples left out: too long, or with nothing left to learn
}

// Progress says how far a job is. While it runs, it is that of the last step; on disk, of the last checkpoint.
type Progress struct {
	Step     int       `json:"step"`
	Steps    int       `json:"steps"` // in all; 0 until it is known
	Epoch    float64   `json:"epoch"`
	Loss     float64   `json:"loss"`                // of the last step, per labelled token
	EvalLoss *float64  `json:"eval_loss,omitempty"` // of the last evaluation
	Tokens   int64     `json:"trained_tokens"`      // in all steps
	Seconds  float64   `json:"seconds"`             // in training
	ETA      time.Time `json:"eta,omitzero"`        // while it runs

	TokensPerSecond float64 `json:"tokens_per_second,omitempty"` // of the last steps
}

// Result is what a job made.
type Result struct {
	Name    string             `json:"name"`
	Version string             `json:"version"` // short, as adapters.Info has it
	Digest  string             `json:"digest"`
	Metrics map[string]float64 `json:"metrics"` // as the version has them
}

// JobError says why a job failed.
type JobError struct {
	Code    string    `json:"code"` // one of the codes below
	Message string    `json:"message"`
	Param   string    `json:"param,omitempty"` // "training_file", "learning_rate", ...
	Lines   []BadLine `json:"lines,omitempty"` // the first bad lines of the dataset
}

// The codes of a JobError.
const (
	CodeDataset  = "invalid_training_file"
	CodeDiverged = "training_diverged"
	CodeTrainer  = "invalid_hyperparameters" // the trainer cannot do it: what it says is in Message
	CodeGrader   = "grader_failed"
	CodeNoSpace  = "no_space"
	CodeDisk     = "disk_failed"
	CodeCrashed  = "server_crashed" // the server ended twice while it worked on the job
	CodeInternal = "server_error"
)

// Checkpoint is a version of the adapter as it stood at a step.
type Checkpoint struct {
	ID           string    `json:"id"` // "ftckpt-..."
	Step         int       `json:"step"`
	Adapter      string    `json:"adapter"` // what to ask for: "pirate@step-100"
	Digest       string    `json:"digest"`
	Created      time.Time `json:"created_at"`
	Loss         float64   `json:"loss"`
	Accuracy     float64   `json:"accuracy"` // the share of the labelled tokens that were the likeliest
	EvalLoss     *float64  `json:"eval_loss,omitempty"`
	EvalAccuracy *float64  `json:"eval_accuracy,omitempty"`
}

// record is a job as it is kept: job.json.
type record struct {
	Job
	Serial      int64        `json:"serial"` // jobs are listed by it, the largest first
	Order       int64        `json:"order"`  // the waiting job with the smallest runs next
	Checkpoints []Checkpoint `json:"checkpoints,omitempty"`

	// Active is set while the job's files are read or it runs, and taken back when the server stops in an orderly way:
	// a job that is active when the queue is opened was so when the process ended on its own.
	Active  bool `json:"active,omitempty"`
	Crashes int  `json:"crashes,omitempty"` // how often that was so since the job's last checkpoint
}

// The files in a job's folder, besides the states that a checkpoint names.
const (
	jobPrefix = "ftjob-"

	jobFile        = "job.json"
	eventsFile     = "events.jsonl"
	trainingFile   = "training.jsonl"
	validationFile = "validation.jsonl"
	examplesFile   = "examples.bin"
	samplesFile    = "samples.json"
	checkpointFile = "checkpoint.json"
)
