package training

import (
	"fmt"
	"math"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// guard watches the loss of a run. Its fields are part of the checkpoint.
type guard struct {
	First  float64 `json:"first"`  // loss of the first step
	Mean   float64 `json:"mean"`   // moving average
	Lowest float64 `json:"lowest"` // that the average has been
	Seen   int     `json:"seen"`   // steps
}

const (
	guardMemory = 0.9 // of the moving average
	// A run has diverged when its average loss is more than guardRise above its lowest value and more than guardLoss
	// above the first loss. Both are in nats per token.
	guardRise = 3.0
	guardLoss = 1.0
	// Above this rise no checkpoint is written, so that the last checkpoint is from before the divergence.
	guardUnstable = 1.0
)

// see records the loss of a step. It returns an error wrapping runtime.ErrDiverged when the run has diverged.
func (g *guard) see(step int, loss float64) error {
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return fmt.Errorf("%w: the loss of step %d is %v", runtime.ErrDiverged, step, loss)
	}
	if g.Seen == 0 {
		*g = guard{First: loss, Mean: loss, Lowest: loss}
	}
	g.Seen++
	g.Mean = guardMemory*g.Mean + (1-guardMemory)*loss
	g.Lowest = min(g.Lowest, g.Mean)
	if g.Mean > g.Lowest+guardRise && g.Mean > g.First+guardLoss {
		return fmt.Errorf("%w: at step %d the loss, averaged, is %.2f, after %.2f at best and %.2f at the beginning",
			runtime.ErrDiverged, step, g.Mean, g.Lowest, g.First)
	}
	return nil
}

// stable reports whether the loss is low enough for a checkpoint.
func (g *guard) stable() bool { return g.Mean <= max(g.Lowest+guardUnstable, g.First) }
