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

// queue holds the waiting requests by tenant and flow and decides which is next: of the highest priority that waits, the
// tenant that has been served least goes first, then its flow that has been served least, then the oldest request. This
// is start-time fair queueing (Goyal, Vin and Cheng 1996) on two levels, with the counters of Sheng et al. 2024, "Fairness
// in Serving Large Language Models": tenants and flows are charged for what they really used, prompts when they are
// admitted and answers token by token, and get no credit for the time in which they had no requests.
type queue struct {
	tenants map[string]*tenant
	clock   int64 // how much the tenant chosen last had been served: a tenant that was idle starts there
	tasks   int   // waiting and running, of all tenants
}

// tenant is what the requests with one API key have waiting and were served. Without keys there is one tenant, "".
type tenant struct {
	name    string
	served  int64
	flows   map[string]*flow
	clock   int64 // of the flows, as queue.clock is of the tenants
	waiting int
	running int
	tasks   int // waiting and running
}

// flow is the unit of fairness within a tenant, the base or an adapter: what it has waiting and how much it was served.
type flow struct {
	name    string
	tenant  *tenant
	served  int64
	waiting []*task
	running int // tasks that hold a sequence
}

func newQueue() *queue { return &queue{tenants: map[string]*tenant{}} }

// flow returns the flow of a task.
func (q *queue) flow(t *task) *flow {
	owner := q.tenants[t.request.Tenant]
	if owner == nil {
		owner = &tenant{name: t.request.Tenant, served: q.clock, flows: map[string]*flow{}}
		q.tenants[owner.name] = owner
	}
	f := owner.flows[t.flow]
	if f == nil {
		f = &flow{name: t.flow, tenant: owner, served: owner.clock}
		owner.flows[t.flow] = f
	}
	return f
}

// push puts a task at the end of those of its priority in its flow.
func (q *queue) push(t *task) { q.insert(t, false) }

// pushFront puts a task back at the head of those of its priority in its flow.
func (q *queue) pushFront(t *task) { q.insert(t, true) }

func (q *queue) insert(t *task, head bool) {
	f := q.flow(t)
	if f.tenant.waiting == 0 {
		f.tenant.served = max(f.tenant.served, q.clock)
	}
	if len(f.waiting) == 0 {
		f.served = max(f.served, f.tenant.clock)
	}
	q.tasks++
	f.tenant.tasks++
	f.tenant.waiting++
	i := len(f.waiting)
	for i > 0 && (f.waiting[i-1].request.Priority < t.request.Priority || head && f.waiting[i-1].request.Priority == t.request.Priority) {
		i--
	}
	f.waiting = slices.Insert(f.waiting, i, t)
}

// remove takes a waiting task out.
func (q *queue) remove(t *task) {
	f := q.flow(t)
	if i := slices.Index(f.waiting, t); i >= 0 {
		f.waiting = slices.Delete(f.waiting, i, i+1)
		f.tenant.waiting--
		q.leave(f)
	}
}

// start moves the first task of a flow, which is admitted, to the running ones, and charges for it.
func (q *queue) start(t *task, cost int) {
	f := q.flow(t)
	owner := f.tenant
	f.waiting = slices.Delete(f.waiting, 0, 1)
	owner.waiting--
	owner.running++
	f.running++
	if f.served > owner.clock {
		owner.clock = f.served
		for _, other := range owner.flows {
			q.dropIfIdle(other)
		}
	}
	if owner.served > q.clock {
		q.clock = owner.served
		for _, other := range q.tenants {
			q.dropTenantIfIdle(other)
		}
	}
	q.charge(t, cost)
}

// stop says that a running task no longer holds a sequence.
func (q *queue) stop(t *task) {
	f := q.flow(t)
	f.running--
	f.tenant.running--
	q.leave(f)
}

// leave removes a task of a flow from the counts. When the last one of a tenant leaves, all its flows start anew, and
// when the last of all leaves, all tenants do.
func (q *queue) leave(f *flow) {
	owner := f.tenant
	q.dropIfIdle(f)
	if owner.tasks--; owner.tasks == 0 {
		clear(owner.flows)
		owner.clock = 0
		q.dropTenantIfIdle(owner)
	}
	if q.tasks--; q.tasks == 0 {
		clear(q.tenants)
		q.clock = 0
	}
}

// charge adds to what a task's tenant and flow were served.
func (q *queue) charge(t *task, cost int) {
	f := q.flow(t)
	f.served += int64(cost)
	f.tenant.served += int64(cost)
}

// dropIfIdle drops a flow that has no tasks, unless it has been served more than it would start with if it came
// back now.
func (q *queue) dropIfIdle(f *flow) {
	if len(f.waiting) == 0 && f.running == 0 && f.served <= f.tenant.clock {
		delete(f.tenant.flows, f.name)
	}
}

// dropTenantIfIdle does the same with a tenant.
func (q *queue) dropTenantIfIdle(t *tenant) {
	if t.tasks == 0 && t.served <= q.clock {
		delete(q.tenants, t.name)
	}
}

// atBound reports whether as many requests of a task's tenant run as may at once.
func (q *queue) atBound(t *task) bool {
	return t.request.MaxConcurrent > 0 && q.flow(t).tenant.running >= t.request.MaxConcurrent
}

// backlog returns the flows that have waiting requests, the one to serve next first.
func (q *queue) backlog() []*flow {
	var flows []*flow
	for _, t := range q.tenants {
		for _, f := range t.flows {
			if len(f.waiting) > 0 {
				flows = append(flows, f)
			}
		}
	}
	slices.SortFunc(flows, func(a, b *flow) int {
		first, second := a.waiting[0], b.waiting[0]
		return cmp.Or(cmp.Compare(second.request.Priority, first.request.Priority), cmp.Compare(a.tenant.served, b.tenant.served),
			cmp.Compare(a.served, b.served), cmp.Compare(first.id, second.id))
	})
	return flows
}
