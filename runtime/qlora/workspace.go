package qlora

// #include "c_api.h"
import "C"

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// workspace is what the trainers of a Model share: the memory that a micro-batch needs while it runs, the threads, and the
// bound of what all of them may take. The memory is lent to one trainer at a time, in the order in which they asked: a
// micro-batch, from its first slice to its last, has it alone. A trainer's own are parameters, gradients and moments.
type workspace struct {
	turn chan struct{} // holds a value while a trainer has the memory

	mu    sync.Mutex
	c     *C.lq_workspace // nil before the first trainer
	limit int64           // of all that trainers take; 0: none
	taken int64           // what trainers have of their own or reserve
	least map[*Trainer]int64
	ended bool // the Model is closed: the last trainer frees it
}

// LimitMemory bounds what all Trainers of the Model take together, with what their specs reserve: 0 is no bound. A Trainer that
// does not fit beside the others is refused with runtime.ErrTrainBusy; what is left keeps activations.
func (m *Model) LimitMemory(bytes int64) {
	m.workspace.mu.Lock()
	defer m.workspace.mu.Unlock()
	m.workspace.limit = bytes
}

// TrainingMemory tells what all Trainers of the Model hold: what they have of their own or reserve, with the least that they
// need to compute in, and the bound of that, 0 for none. It may be called from any goroutine.
func (m *Model) TrainingMemory() (bytes, limit int64) {
	w := &m.workspace
	w.mu.Lock()
	defer w.mu.Unlock()
	largest := int64(0)
	for _, n := range w.least {
		largest = max(largest, n)
	}
	return w.taken + largest, w.limit
}

// shared returns what C's trainers share.
func (w *workspace) shared(graphs *C.lq_graphs) (*C.lq_workspace, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.c == nil {
		if w.c = C.lq_workspace_new(graphs); w.c == nil {
			return nil, fmt.Errorf("%w: there is none for a workspace", runtime.ErrMemory)
		}
	}
	return w.c, nil
}

// admit takes a trainer's bytes from the bound: own of its own, and least of the workspace. Where the workspace has more than is
// left for it, it is made smaller, for which a micro-batch under way is waited for.
func (w *workspace) admit(ctx context.Context, t *Trainer, own, least int64) error {
	w.mu.Lock()
	largest := least
	for _, n := range w.least {
		largest = max(largest, n)
	}
	if w.limit > 0 && w.taken+own+largest > w.limit {
		free := max(w.limit-w.taken-largest, 0)
		w.mu.Unlock()
		return fmt.Errorf("%w: %w: it needs %.1f MiB of its own and %.1f MiB to compute in, which all share; of %.1f MiB, %.1f MiB are free beside what other trainers have",
			runtime.ErrTrain, runtime.ErrTrainBusy, mib(own), mib(least), mib(w.limit), mib(free))
	}
	if w.least == nil {
		w.least = make(map[*Trainer]int64)
	}
	w.taken += own
	w.least[t] = least
	t.taken = own
	small := C.lq_workspace_trim(w.c, C.int64_t(w.most())) != 0
	w.mu.Unlock()
	if small || !w.bounded() {
		return nil
	}
	select {
	case w.turn <- struct{}{}: // the micro-batch is over
		w.trim()
		<-w.turn
		return nil
	case <-ctx.Done():
		w.leave(t)
		return ctx.Err()
	}
}

func (w *workspace) bounded() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.limit > 0
}

func (w *workspace) trim() {
	w.mu.Lock()
	defer w.mu.Unlock()
	C.lq_workspace_trim(w.c, C.int64_t(w.most()))
}

// most is how large the workspace may be. w.mu is held.
func (w *workspace) most() int64 {
	if w.limit <= 0 {
		return math.MaxInt64
	}
	return w.limit - w.taken
}

// leave gives a trainer's bytes back. It may be called twice.
func (w *workspace) leave(t *Trainer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken -= t.taken
	t.taken = 0
	delete(w.least, t)
	w.freeUnused()
}

// lend gives the memory to a trainer whose turn it is.
func (w *workspace) lend(t *Trainer) error {
	w.mu.Lock()
	status := C.lq_take_workspace(t.c, C.int64_t(w.most()))
	w.mu.Unlock()
	if status == C.LQ_MORE {
		return fmt.Errorf("training engine: the workspace is lent twice")
	}
	if err := t.check(status); err != nil {
		return err
	}
	t.holds = true
	return nil
}

func (w *workspace) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.freeUnused()
}

// freeUnused frees what no one will use again. w.mu is held.
func (w *workspace) freeUnused() {
	if w.ended && len(w.least) == 0 {
		C.lq_workspace_free(w.c)
		w.c = nil
	}
}

// Reserve waits for the turn of what was begun, where it needs the workspace: it is a runtime.Reserver.
func (t *Trainer) Reserve(ctx context.Context) (release func(), err error) {
	if t.c == nil {
		return nil, runtime.ErrClosed
	}
	if t.holds || C.lq_needs_workspace(t.c) == 0 {
		return func() {}, nil
	}
	select {
	case t.model.workspace.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := t.model.workspace.lend(t); err != nil {
		<-t.model.workspace.turn
		return nil, err
	}
	return t.giveBack, nil
}

// allocate has the workspace allocate what the trainer needs at least, where no trainer has it: then an error comes before the
// first micro-batch.
func (t *Trainer) allocate() error {
	select {
	case t.model.workspace.turn <- struct{}{}:
	default:
		return nil
	}
	if err := t.model.workspace.lend(t); err != nil {
		<-t.model.workspace.turn
		return err
	}
	t.giveBack()
	return nil
}

// reserveNow is Reserve for slices that are run without it. It does not wait.
func (t *Trainer) reserveNow() error {
	if t.holds || C.lq_needs_workspace(t.c) == 0 {
		return nil
	}
	select {
	case t.model.workspace.turn <- struct{}{}:
	default:
		return fmt.Errorf("%w: %w: a micro-batch of another trainer is under way", runtime.ErrTrain, runtime.ErrTrainBusy)
	}
	if err := t.model.workspace.lend(t); err != nil {
		<-t.model.workspace.turn
		return err
	}
	t.alone = true
	return nil
}

// giveBack ends the turn, where it is the trainer's, and drops what is not finished.
func (t *Trainer) giveBack() {
	if t.holds {
		C.lq_give_back(t.c)
		t.holds, t.alone = false, false
		<-t.model.workspace.turn
	}
}

// start computes the adapter's first values where no slice has done it yet.
func (t *Trainer) start() error {
	if t.c == nil || C.lq_started(t.c) != 0 {
		return nil
	}
	release, err := t.Reserve(context.Background())
	if err != nil {
		return err
	}
	defer release()
	for C.lq_started(t.c) == 0 {
		if err := t.check(C.lq_slice(t.c)); err != nil {
			return err
		}
	}
	return nil
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
