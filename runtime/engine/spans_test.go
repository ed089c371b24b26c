package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

func TestSpansOf(t *testing.T) {
	parts := func(keys ...string) (list []runtime.Part) {
		for _, k := range keys {
			list = append(list, runtime.Part{Key: k})
		}
		return list
	}
	for _, c := range []struct {
		tenant string
		exact  bool
		parts  []runtime.Part
		starts []int
		want   spans
	}{
		{"", false, nil, nil, spans{{0, ""}}},
		{"t", false, nil, nil, spans{{0, "t\x00"}}},
		{"", false, parts("x"), []int{0}, spans{{0, "x"}}},
		{"", false, parts("x"), []int{-1}, spans{{0, ""}}},
		{"", false, parts("x"), []int{4}, spans{{0, ""}, {4, "x"}}},
		{"t", false, parts("x"), []int{4}, spans{{0, "t\x00"}, {4, "t\x00x"}}},
		{"", false, parts("x", "y"), []int{4, 0}, spans{{0, "y"}, {4, "x+y"}}},
		{"", false, parts("x", "y"), []int{4, 4}, spans{{0, ""}, {4, "x+y"}}},
		{"", false, parts("x", "y", "z"), []int{9, 4, -1}, spans{{0, ""}, {4, "y"}, {9, "x+y"}}},
		{"", true, nil, nil, spans{{0, "\x00exact"}}},
		{"t", true, parts("x"), []int{4}, spans{{0, "t\x00\x00exact"}, {4, "t\x00x\x00exact"}}},
	} {
		if got := spansOf(c.tenant, c.exact, c.parts, c.starts); !reflect.DeepEqual(got, c.want) {
			t.Errorf("tenant %q, exact %v, parts %v from %v: %v, want %v", c.tenant, c.exact, c.parts, c.starts, got, c.want)
		}
	}
}

// Two sequences agree for as many tokens as have the same key, one by one.
func TestSpansAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const most = 12
	draw := func() spans {
		var parts []runtime.Part
		var starts []int
		for i := range r.IntN(4) {
			parts, starts = append(parts, runtime.Part{Key: fmt.Sprint(i)}), append(starts, r.IntN(most+1)-1)
		}
		return spansOf("", false, parts, starts)
	}
	keyAt := func(s spans, pos int) (key string) {
		for _, p := range s {
			if p.from <= pos {
				key = p.key
			}
		}
		return key
	}
	inPart := 0
	for range 5000 {
		a, b := draw(), draw()
		want := 0
		for want <= most && keyAt(a, want) == keyAt(b, want) {
			want++
		}
		if want > most {
			want = math.MaxInt
		} else if want > 0 {
			inPart++
		}
		if got, back := a.agree(b), b.agree(a); got != want || back != want {
			t.Fatalf("%v and %v agree for %d tokens, the other way round %d, want %d", a, b, got, back, want)
		}
	}
	if inPart < 500 {
		t.Errorf("only %d pairs agree in part", inPart)
	}
}
