package runtimetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Device is a fake Device over a Model: deterministic, and strict about the contract. Its fields may be
// set until it is first used, and between calls.
type Device struct {
	// Before, where set, is called before the rows are decoded. It may sleep or block; the error it returns
	// is returned by Decode in place of a result: with runtime.ErrNoRoom nothing has changed, with any other
	// error the KV of the rows' sequences is undefined.
	Before func(rows []runtime.Row) error

	// Refuse, where set, is called before SetAdapters, Copy and Truncate do anything; the error it returns is what
	// they return.
	Refuse func(call string, seq int) error

	// Answer, where set, may choose the next token instead of the hash. text is the history of the
	// sequence, control tokens as their text. A negative token is none: -1, no token is possible; -2, no logit is
	// a number.
	Answer func(text string) (next runtime.Token, ok bool)

	model  *Model
	limits runtime.Limits
	seqs   []sequence
	refs   map[*cell]int // sequences that hold a cell
	closed bool
	last   []runtime.Choice // what Decode returned last

	inside atomic.Bool // a call is under way
	mu     sync.Mutex
	fault  error
}

// cell is one token's KV. sum stands for the numbers in it: it depends on every token before, and on the
// mix that each was decoded with.
type cell struct {
	token runtime.Token
	sum   uint64
}

type sequence struct {
	cells     []*cell
	mix       []runtime.Term
	undefined bool // a Decode failed, and its content is undefined
}

// NewDevice returns a Device with the given sizes.
func NewDevice(m *Model, l runtime.Limits) *Device {
	return &Device{model: m, limits: l, seqs: make([]sequence, l.Sequences), refs: map[*cell]int{}}
}

// Fault returns the first breach of the Device contract that the Device has seen, or nil.
func (d *Device) Fault() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fault
}

// Cells returns how many cells are held. It must not run beside the Engine.
func (d *Device) Cells() int { return len(d.refs) }

// Length returns how many tokens a sequence holds. It must not run beside the Engine.
func (d *Device) Length(seq int) int { return len(d.seqs[seq].cells) }

// breach notes a breach of contract and returns it as an error.
func (d *Device) breach(format string, args ...any) error {
	err := fmt.Errorf("breach of the Device contract: "+format, args...)
	d.mu.Lock()
	if d.fault == nil {
		d.fault = err
	}
	d.mu.Unlock()
	return err
}

// enter checks that one goroutine calls at a time, on a Device that is open.
func (d *Device) enter(call string) (leave func(), err error) {
	if d.inside.Swap(true) {
		return func() {}, d.breach("%s while another call is under way", call)
	}
	if d.closed {
		d.inside.Store(false)
		return func() {}, d.breach("%s after Close", call)
	}
	for seq := range d.seqs {
		for _, t := range d.seqs[seq].mix {
			if t.Packed.(*packed).closed.Load() {
				return func() { d.inside.Store(false) }, d.breach("an adapter was closed while it was placed on sequence %d", seq)
			}
		}
	}
	return func() { d.inside.Store(false) }, nil
}

func (d *Device) refuse(call string, seq int) error {
	if d.Refuse == nil {
		return nil
	}
	return d.Refuse(call, seq)
}

// Limits returns the Device's sizes.
func (d *Device) Limits() runtime.Limits { return d.limits }

// SetAdapters binds a sequence to a mix.
func (d *Device) SetAdapters(seq int, mix []runtime.Term) error {
	leave, err := d.enter("SetAdapters")
	defer leave()
	if err != nil {
		return err
	}
	if seq < 0 || seq >= len(d.seqs) {
		return d.breach("SetAdapters on sequence %d of %d", seq, len(d.seqs))
	}
	if err := d.refuse("SetAdapters", seq); err != nil {
		return err
	}
	for _, t := range mix {
		p, ok := t.Packed.(*packed)
		if !ok {
			return fmt.Errorf("%w: another Device made it", runtime.ErrAdapter)
		}
		if p.closed.Load() {
			return d.breach("SetAdapters of a closed adapter on sequence %d", seq)
		}
	}
	d.seqs[seq].mix = slices.Clone(mix)
	return nil
}

// Copy lets dst share the first n cells of src.
func (d *Device) Copy(dst, src, n int) error {
	leave, err := d.enter("Copy")
	defer leave()
	if err != nil {
		return err
	}
	switch {
	case dst < 0 || dst >= len(d.seqs) || src < 0 || src >= len(d.seqs) || dst == src:
		return d.breach("Copy from sequence %d to %d of %d", src, dst, len(d.seqs))
	case len(d.seqs[dst].cells) > 0:
		return d.breach("Copy to sequence %d, which is not empty", dst)
	case n < 0 || n > len(d.seqs[src].cells):
		return d.breach("Copy of %d cells of sequence %d, which has %d", n, src, len(d.seqs[src].cells))
	case !d.limits.CanTruncate && n != len(d.seqs[src].cells):
		return d.breach("Copy of a part of sequence %d on a Device that cannot cut", src)
	case d.seqs[src].undefined:
		return d.breach("Copy of sequence %d, whose last Decode failed", src)
	}
	if err := d.refuse("Copy", dst); err != nil {
		return err
	}
	d.seqs[dst].cells = slices.Clone(d.seqs[src].cells[:n])
	for _, c := range d.seqs[dst].cells {
		d.refs[c]++
	}
	return nil
}

// Truncate drops the cells of seq at positions from and up.
func (d *Device) Truncate(seq, from int) (int, error) {
	leave, err := d.enter("Truncate")
	defer leave()
	if err != nil {
		return 0, err
	}
	if seq < 0 || seq >= len(d.seqs) || from < 0 {
		return 0, d.breach("Truncate from position %d of sequence %d of %d", from, seq, len(d.seqs))
	}
	if err := d.refuse("Truncate", seq); err != nil {
		return 0, err
	}
	s := &d.seqs[seq]
	switch {
	case from == 0:
		s.undefined = false
	case from >= len(s.cells):
		return len(s.cells), nil
	case !d.limits.CanTruncate:
		from, s.undefined = 0, false
	}
	for _, c := range s.cells[from:] {
		if d.refs[c]--; d.refs[c] == 0 {
			delete(d.refs, c)
		}
	}
	s.cells = s.cells[:from]
	return from, nil
}

// Decode computes the rows and returns what they ask for.
func (d *Device) Decode(rows []runtime.Row) ([]runtime.Choice, error) {
	leave, err := d.enter("Decode")
	defer leave()
	if err != nil {
		return nil, err
	}
	if err := d.check(rows); err != nil {
		return nil, err
	}
	if d.Before != nil {
		if err := d.Before(rows); err != nil {
			if !errors.Is(err, runtime.ErrNoRoom) {
				for _, r := range rows {
					d.seqs[r.Seq].undefined = true
				}
			}
			return nil, err
		}
	}
	if len(d.refs)+len(rows) > d.limits.Cells {
		return nil, runtime.ErrNoRoom
	}
	for _, c := range d.last {
		clear(c.Top) // a caller that has kept it will see
		clear(c.Hidden)
	}
	var choices []runtime.Choice
	for _, r := range rows {
		s := &d.seqs[r.Seq]
		c := &cell{token: r.Token, sum: combine(uint64(r.Token), mixSum(s.mix, r.Pos))}
		if r.Exact && d.limits.Exact {
			c.sum++
		}
		if n := len(s.cells); n > 0 {
			c.sum = combine(s.cells[n-1].sum, c.sum)
		}
		s.cells = append(s.cells, c)
		d.refs[c] = 1
		if r.Asks() {
			choices = append(choices, d.choice(s, r))
		}
	}
	d.last = choices
	return choices, nil
}

// check holds the rows against the contract before anything changes.
func (d *Device) check(rows []runtime.Row) error {
	if len(rows) == 0 || len(rows) > d.limits.Batch {
		return d.breach("Decode of %d rows, the batch has %d", len(rows), d.limits.Batch)
	}
	next := map[int]int{}
	for i, r := range rows {
		if r.Seq < 0 || r.Seq >= len(d.seqs) {
			return d.breach("row %d is of sequence %d of %d", i, r.Seq, len(d.seqs))
		}
		s := &d.seqs[r.Seq]
		if _, ok := next[r.Seq]; !ok {
			next[r.Seq] = len(s.cells)
		}
		if r.Pos != next[r.Seq] {
			return d.breach("row %d has position %d of sequence %d, whose next is %d", i, r.Pos, r.Seq, next[r.Seq])
		}
		next[r.Seq]++
		if r.Token < 0 || r.Token >= vocabSize {
			return d.breach("row %d has token %d of %d", i, r.Token, vocabSize)
		}
		if r.Exact != rows[0].Exact {
			return d.breach("row %d is exact: %v, and row 0: %v", i, r.Exact, rows[0].Exact)
		}
		if s.undefined {
			return d.breach("row %d is of sequence %d, whose last Decode failed", i, r.Seq)
		}
		if r.Scored && (r.Sampler != nil || r.Next < 0 || r.Next >= vocabSize) {
			return d.breach("row %d is scored with token %d, sampler %v", i, r.Next, r.Sampler)
		}
		if r.Sampler != nil {
			if sm, ok := r.Sampler.(*sampler); !ok || sm.closed.Load() {
				return d.breach("row %d has a closed or a foreign sampler", i)
			}
		}
	}
	return nil
}

// Close frees everything.
func (d *Device) Close() error {
	if d.inside.Swap(true) {
		return d.breach("Close while another call is under way")
	}
	defer d.inside.Store(false)
	d.closed = true
	return nil
}
