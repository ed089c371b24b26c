package qlora

import (
	"errors"
	"math"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

func TestSchedule(t *testing.T) {
	for _, c := range []struct {
		s    Schedule
		at   int
		want float64
	}{
		{Schedule{"constant", 2, 4, 10}, 0, 0},
		{Schedule{"constant", 2, 4, 10}, 2, 1},
		{Schedule{"constant", 2, 4, 10}, 9, 2},
		{Schedule{"linear", 2, 0, 10}, 0, 2},
		{Schedule{"linear", 2, 2, 10}, 6, 1},
		{Schedule{"linear", 2, 2, 10}, 10, 0},
		{Schedule{"cosine", 2, 2, 10}, 2, 2},
		{Schedule{"cosine", 2, 2, 10}, 6, 1},
		{Schedule{"cosine", 2, 2, 10}, 12, 0},
	} {
		if got := c.s.At(c.at); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%+v at %d: %g, want %g", c.s, c.at, got, c.want)
		}
		if err := c.s.Check(); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []Schedule{{"square", 1, 0, 1}, {"linear", 0, 0, 1}, {"linear", math.NaN(), 0, 1}, {"linear", 1, -1, 1}, {"linear", 1, 0, 0}} {
		if err := s.Check(); !errors.Is(err, runtime.ErrTrain) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
