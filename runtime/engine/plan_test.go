package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// answers returns n demands of streams that answer.
func answers(n int) []demand {
	var ds []demand
	for range n {
		ds = append(ds, demand{rows: 1, answering: true})
	}
	return ds
}

func TestPlan(t *testing.T) {
	for _, test := range []struct {
		name             string
		demands          []demand
		chunk, planBatch int
		want             []int
	}{
		{"answers alone", answers(3), 16, 32, []int{1, 1, 1}},
		{"one prompt has the chunk", []demand{{rows: 50}}, 16, 32, []int{16}},
		{"one prompt beside an answer", []demand{{rows: 1, answering: true}, {rows: 50}}, 16, 32, []int{1, 16}},
		{"two prompts share", []demand{{rows: 50}, {rows: 50}}, 16, 32, []int{8, 8}},
		{"a short prompt leaves its rest", []demand{{rows: 50}, {rows: 3}}, 16, 32, []int{13, 3}},
		{"a quarter each, in the order they came", []demand{{rows: 9}, {rows: 9}, {rows: 9}, {rows: 9}, {rows: 9}}, 16, 32, []int{4, 4, 4, 4, 0}},
		{"who was served longest ago comes first", []demand{{rows: 9, served: 4}, {rows: 9, served: 2}, {rows: 9, served: 3}}, 4, 32, []int{1, 2, 1}},
		{"flows share, not prompts", []demand{{flow: "a", rows: 50}, {flow: "a", rows: 50}, {flow: "b", rows: 50}}, 16, 32, []int{4, 4, 8}},
		{"the batch bounds it", []demand{{rows: 1, answering: true}, {rows: 50}, {rows: 1, answering: true}}, 16, 8, []int{1, 6, 1}},
		{"a chunk of one still gets on", []demand{{rows: 50}, {rows: 50}}, 1, 8, []int{1, 0}},
		{"a higher priority comes first", []demand{{rows: 50, priority: -1}, {rows: 10}, {rows: 50, priority: -1}}, 16, 32, []int{4, 10, 2}},
		{"rows that ask are bounded", []demand{{rows: 50, outputs: true}, {rows: 50, outputs: true}}, 16, 32, []int{4, 2}},
		{"and leave their place to others", []demand{{rows: 50, outputs: true}, {rows: 50}}, 16, 32, []int{6, 10}},
		{"nothing to do", nil, 16, 32, []int{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock := int64(10)
			if got := plan(test.demands, test.chunk, test.planBatch, 6, &clock); !slices.Equal(got, test.want) {
				t.Errorf("rows are %v, want %v", got, test.want)
			}
		})
	}
}

// Whatever there is to do: answers are never kept waiting, the bounds hold, the chunk is used up, and
// every prompt gets on in time.
func TestPlanRandomly(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		chunk, batch := 1+r.IntN(40), 17+r.IntN(40)
		ds := answers(r.IntN(8))
		for i := range 1 + r.IntN(8) {
			ds = append(ds, demand{flow: fmt.Sprint(i % (1 + r.IntN(4))), rows: 1 + r.IntN(60)})
		}
		var clock int64
		for turn := 0; ; turn++ {
			rows := plan(ds, chunk, batch, 1<<20, &clock)
			prefill, wanted, answering := 0, 0, 0
			for i := range ds {
				switch {
				case rows[i] > ds[i].rows || rows[i] < 0:
					t.Fatalf("%d rows of %d", rows[i], ds[i].rows)
				case ds[i].answering && rows[i] != 1:
					t.Fatalf("an answer has %d rows", rows[i])
				case ds[i].answering:
					answering++
				default:
					prefill += rows[i]
					wanted += ds[i].rows
					ds[i].rows -= rows[i]
				}
			}
			if want := min(chunk, batch-answering, wanted); prefill != want {
				t.Fatalf("%d rows of prefill, want %d", prefill, want)
			}
			if wanted == 0 {
				break
			}
			if turn > 8*60 {
				t.Fatal("prompts do not come to an end")
			}
		}
	}
}
