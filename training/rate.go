package training

import "math"

// warmup returns how many of the steps the rate rises.
func (c *Config) warmup(steps int) int {
	if c.WarmupSteps > 0 {
		return min(c.WarmupSteps, steps)
	}
	return int(math.Ceil(c.WarmupRatio * float64(steps)))
}

// rate returns the learning rate of a step, counted from 0, of a run of steps. It rises evenly to learning_rate,
// which the first step behind the warmup has, and then falls to nearly zero or stays.
func (c *Config) rate(step, steps int) float64 {
	warmup := c.warmup(steps)
	if step < warmup {
		return c.LearningRate * float64(step+1) / float64(warmup+1)
	}
	done := float64(step-warmup) / float64(max(1, steps-warmup))
	switch c.Scheduler {
	case Linear:
		return c.LearningRate * (1 - done)
	case Cosine:
		return c.LearningRate * (1 + math.Cos(math.Pi*done)) / 2
	}
	return c.LearningRate
}
