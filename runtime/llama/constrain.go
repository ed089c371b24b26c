//go:build cgo && linux

package llama

// #include "c_api.h"
import "C"

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/grammar"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// constrained is a choice whose answer is held to a constraint.
type constrained struct {
	choice  int
	row     int
	matcher *grammar.Matcher
}

// constrain holds the choices of the last decode to their constraints. A token that a constraint admits is kept: a model
// that knows what to write is not slowed down. Where some are not admitted, their masks are found side by side, and one
// further call draws those again. It returns the errors of choices that have none.
func (d *Device) constrain(rows []runtime.Row) (failed map[int]error, err error) {
	choices := unsafe.Slice(d.results.choices, int(d.results.n_choices))
	var again []constrained
	fail := func(choice int, err error) {
		if failed == nil {
			failed = make(map[int]error)
		}
		if errors.Is(err, grammar.ErrCost) {
			failed[choice] = fmt.Errorf("%w: %w", runtime.ErrGrammarCost, err)
		} else {
			failed[choice] = fmt.Errorf("%w: %w", runtime.ErrSampler, err)
		}
	}
	number := 0
	for i := range rows {
		r := &rows[i]
		if r.Sampler == nil && !r.Scored && !r.Hidden {
			continue
		}
		choice := number
		number++
		s, _ := r.Sampler.(*Sampler)
		if s == nil || s.constraint == nil || choices[choice].token < 0 {
			continue
		}
		switch admitted, err := s.constraint.Admits(int32(choices[choice].token)); {
		case err != nil:
			fail(choice, err)
		case admitted:
			if err := s.constraint.Accept(int32(choices[choice].token)); err != nil {
				fail(choice, err)
			}
		default:
			again = append(again, constrained{choice, i, s.constraint})
		}
	}
	if len(again) == 0 {
		return failed, nil
	}
	if err := d.redraw(again, fail); err != nil {
		return nil, err
	}
	return failed, nil
}

// redraw draws choices again, among the tokens that their constraints admit.
func (d *Device) redraw(again []constrained, fail func(choice int, err error)) error {
	words := d.model.vocabulary().Words()
	if need := words * len(again); cap(d.masks) < need {
		d.masks = make([]uint64, need)
	}
	masks := d.masks[:words*len(again)]
	errs := make([]error, len(again))
	var running sync.WaitGroup
	for i, c := range again[1:] {
		running.Go(func() { errs[i+1] = c.matcher.Mask(masks[(i+1)*words : (i+2)*words]) })
	}
	errs[0] = again[0].matcher.Mask(masks[:words])
	running.Wait()
	redraws := make([]C.ll_redraw, len(again))
	for i, c := range again {
		redraws[i] = C.ll_redraw{choice: C.int32_t(c.choice), row: C.int32_t(c.row)}
	}
	if C.ll_device_redraw(d.ptr, C.int(len(again)), &redraws[0], (*C.uint64_t)(unsafe.Pointer(&masks[0])), C.int64_t(words), &d.results, &d.failure) != C.LL_OK {
		return fmt.Errorf("%w: %w", runtime.ErrDecode, cError(&d.failure))
	}
	choices := unsafe.Slice(d.results.choices, int(d.results.n_choices))
	for i, c := range again {
		err := errs[i]
		if token := choices[c.choice].token; err == nil && token >= 0 {
			err = c.matcher.Accept(int32(token))
		}
		if err != nil {
			fail(c.choice, err)
		}
	}
	return nil
}
