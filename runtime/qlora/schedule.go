package qlora

import (
	"fmt"
	"math"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// A Schedule is the course of the learning rate over a job: a linear warmup, then constant, or falling to zero
// linearly or along half a cosine, as in Hugging Face's trainers.
type Schedule struct {
	Kind   string // "constant", "linear" or "cosine"
	Peak   float64
	Warmup int // steps
	Steps  int // of the whole job
}

// Check returns an error wrapping runtime.ErrTrain that names the field at fault.
func (s Schedule) Check() error {
	switch {
	case s.Kind != "constant" && s.Kind != "linear" && s.Kind != "cosine":
		return fmt.Errorf("%w: lr_scheduler_type %q is none of constant, linear, cosine", runtime.ErrTrain, s.Kind)
	case !(s.Peak > 0) || math.IsInf(s.Peak, 1):
		return fmt.Errorf("%w: learning_rate %v must be positive", runtime.ErrTrain, s.Peak)
	case s.Warmup < 0 || s.Steps <= 0:
		return fmt.Errorf("%w: warmup_steps %d and the job's %d steps must not be negative", runtime.ErrTrain, s.Warmup, s.Steps)
	}
	return nil
}

// At returns the rate of step i, counted from 0.
func (s Schedule) At(i int) float64 {
	if i < s.Warmup {
		return s.Peak * float64(i) / float64(s.Warmup)
	}
	done := min(1, float64(i-s.Warmup)/float64(max(1, s.Steps-s.Warmup)))
	switch s.Kind {
	case "linear":
		return s.Peak * (1 - done)
	case "cosine":
		return s.Peak * 0.5 * (1 + math.Cos(math.Pi*done))
	}
	return s.Peak
}
