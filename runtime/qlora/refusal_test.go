//go:build cgo

package qlora_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora"
	"github.com/lorikeet-ai/lorikeet/runtime/qlora/qloratest"
)

// What cannot be trained is refused by name.
func TestRefusals(t *testing.T) {
	m := newSample(t, shapes["qwen2"], qloratest.F32, qloratest.F32)
	good := runtime.TrainModule{Tensor: "blk.0.attn_q.weight", Rank: 4, Scale: 1}
	for want, spec := range map[string]runtime.TrainSpec{
		"no tensor":            {MaxTokens: 8},
		"blk.9.attn_q":         {MaxTokens: 8, Modules: []runtime.TrainModule{{Tensor: "blk.9.attn_q.weight", Rank: 4}}},
		"attn_norm":            {MaxTokens: 8, Modules: []runtime.TrainModule{{Tensor: "blk.0.attn_norm.weight", Rank: 4}}},
		"blk.00.attn_q":        {MaxTokens: 8, Modules: []runtime.TrainModule{{Tensor: "blk.00.attn_q.weight", Rank: 4}}},
		"rank 0":               {MaxTokens: 8, Modules: []runtime.TrainModule{{Tensor: "blk.0.attn_q.weight"}}},
		"rank 513":             {MaxTokens: 8, Modules: []runtime.TrainModule{{Tensor: "blk.0.attn_q.weight", Rank: 513}}},
		"named twice":          {MaxTokens: 8, Modules: []runtime.TrainModule{good, good}},
		"output (lm_head)":     {MaxTokens: 8, Modules: []runtime.TrainModule{{Tensor: "output.weight", Rank: 4}}},
		"dropout":              {MaxTokens: 8, Modules: []runtime.TrainModule{good}, Dropout: 1},
		"max_tokens":           {Modules: []runtime.TrainModule{good}},
		"and may take 1.0 MiB": {MaxTokens: 1 << 20, Modules: []runtime.TrainModule{good}, Memory: 1 << 20},
	} {
		_, err := qlora.New(m, spec, qlora.Options{})
		if !errors.Is(err, runtime.ErrTrain) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	tr := newTrainer(t, m, runtime.TrainSpec{MaxTokens: 8, Modules: []runtime.TrainModule{good}}, qlora.Options{})
	for want, b := range map[string]runtime.TrainBatch{
		"0 tokens":          {},
		"9 tokens":          {Tokens: make([]int32, 9), Labels: make([]int32, 9), Ends: []int{9}, Norm: 1},
		"2 labels":          {Tokens: make([]int32, 3), Labels: make([]int32, 2), Ends: []int{3}, Norm: 1},
		"do not rise":       {Tokens: make([]int32, 3), Labels: make([]int32, 3), Ends: []int{2, 2, 3}, Norm: 1},
		"the last token":    {Tokens: make([]int32, 3), Labels: make([]int32, 3), Ends: []int{2}, Norm: 1},
		"token or label 1":  {Tokens: []int32{0, 96, 0}, Labels: make([]int32, 3), Ends: []int{3}, Norm: 1},
		"token or label 2":  {Tokens: make([]int32, 3), Labels: []int32{0, 0, -2}, Ends: []int{3}, Norm: 1},
		"2 weights":         {Tokens: make([]int32, 3), Labels: make([]int32, 3), Weights: make([]float32, 2), Ends: []int{3}, Norm: 1},
		"weight of token 1": {Tokens: make([]int32, 3), Labels: make([]int32, 3), Weights: []float32{0, float32(math.NaN()), 1}, Ends: []int{3}, Norm: 1},
		"weight of token 2": {Tokens: make([]int32, 3), Labels: make([]int32, 3), Weights: []float32{0, -1, float32(math.Inf(-1))}, Ends: []int{3}, Norm: 1},
		"not trained":       {Tokens: make([]int32, 3), Labels: make([]int32, 3), Base: true, Ends: []int{3}, Norm: 1},
		"no labelled token": {Tokens: make([]int32, 3), Labels: []int32{-1, -1, -1}, Ends: []int{3}},
	} {
		if err := tr.Begin(runtime.TrainFirst, b); !errors.Is(err, runtime.ErrTrain) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if more, err := tr.Slice(); more || err != nil {
		t.Errorf("a slice of nothing: %v, %v", more, err)
	}
	tr.Close()
	if err := tr.Begin(runtime.TrainEval, runtime.TrainBatch{}); !errors.Is(err, runtime.ErrClosed) {
		t.Errorf("a closed trainer gives %v", err)
	}
}
