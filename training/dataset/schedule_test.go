package dataset

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

func options(change func(*ScheduleOptions)) ScheduleOptions {
	o := ScheduleOptions{MaxLength: 100, Batch: 4, Accumulation: 2, Epochs: 3, Seed: 42, MicroBatchTokens: 150}
	if change != nil {
		change(&o)
	}
	return o
}

func randomLengths(n, most int) []int {
	rng := rand.New(rand.NewPCG(7, uint64(n)))
	out := make([]int, n)
	for i := range out {
		out[i] = 1 + rng.IntN(most)
	}
	return out
}

// TestScheduleCoversEveryEpoch wants each example once in every epoch, in an order of its own, within the bounds.
func TestScheduleCoversEveryEpoch(t *testing.T) {
	for _, packing := range []bool{false, true} {
		for _, n := range []int{1, 7, 8, 9, 101} {
			lengths := randomLengths(n, 60)
			p := NewSchedule(lengths, options(func(o *ScheduleOptions) { o.Packing = packing }))
			if p.Steps() != 3*p.StepsPerEpoch() {
				t.Fatalf("%d steps, %d in an epoch", p.Steps(), p.StepsPerEpoch())
			}
			most := p.LargestMicroBatch()
			var orders []string
			for e := range 3 {
				var seen []int
				for s := range p.StepsPerEpoch() {
					for _, part := range p.Step(e*p.StepsPerEpoch() + s) {
						tokens := 0
						for _, i := range part {
							tokens += lengths[i]
						}
						if len(part) == 0 || tokens > most || tokens > 150 {
							t.Fatalf("a micro-batch %v of %d tokens, at most %d", part, tokens, most)
						}
						seen = append(seen, part...)
					}
				}
				orders = append(orders, fmt.Sprint(seen))
				slices.Sort(seen)
				if len(seen) != n || len(slices.Compact(seen)) != n {
					t.Fatalf("packing %v: epoch %d of %d examples has %v", packing, e, n, seen)
				}
			}
			if n > 20 && (orders[0] == orders[1] || orders[1] == orders[2]) {
				t.Error("two epochs have the same order")
			}
		}
	}
}

// TestScheduleIsAFunctionOfTheStep asks for steps in another order, as a run that goes on does.
func TestScheduleIsAFunctionOfTheStep(t *testing.T) {
	lengths := randomLengths(50, 60)
	a, b := NewSchedule(lengths, options(nil)), NewSchedule(lengths, options(nil))
	var steps []string
	for s := range a.Steps() {
		steps = append(steps, fmt.Sprint(a.Step(s)))
	}
	for s := a.Steps() - 1; s >= 0; s-- {
		if got := fmt.Sprint(b.Step(s)); got != steps[s] {
			t.Fatalf("step %d is %s, was %s", s, got, steps[s])
		}
	}
	other := NewSchedule(lengths, options(func(o *ScheduleOptions) { o.Seed++ }))
	if fmt.Sprint(other.Step(0)) == steps[0] {
		t.Error("another seed gives the same order")
	}
}

func TestScheduleCountsSteps(t *testing.T) {
	lengths := slices.Repeat([]int{10}, 20) // 8 in a step: 3 steps in an epoch
	for _, tc := range []struct {
		change func(*ScheduleOptions)
		want   int
	}{
		{nil, 9},
		{func(o *ScheduleOptions) { o.Epochs = 0.5 }, 2},
		{func(o *ScheduleOptions) { o.Epochs = 0.01 }, 1},
		{func(o *ScheduleOptions) { o.MaxSteps = 4 }, 4},
		{func(o *ScheduleOptions) { o.MaxSteps = -1 }, 9},
		{func(o *ScheduleOptions) { o.Packing = true }, 3}, // two units of ten examples
		{func(o *ScheduleOptions) { o.Epochs, o.Batch, o.Accumulation = 100_000, 1, 1 }, 2_000_000},
	} {
		if p := NewSchedule(lengths, options(tc.change)); p.Steps() != tc.want {
			t.Errorf("%d steps, want %d", p.Steps(), tc.want)
		}
	}
}

// TestShuffledIsStable holds the order against numbers that other versions have given: a run that goes on after an
// update must be the same run.
func TestShuffledIsStable(t *testing.T) {
	if got, want := Shuffled(10, 42, 0), []int{6, 2, 5, 3, 4, 7, 0, 1, 9, 8}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// Every place is as likely as any other.
	const n, rounds = 5, 20_000
	var count [n][n]int
	for s := range uint64(rounds) {
		for at, i := range Shuffled(n, s, 1) {
			count[i][at]++
		}
	}
	for i := range n {
		for at := range n {
			if c := count[i][at]; math.Abs(float64(c)-rounds/n) > 5*math.Sqrt(rounds/n) {
				t.Errorf("%d was %d times at %d of %d", i, c, at, rounds)
			}
		}
	}
}

func TestBatch(t *testing.T) {
	all := []Example{
		{Sequence: Sequence{[]runtime.Token{5}, []runtime.Token{6}}},
		{Sequence: Sequence{[]runtime.Token{1, 2, 3}, []runtime.Token{-1, 3, 4}}},
	}
	b := Batch(all, 3)
	if fmt.Sprint(b.Tokens, b.Labels, b.Ends, b.Norm) != "[5 1 2 3] [6 -1 3 4] [1 4] 3" || Labelled(all) != 3 {
		t.Errorf("%+v", b)
	}
}
