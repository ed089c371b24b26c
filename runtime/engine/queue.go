package engine

import (
	"cmp"
	"slices"
)

// What a request costs its flow, in units of one prompt token. A row of an answer costs more than one of a
// prompt, which shares the reading of the weights with the rows of its chunk.
const (
	promptCost = 1
	answerCost = 2
)

// queue holds the waiting requests by flow and decides which is next: the flow that has been served least goes first,
// and within a flow the oldest request. This is start-time fair queueing (Goyal, Vin and
// Cheng 1996) on the counters of Sheng et al. 2024, "Fairness in Serving Large Language Models": a flow is
// charged for what it really used, prompts when they are admitted and answers token by token, and a flow
// gets no credit for the time in which it had no requests.
type queue struct {
	flows map[string]*flow
	clock int64 // how much the flow chosen last had been served: a flow that was idle starts there
	tasks int   // waiting and running in all flows
}

// flow is the unit of fairness, the base or an adapter: what it has waiting and how much it was served.
type flow struct {
	name    string
	served  int64
	waiting []*task
	running int // tasks that hold a sequence
}

func newQueue() *queue { return &queue{flows: map[string]*flow{}} }

// flow returns the flow of a name.
func (q *queue) flow(name string) *flow {
	f := q.flows[name]
	if f == nil {
		f = &flow{name: name, served: q.clock}
		q.flows[name] = f
	}
	return f
}

// push puts a task at the end of its flow.
func (q *queue) push(t *task) { q.insert(t, false) }

// pushFront puts a task back at the head of its flow.
func (q *queue) pushFront(t *task) { q.insert(t, true) }

func (q *queue) insert(t *task, head bool) {
	f := q.flow(t.flow)
	if len(f.waiting) == 0 {
		f.served = max(f.served, q.clock)
	}
	q.tasks++
	if head {
		f.waiting = slices.Insert(f.waiting, 0, t)
	} else {
		f.waiting = append(f.waiting, t)
	}
}

// remove takes a waiting task out.
func (q *queue) remove(t *task) {
	f := q.flow(t.flow)
	if i := slices.Index(f.waiting, t); i >= 0 {
		f.waiting = slices.Delete(f.waiting, i, i+1)
		q.leave(f)
	}
}

// start moves the first task of a flow, which is admitted, to the running ones, and charges the flow for it.
func (q *queue) start(t *task, cost int) {
	f := q.flow(t.flow)
	f.waiting = slices.Delete(f.waiting, 0, 1)
	f.running++
	if f.served > q.clock {
		q.clock = f.served
		for _, other := range q.flows {
			q.dropIfIdle(other)
		}
	}
	f.served += int64(cost)
}

// stop says that a running task no longer holds a sequence.
func (q *queue) stop(t *task) {
	f := q.flow(t.flow)
	f.running--
	q.leave(f)
}

// leave removes a task from the count. When the last one leaves, all flows start anew.
func (q *queue) leave(f *flow) {
	q.dropIfIdle(f)
	if q.tasks--; q.tasks == 0 {
		clear(q.flows)
		q.clock = 0
	}
}

// charge adds to what a flow was served.
func (q *queue) charge(name string, cost int) { q.flow(name).served += int64(cost) }

// dropIfIdle forgets a flow that has no tasks, unless it has been served more than it would start with if it came
// back now.
func (q *queue) dropIfIdle(f *flow) {
	if f.idle() && f.served <= q.clock {
		delete(q.flows, f.name)
	}
}

func (f *flow) idle() bool { return len(f.waiting) == 0 && f.running == 0 }

// backlog returns the flows that have waiting requests, the one to serve next first.
func (q *queue) backlog() []*flow {
	var flows []*flow
	for _, f := range q.flows {
		if len(f.waiting) > 0 {
			flows = append(flows, f)
		}
	}
	slices.SortFunc(flows, func(a, b *flow) int {
		return cmp.Or(cmp.Compare(a.served, b.served), cmp.Compare(a.waiting[0].id, b.waiting[0].id))
	})
	return flows
}
