package training

import "time"

// The levels and kinds of events, by the names OpenAI gives them.
const (
	LevelInfo  = "info"
	LevelWarn  = "warn"
	LevelError = "error"

	KindMessage = "message"
	KindMetrics = "metrics"
)

// Event is one thing that happened to a job. Events are numbered from 1. Of a long run, older ones are put together: the
// numbers then have gaps.
type Event struct {
	Seq     int       `json:"seq"`
	Created time.Time `json:"created_at"`
	Level   string    `json:"level"`
	Kind    string    `json:"type"`
	Message string    `json:"message"`
	Status  Status    `json:"status,omitempty"` // what the job has become, where that changed
	Metrics *Metrics  `json:"data,omitempty"`   // of KindMetrics
	Merged  int       `json:"merged,omitempty"` // how many events it stands for, where more than one
}

// Metrics are the numbers of a step, or of an evaluation after a step. An evaluation has EvalLoss; a step has not.
// A run that was interrupted goes on from its last checkpoint, so steps may come again, with the same numbers.
type Metrics struct {
	Step            int      `json:"step"`
	Steps           int      `json:"total_steps"`
	Epoch           float64  `json:"epoch"`
	Loss            float64  `json:"train_loss"`                // per labelled token
	Accuracy        float64  `json:"train_mean_token_accuracy"` // share of labelled tokens that were the likeliest
	Rate            float64  `json:"learning_rate"`
	GradNorm        float64  `json:"grad_norm"`
	TokensPerSecond float64  `json:"tokens_per_second"`
	ETA             float64  `json:"eta_seconds"`
	EvalLoss        *float64 `json:"valid_loss,omitempty"`
	EvalAccuracy    *float64 `json:"valid_mean_token_accuracy,omitempty"`

	Measures map[string]float64 `json:"measures,omitempty"` // further numbers of the method, under TRL's names: "rewards/margins"
}
