package batches

import (
	"crypto/rand"
	"strings"
	"time"
)

// Status is where a batch stands, by the names OpenAI gives them.
type Status string

// The statuses.
const (
	Validating Status = "validating"
	InProgress Status = "in_progress"
	Finalizing Status = "finalizing"
	Cancelling Status = "cancelling"
	Completed  Status = "completed"
	Failed     Status = "failed"
	Expired    Status = "expired"
	Cancelled  Status = "cancelled"
)

// Ended reports whether nothing more happens to the batch.
func (s Status) Ended() bool { return s == Completed || s == Failed || s == Expired || s == Cancelled }

// Spec is what a batch is made of.
type Spec struct {
	Endpoint  string            `json:"endpoint"`      // "/v1/chat/completions", ...
	InputFile string            `json:"input_file_id"` // its id; its content is copied
	Owner     string            `json:"owner,omitempty"`
	Window    time.Duration     `json:"window"`         // the time in which it is answered
	Keep      time.Duration     `json:"keep,omitempty"` // how long the files of results are kept, from when they are made; 0: for ever
	Metadata  map[string]string `json:"metadata,omitempty"`
}

// Counts are the lines of a batch. Completed and Failed are those that have a result.
type Counts struct {
	Total     int `json:"total"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
}

// Fault is what is wrong with a batch or with one of its lines.
type Fault struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Param   string `json:"param,omitempty"`
	Line    int    `json:"line,omitempty"` // counted from 1; 0: the whole batch
}

// Batch describes a batch. It is the caller's to keep.
type Batch struct {
	Spec
	ID     string  `json:"id"` // "batch_..."
	Status Status  `json:"status"`
	Counts Counts  `json:"request_counts"`
	Faults []Fault `json:"errors,omitempty"`

	// The files of results, "" before the batch has ended and where there are no results.
	OutputFile string `json:"output_file_id,omitempty"`
	ErrorFile  string `json:"error_file_id,omitempty"`

	Created    time.Time `json:"created_at"`
	Expires    time.Time `json:"expires_at"`
	Started    time.Time `json:"in_progress_at,omitzero"`
	Finalized  time.Time `json:"finalizing_at,omitzero"`
	Finished   time.Time `json:"finished_at,omitzero"` // completed, failed, expired or cancelled
	Cancelling time.Time `json:"cancelling_at,omitzero"`

	// Starts is how often lines have begun to be asked since there were Results results: more than once, where the server has
	// ended meanwhile and was not stopped.
	Starts  int `json:"starts,omitempty"`
	Results int `json:"results,omitempty"`

	// Ends is the status that the batch has when it is finalized, and the ids that its files get.
	Ends      Status `json:"ends,omitempty"`
	NewOutput string `json:"new_output_file_id,omitempty"`
	NewError  string `json:"new_error_file_id,omitempty"`
}

const idPrefix = "batch_"

// newID returns prefix and 24 random letters and digits.
func newID(prefix string) string { return prefix + strings.ToLower(rand.Text()[:24]) }

// isID reports whether id is one that newID made with the prefix. It then is safe as a file's name.
func isID(id, prefix string) bool {
	rest, ok := strings.CutPrefix(id, prefix)
	return ok && len(rest) == 24 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}
