//go:build cgo && linux

package llama

// #include "c_api.h"
import "C"

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"github.com/lorikeet-ai/lorikeet/grammar"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file holds answers to constraints. A token is drawn first and kept where the constraint admits it: a model that
// knows what to write is not slowed down. Where it does not, the mask of the tokens that are admitted is found, and one
// further call draws those again. The next tokens of such an answer have their masks found before they are drawn, so
// that a model that does not know is not asked twice for every token: the more of them, the more often it has not known.
// Both draw from the same distribution. Which of them is taken depends on the answer alone, so that a seed gives the same
// answer whatever else runs.

// fewestMasked and mostMasked are of how many tokens after one that was not admitted the masks are found first.
const (
	fewestMasked = 8
	mostMasked   = 256
)

// constrained is a row whose answer is held to a constraint.
type constrained struct {
	row, choice int // choice: its number in the results, where they are known
	sampler     *Sampler
	err         error
}

// findMasks finds the masks of the rows that have one before their tokens are drawn: nil for none, and the words of each.
func (d *Device) findMasks(rows []runtime.Row) (*C.uint64_t, C.int64_t) {
	d.held = d.held[:0]
	for i := range rows {
		if s, _ := rows[i].Sampler.(*Sampler); s != nil && s.constraint != nil && s.masked > 0 {
			d.rows[i].mask = C.int32_t(len(d.held))
			d.held = append(d.held, constrained{row: i, sampler: s})
		}
	}
	words := d.mask(d.held)
	if words == 0 {
		return nil, 0
	}
	return (*C.uint64_t)(unsafe.Pointer(&d.masks[0])), C.int64_t(words)
}

// mask finds the masks of some rows side by side, d.masks, and returns the words of each.
func (d *Device) mask(held []constrained) int {
	if d.masks = d.masks[:0]; len(held) == 0 {
		return 0
	}
	words := d.model.vocabulary().Words()
	d.masks = slices.Grow(d.masks, words*len(held))[:words*len(held)]
	var unknown []int
	for i := range held {
		if !held[i].sampler.constraint.KnownMask(d.masks[i*words : (i+1)*words]) {
			unknown = append(unknown, i)
		}
	}
	find := func(i int) { held[i].err = held[i].sampler.constraint.Mask(d.masks[i*words : (i+1)*words]) }
	var running sync.WaitGroup
	for k, i := range unknown {
		if k > 0 {
			running.Go(func() { find(i) })
		}
	}
	if len(unknown) > 0 {
		find(unknown[0])
	}
	running.Wait()
	return words
}

// constrain holds the choices of the last decode to their constraints. d.failed has the errors of those that have none.
func (d *Device) constrain(rows []runtime.Row) error {
	clear(d.failed)
	choices := unsafe.Slice(d.results.choices, int(d.results.n_choices))
	var again []constrained
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
		admitted, err := true, error(nil)
		if mask := d.rows[i].mask; mask >= 0 {
			s.masked--
			err = d.held[mask].err
		} else {
			if admitted, err = s.constraint.Admits(int32(choices[choice].token)); admitted {
				s.period = 0
			}
		}
		if err == nil && !admitted {
			again = append(again, constrained{row: i, choice: choice, sampler: s})
			continue
		}
		if err == nil {
			err = s.constraint.Accept(int32(choices[choice].token))
		}
		if err != nil {
			d.fail(choice, err)
		}
	}
	return d.redraw(again)
}

// fail notes why a choice has no token.
func (d *Device) fail(choice int, err error) {
	if d.failed == nil {
		d.failed = make(map[int]error)
	}
	kind := runtime.ErrSampler
	if errors.Is(err, grammar.ErrCost) {
		kind = runtime.ErrGrammarCost
	}
	d.failed[choice] = fmt.Errorf("%w: %w", kind, err)
}

// redraw draws choices again, among the tokens that their constraints admit.
func (d *Device) redraw(again []constrained) error {
	if len(again) == 0 {
		return nil
	}
	words := d.mask(again)
	redraws := make([]C.ll_redraw, len(again))
	for i, c := range again {
		redraws[i] = C.ll_redraw{choice: C.int32_t(c.choice), row: C.int32_t(c.row)}
	}
	if C.ll_device_redraw(d.ptr, C.int(len(again)), &redraws[0], (*C.uint64_t)(unsafe.Pointer(&d.masks[0])), C.int64_t(words), &d.results, &d.failure) != C.LL_OK {
		return fmt.Errorf("%w: %w", runtime.ErrDecode, cError(&d.failure))
	}
	choices := unsafe.Slice(d.results.choices, int(d.results.n_choices))
	for _, c := range again {
		c.sampler.masked = min(max(2*c.sampler.period, fewestMasked), mostMasked)
		c.sampler.period = c.sampler.masked
		err := c.err
		if token := choices[c.choice].token; err == nil && token >= 0 {
			err = c.sampler.constraint.Accept(int32(token))
		}
		if err != nil {
			d.fail(c.choice, err)
		}
	}
	return nil
}
