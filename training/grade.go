package training

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/lorikeet-ai/lorikeet/graders"
)

// This file gives the answers of a step their rewards and advantages.

const (
	// gradeTime bounds the grading of one answer.
	gradeTime = time.Minute
	// gradedAtOnce is how many answers are graded at once.
	gradedAtOnce = 16
	// maxFailing is how many steps in a row may have more failures of the grader than rewards before the job fails.
	maxFailing = 3
)

// graded is an answer with its reward.
type graded struct {
	answer
	reward  float64
	failure error // why it has none; it is then not learned from
}

// grade returns the rewards of answers, to whose questions items belong. An answer of which a template wants JSON, and
// which is none, has the reward 0. The error is ctx's.
func grade(ctx context.Context, g *graders.Grader, answers []answer, items []map[string]any) ([]graded, error) {
	list := make([]graded, len(answers))
	slots := make(chan struct{}, gradedAtOnce)
	var done sync.WaitGroup
	for i := range answers {
		slots <- struct{}{}
		done.Go(func() {
			defer func() { <-slots }()
			list[i] = gradeOne(ctx, g, answers[i], items[i])
		})
	}
	done.Wait()
	return list, ctx.Err()
}

func gradeOne(ctx context.Context, g *graders.Grader, a answer, item map[string]any) graded {
	ctx, cancel := context.WithTimeout(ctx, gradeTime)
	defer cancel()
	r, err := g.Grade(ctx, &graders.Sample{Item: item, Text: a.text, Calls: a.calls, Cut: a.cut})
	var f *graders.Failure
	switch {
	case err == nil && (math.IsNaN(r.Reward) || math.IsInf(r.Reward, 0) || math.Abs(r.Reward) > math.MaxFloat32):
		err = fmt.Errorf("the reward is %v", r.Reward)
	case errors.As(err, &f) && f.Fault == graders.SampleFault:
		err = nil // it is the answer that is at fault
	}
	return graded{answer: a, reward: r.Reward, failure: err}
}

// rewardStats returns the mean and the standard deviation (of a sample, as TRL has it) of the rewards that there are.
func rewardStats(list []graded) (mean, deviation float64) {
	n := 0.0
	for i := range list {
		if list[i].failure == nil {
			mean += list[i].reward
			n++
		}
	}
	if n == 0 {
		return 0, 0
	}
	mean /= n
	for i := range list {
		if d := list[i].reward - mean; list[i].failure == nil {
			deviation += d * d
		}
	}
	if n < 2 {
		return mean, 0
	}
	return mean, math.Sqrt(deviation / (n - 1))
}

// failures counts the answers without a reward, and returns the first reason.
func failures(list []graded) (n int, first error) {
	for i := range list {
		if list[i].failure == nil {
			continue
		}
		if n++; first == nil {
			first = list[i].failure
		}
	}
	return n, first
}
