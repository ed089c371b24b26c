//go:build cgo && linux

package llama

// #include "c_api.h"
import "C"

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	goruntime "runtime"
	"slices"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/grammar"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

const defaultRepeatLastN = 64

// Sampler is the sampling state of one stream. It implements runtime.Sampler.
//
// The order is that of llama.cpp: logit bias, repeat penalty, presence and frequency penalties, the
// grammar, top_k, typical_p, top_p, min_p, temperature, and the draw. The token is drawn first and the
// grammar applied to all candidates only where it rejects that one, which has the same distribution.
type Sampler struct {
	ptr        *C.ll_sampler
	constraint *grammar.Matcher // nil for none; the device follows it
	masked     int              // of how many further tokens the mask is found before they are drawn
	period     int              // of how many it was after the last one that was not admitted; 0 after one that was
}

var _ runtime.Sampler = (*Sampler)(nil)

// NewSampler implements runtime.Model.
func (m *Model) NewSampler(s runtime.Sampling, prompt []runtime.Token) (runtime.Sampler, error) {
	if err := m.check(s, prompt); err != nil {
		return nil, fmt.Errorf("%w: %w", runtime.ErrSampling, err)
	}
	program, err := m.compileGrammar(s.Grammar)
	if err == nil && s.Constraint != nil && (m.tokenizer == nil || len(m.ends) == 0) {
		err = errNoVocabulary
	}
	if err != nil {
		return nil, fmt.Errorf("%w: grammar: %w", runtime.ErrSampling, err)
	}
	ptr, release, err := m.acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	w := cSampling(s)
	var pinner goruntime.Pinner
	defer pinner.Unpin()
	rules := cGrammar(program, &pinner)
	tokens := slices.Sorted(maps.Keys(s.LogitBias))
	biases := make([]float32, len(tokens))
	for i, t := range tokens {
		biases[i] = s.LogitBias[t]
	}
	var e C.ll_error
	sampler := C.ll_sampler_new(ptr, &w, rules,
		(*C.int32_t)(unsafe.SliceData(tokens)), (*C.float)(unsafe.SliceData(biases)), C.int32_t(len(tokens)),
		(*C.int32_t)(unsafe.SliceData(prompt)), C.int32_t(len(prompt)), &e)
	if sampler == nil {
		return nil, fmt.Errorf("%w: %w", runtime.ErrSampling, cError(&e))
	}
	out := &Sampler{ptr: sampler}
	if s.Constraint != nil {
		out.constraint = s.Constraint.NewMatcher(m.vocabulary())
	}
	return out, nil
}

// check returns an error that names the first field out of range.
func (m *Model) check(s runtime.Sampling, prompt []runtime.Token) error {
	numbers := []struct {
		field string
		value float32
	}{
		{"temperature", s.Temperature}, {"top_p", s.TopP}, {"min_p", s.MinP}, {"typical_p", s.TypicalP},
		{"repeat_penalty", s.RepeatPenalty}, {"presence_penalty", s.PresencePenalty}, {"frequency_penalty", s.FrequencyPenalty},
	}
	for _, n := range numbers {
		if f := float64(n.value); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("%s is not a finite number", n.field)
		}
	}
	for _, n := range numbers[1:5] {
		if n.value < 0 {
			return fmt.Errorf("%s is %g, less than 0", n.field, n.value)
		}
	}
	if s.RepeatLastN < 0 {
		return fmt.Errorf("repeat_last_n is %d, less than 0", s.RepeatLastN)
	}
	for t, b := range s.LogitBias {
		if t < 0 || int(t) >= m.facts.VocabSize {
			return fmt.Errorf("logit_bias names token %d, the vocabulary has %d", t, m.facts.VocabSize)
		}
		if f := float64(b); math.IsNaN(f) || math.IsInf(f, 1) {
			return fmt.Errorf("logit_bias of token %d is not a finite number", t)
		}
	}
	for _, t := range prompt {
		if t < 0 || int(t) >= m.facts.VocabSize {
			return fmt.Errorf("the prompt holds token %d, the vocabulary has %d", t, m.facts.VocabSize)
		}
	}
	return nil
}

func cSampling(s runtime.Sampling) C.ll_sampling {
	return C.ll_sampling{
		temperature:       C.float(s.Temperature),
		top_p:             C.float(s.TopP),
		min_p:             C.float(s.MinP),
		typical_p:         C.float(s.TypicalP),
		repeat_penalty:    C.float(cmp.Or(s.RepeatPenalty, 1)),
		presence_penalty:  C.float(s.PresencePenalty),
		frequency_penalty: C.float(s.FrequencyPenalty),
		top_k:             C.int32_t(min(max(s.TopK, 0), math.MaxInt32)),
		repeat_last_n:     C.int32_t(min(cmp.Or(s.RepeatLastN, defaultRepeatLastN), math.MaxInt32)),
		seed:              C.uint32_t(seed32(s.Seed)),
		ignore_eos:        flag(s.IgnoreEOS),
	}
}

// seed32 folds a seed into the 32 bits that llama.cpp takes. It never returns the number that stands for
// "draw one yourself" there.
func seed32(seed uint64) uint32 {
	s := uint32(seed ^ seed>>32)
	if s == math.MaxUint32 {
		return 0
	}
	return s
}

// Close implements runtime.Sampler. It may be called twice, and on nil.
func (s *Sampler) Close() error {
	if s != nil && s.ptr != nil {
		C.ll_sampler_free(s.ptr)
		s.ptr = nil
	}
	return nil
}
