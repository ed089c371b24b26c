package training

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// This file refuses a job that cannot fit before it is accepted, and not when its turn has come.

// spec is what the Trainer of a job is made for, whose micro-batches have up to most tokens.
func (q *Queue) spec(c *Config, most int) (runtime.TrainSpec, error) {
	modules, err := c.modules(q.o.Model.Facts())
	return runtime.TrainSpec{
		Modules: modules, MaxTokens: most, Memory: q.o.Memory, Seed: uint64(c.Seed), Dropout: float32(c.Dropout),
	}, err
}

// checkFit returns an error wrapping runtime.ErrTrainMemory, with the numbers, where that Trainer would not fit.
func (q *Queue) checkFit(c *Config, most int) error {
	if q.o.Estimate == nil {
		return nil
	}
	spec, err := q.spec(c, most)
	if err != nil {
		return err
	}
	return q.o.Estimate(spec)
}

// packedLines is how many lines of a dataset are looked at where they are packed: a pack has many.
const packedLines = 4096

// checkMemory is checkFit before a dataset is tokenized as a whole, which may take minutes: it looks at as many of
// the longest lines as a step has, or at all lines of a small dataset that is packed. A micro-batch has at least the
// tokens of these, so what it refuses cannot fit; what it lets pass by a few tokens the preparer refuses.
func (q *Queue) checkMemory(ctx context.Context, c *Config, path string) error {
	if q.o.Estimate == nil {
		return nil
	}
	enc := q.encoder(c)
	perStep := c.Batch * c.Accumulation
	lines := longestLines(path, perStep)
	if c.Packing {
		if all := longestLines(path, packedLines); len(all) < packedLines {
			lines = all
		}
	}
	var list []int
	for _, line := range lines {
		x, err := enc.Encode(ctx, line)
		if bad := new(dataset.LineError); errors.As(err, &bad) {
			continue // the preparer reports all of them
		}
		if err != nil {
			return err
		}
		list = append(list, lengths(x)...)
	}
	if len(list) == 0 {
		return nil
	}
	if c.ValidationSplit > 0 { // some of them may be held back
		return q.checkFit(c, slices.Max(list))
	}
	return q.checkFit(c, dataset.NewSchedule(list, q.schedule(c)).LargestMicroBatch())
}

// longestLines returns the n conversations of a checked dataset that have the most text.
func longestLines(path string, n int) []dataset.Conversation {
	type sized struct {
		dataset.Conversation
		bytes int
	}
	var list []sized
	f, err := os.Open(path)
	if err != nil {
		return nil // whoever reads it next says so
	}
	defer f.Close()
	_ = dataset.Read(f, "training", func(_ int, c dataset.Conversation) error { // it was checked
		if bytes := c.Bytes(); len(list) < n || bytes > list[n-1].bytes {
			at, _ := slices.BinarySearchFunc(list, bytes, func(s sized, b int) int { return cmp.Compare(b, s.bytes) })
			list = slices.Insert(list, at, sized{c, bytes})[:min(n, len(list)+1)]
		}
		return nil
	})
	out := make([]dataset.Conversation, len(list))
	for i, s := range list {
		out[i] = s.Conversation
	}
	return out
}
