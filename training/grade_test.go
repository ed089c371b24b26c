package training

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/lorikeet-ai/lorikeet/graders"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

func TestSequencesOfAnswers(t *testing.T) {
	a := answer{tokens: []runtime.Token{7, 8, 9}}
	tokens, labels := a.sequence([]runtime.Token{1, 2, 3})
	if !slices.Equal(tokens, []runtime.Token{1, 2, 3, 7, 8}) || !slices.Equal(labels, []runtime.Token{-1, -1, 7, 8, 9}) {
		t.Errorf("tokens %v, labels %v", tokens, labels)
	}
	a.tokens = a.tokens[:1]
	tokens, labels = a.sequence([]runtime.Token{1})
	if !slices.Equal(tokens, []runtime.Token{1}) || !slices.Equal(labels, []runtime.Token{7}) {
		t.Errorf("tokens %v, labels %v", tokens, labels)
	}
}

func TestSeedsDiffer(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := range int64(3) {
		for step := range 20 {
			for i := range 4 {
				for g := range 8 {
					seen[seedOf(seed, step, i, g)] = true
				}
			}
		}
	}
	again := seedOf(1, 2, 3)
	if len(seen) != 3*20*4*8 || seedOf(1, 2, 3) != again || seedOf(1, 3, 2) == again {
		t.Errorf("%d different seeds", len(seen))
	}
}

func TestAdvantages(t *testing.T) {
	group := []graded{{reward: 1}, {reward: 0}, {reward: 0}, {failure: errors.New("no"), reward: 5}}
	mean, deviation := rewardStats(group)
	if math.Abs(mean-1.0/3) > 1e-12 || math.Abs(deviation-math.Sqrt(1.0/3)) > 1e-12 {
		t.Errorf("mean %v, deviation %v", mean, deviation)
	}
	got := advantages(group, true)
	want := []float64{2.0 / 3 / (deviation + 1e-4), -1.0 / 3 / (deviation + 1e-4), -1.0 / 3 / (deviation + 1e-4), 0}
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-12 {
			t.Errorf("advantages %v, want %v", got, want)
		}
	}
	if got := advantages(group, false); math.Abs(got[0]-2.0/3) > 1e-12 || got[3] != 0 {
		t.Errorf("without scale %v", got)
	}
	for _, equal := range [][]graded{{{reward: 3}, {reward: 3}}, {{reward: 3}}, {}, {{failure: errors.New("no")}}} {
		for _, a := range advantages(equal, true) {
			if a != 0 {
				t.Errorf("advantages of equal rewards: %v", advantages(equal, true))
			}
		}
	}
}

func TestGrade(t *testing.T) {
	parse := func(raw string, tools graders.Tools) *graders.Grader {
		t.Helper()
		g, err := graders.Parse(json.RawMessage(raw), "reward", tools)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	item := map[string]any{"city": "Paris"}
	list, err := grade(t.Context(), parse(`{"type":"string_check","input":"{{sample.output_json.city}}","reference":"{{item.city}}","operation":"eq"}`, graders.Tools{}),
		[]answer{{text: `{"city":"Paris"}`}, {text: `{"city":"Rome"}`}, {text: "Paris"}}, []map[string]any{item, item, item})
	if err != nil || list[0].reward != 1 || list[1].reward != 0 || list[2].reward != 0 || list[2].failure != nil {
		t.Errorf("%+v, %v: an answer that is no JSON has no reward, and is no failure", list, err)
	}
	tools := graders.Tools{
		CheckURL: func(string) error { return nil },
		Post: func(_ context.Context, _ string, _ map[string]string, body []byte) ([]byte, error) {
			if slices.Contains([]byte(string(body)), '!') {
				return []byte("1e300"), nil
			}
			return nil, errors.New("no route")
		},
	}
	list, err = grade(t.Context(), parse(`{"type":"endpoint","name":"far","url":"http://x"}`, tools), []answer{{text: "a"}, {text: "!"}}, []map[string]any{item, item})
	if n, first := failures(list); err != nil || n != 2 || first == nil {
		t.Errorf("%+v, %v, %v", list, first, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := grade(ctx, parse(`{"type":"endpoint","url":"http://x"}`, tools), []answer{{}}, []map[string]any{item}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
