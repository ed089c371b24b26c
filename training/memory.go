package training

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training/dataset"
)

// This file refuses a job that does not fit into Options.Memory when it is created, not when its turn has come.

// Parts of Options.Memory: what reading and checking datasets may take beside a run. Half of it is for two lines, one that
// is checked and one that is prepared, of each of which some eight copies are made; the other half is for where the
// examples of a dataset lie while it is prepared, about 64 bytes for a line.
const (
	preparingShare = 16
	lineShare      = preparingShare * 2 * 2 * 8
	bytesPerLine   = preparingShare * 2 * 64
)

// limits are the bounds of a dataset's lines.
func (q *Queue) limits() dataset.Limits {
	m := q.o.Memory
	if m <= 0 {
		return dataset.Limits{}
	}
	return dataset.Limits{
		LineBytes: int(min(max(m/lineShare, 64<<10), 16<<20)),
		Lines:     int(min(max(m/bytesPerLine, 1000), 16_000_000)),
	}
}

// reserved is what a run of an adapter of so many numbers needs besides its Trainer: where its examples lie, pieces of the state and of
// the adapter while they are written, and what preparing the next job takes; a copy of the adapter, which reinforcement places to be
// sampled from, or which the run trains on from.
func (q *Queue) reserved(c *Config, parameters int64, examples int) int64 {
	if q.o.Memory <= 0 {
		return 0
	}
	const buffers = 1 << 20
	bytes := exampleBytes*int64(examples) + buffers + q.o.Memory/preparingShare
	if c.Method == Reinforcement || c.start != nil {
		bytes += 4 * parameters
	}
	return bytes
}

// parameters counts the numbers of an adapter.
func (q *Queue) parameters(modules []runtime.TrainModule, norms []string) (n int64) {
	for _, tensor := range norms {
		n += int64(q.o.Model.Facts().Norms[tensor])
	}
	for _, m := range modules {
		shape := q.o.Model.Facts().Targets[m.Tensor]
		n += int64(m.KeptRank()) * int64(shape.In+shape.Out)
		if m.DoRA {
			n += int64(max(shape.In, shape.Out))
		}
	}
	return n
}

// freeCopies gives the memory of large copies back to the system, which Go would do when it comes to it.
func (q *Queue) freeCopies(bytes int64) {
	if bytes >= 4<<20 && q.o.Memory > 0 {
		debug.FreeOSMemory()
	}
}

// lookedBytes is what a step of the method dpo keeps for each of its tokens: a log-probability, a label and a weight.
const lookedBytes = 12

// spec is what the Trainer of a job with so many examples is made for, whose micro-batches have up to most tokens.
func (q *Queue) spec(c *Config, most, examples int) (runtime.TrainSpec, error) {
	modules, err := c.modules(q.o.Model.Facts())
	norms, e := c.norms(q.o.Model.Facts())
	if err == nil {
		err = e
	}
	reserved := q.reserved(c, q.parameters(modules, norms), examples)
	if c.Method == DPO && q.o.Memory > 0 {
		reserved += referenceBytes*int64(examples) + lookedBytes*int64(min(examples, c.Batch*c.Accumulation))*int64(min(most, 2*c.MaxLength))
	}
	return runtime.TrainSpec{
		Modules: modules, Norms: norms, MaxTokens: most, Memory: q.o.Memory, Reserved: reserved, Seed: uint64(c.Seed), Dropout: float32(c.Dropout),
		Invocation: c.Invocation, NEFTune: float32(c.NEFTune),
	}, err
}

// memoryRetry is how long a job waits for others' memory before it asks again.
const memoryRetry = time.Second

// waitForMemory calls do, which makes a Trainer, again and again while others have the memory that it needs, until ctx ends. The
// job's events say so.
func (q *Queue) waitForMemory(ctx context.Context, j *job, do func() error) error {
	for waited := false; ; waited = true {
		err := do()
		if !errors.Is(err, runtime.ErrTrainBusy) {
			if waited && err == nil {
				q.tell(j, LevelInfo, "There is memory for the job again.")
			}
			return err
		}
		if !waited {
			q.tell(j, LevelWarn, fmt.Sprintf("The job waits for memory: %v.", err))
		}
		select {
		case <-time.After(min(memoryRetry, q.o.roomRetry)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// checkFit returns an error wrapping runtime.ErrTrainMemory, with the numbers, where that Trainer would not fit.
func (q *Queue) checkFit(c *Config, most, examples int) error {
	if q.o.Estimate == nil {
		return nil
	}
	spec, err := q.spec(c, most, examples)
	if err != nil {
		return err
	}
	_, err = q.o.Estimate(spec)
	return err
}

// longLines is how many of the longest lines of a dataset are looked at at most before the job is accepted: more than a
// micro-batch has in all but odd cases, which the preparer finds.
const longLines = 4096

// checkMemory is checkFit before a dataset is tokenized as a whole, which may take minutes: it looks at as many of
// the longest lines as a step has, or at all lines of a small dataset that is packed, in either case at no more text than the
// client should wait for. A micro-batch has at least the tokens of these, so what it refuses cannot fit; what it lets pass
// the preparer refuses.
func (q *Queue) checkMemory(ctx context.Context, c *Config, path string) error {
	if q.o.Estimate == nil {
		return nil
	}
	count := min(c.Batch*c.Accumulation, longLines)
	longest, lines := q.longestLines(c, path, longLines)
	if !c.Packing || lines > longLines {
		longest = longest[:min(count, len(longest))]
	}
	list, err := q.tokensOf(ctx, c, path, longest)
	if err != nil || len(list) == 0 {
		return err
	}
	if c.ValidationSplit > 0 { // some of them may be held back
		return q.checkFit(c, slices.Max(list), lines)
	}
	if c.Method == Reinforcement {
		return q.checkFit(c, c.rolloutTokens(list, q.o.MicroBatchTokens), lines)
	}
	return q.checkFit(c, dataset.NewSchedule(list, q.schedule(c)).LargestMicroBatch(), lines)
}

// longestLines returns the numbers of the n lines of a checked dataset that have the most text, the longest first, and how
// many lines there are. Those whose text would be more than maxCheckBytes in all are left out.
func (q *Queue) longestLines(c *Config, path string, n int) (numbers []int, lines int) {
	type sized struct{ line, bytes int }
	longerFirst := func(a, b sized) int { return cmp.Compare(b.bytes, a.bytes) }
	var list []sized
	f, err := os.Open(path)
	if err != nil {
		return nil, 0 // the next reader reports it
	}
	defer f.Close()
	_ = dataset.Read(f, q.reading(c, "training"), func(line int, conversation dataset.Conversation) error { // it was checked
		lines++
		if list = append(list, sized{line, conversation.Bytes()}); len(list) == 2*n {
			slices.SortStableFunc(list, longerFirst)
			list = list[:n]
		}
		return nil
	})
	slices.SortStableFunc(list, longerFirst)
	text := 0
	for _, s := range list[:min(n, len(list))] {
		if text+s.bytes <= maxCheckBytes {
			text += s.bytes
			numbers = append(numbers, s.line)
		}
	}
	return numbers, lines
}

// tokensOf returns the lengths of the examples of the lines with these numbers. Lines that cannot be encoded are left to
// the preparer, which reports all of them.
func (q *Queue) tokensOf(ctx context.Context, c *Config, path string, numbers []int) (list []int, err error) {
	wanted := make(map[int]bool, len(numbers))
	for _, n := range numbers {
		wanted[n] = true
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	enc := q.encoder(c)
	err = dataset.Read(f, q.reading(c, "training"), func(line int, conversation dataset.Conversation) error {
		if !wanted[line] {
			return nil
		}
		examples, err := enc.Encode(ctx, conversation)
		for i := range examples {
			list = append(list, examples[i].Length())
		}
		return err
	})
	if errors.Is(err, dataset.ErrInvalid) {
		err = nil
	}
	return list, err
}
