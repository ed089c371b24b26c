package engine

import (
	"fmt"
	"testing"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Two flows that always have requests waiting, small ones and large ones, are served alike in tokens; one
// that comes now and then does not wait behind them.
func TestQueueServesFlowsEqually(t *testing.T) {
	q := newQueue()
	id := int64(0)
	push := func(flow string) {
		id++
		q.push(&task{id: id, flow: flow})
	}
	cost := map[string]int{"small": 10, "large": 300, "rare": 10}
	served := map[string]int{}
	for range 50 {
		push("small")
		push("large")
	}
	for turn := range 2000 {
		if turn%100 == 99 {
			push("rare")
		}
		f := q.backlog()[0]
		if len(q.flow(&task{flow: "rare"}).waiting) > 0 && f.name != "rare" && turn%100 > 2 && turn%100 < 99 {
			t.Fatalf("turn %d: a rare request waits behind %s", turn, f.name)
		}
		next := f.waiting[0]
		q.start(next, cost[f.name])
		served[f.name] += cost[f.name]
		q.stop(next)
		if f.name != "rare" {
			push(f.name)
		}
	}
	if d := served["small"] - served["large"]; d < -300 || d > 300 {
		t.Errorf("served: %v", served)
	}
}

// A flow is kept while it has used more than others had, and no longer: accounts do not pile up.
func TestQueueDropsIdleFlows(t *testing.T) {
	q := newQueue()
	always := &task{id: 1, flow: "always"}
	q.push(always)
	waited := 0
	for i := range 1000 {
		if i < 100 {
			q.push(&task{id: int64(2 + i), flow: fmt.Sprint(i)})
		}
		next := q.backlog()[0].waiting[0]
		q.start(next, 5)
		q.stop(next)
		if waited++; next == always {
			waited = 0
			q.push(always)
		}
		if waited > 100 {
			t.Fatal("a flow waits for more than one request of each of the others")
		}
		if i == 99 && len(q.tenants[""].flows) < 99 {
			t.Fatalf("%d flows are kept, and others have not caught up", len(q.tenants[""].flows))
		}
	}
	if n := len(q.tenants[""].flows); n > 1 {
		t.Errorf("%d flows are kept", n)
	}
	for _, f := range q.backlog() {
		q.remove(f.waiting[0])
	}
	if len(q.tenants) != 0 || q.tasks != 0 {
		t.Errorf("%d tenants and %d tasks are left", len(q.tenants), q.tasks)
	}
}

// Within a flow who came first goes first, and who was preempted before all.
func TestQueueOrderInAFlow(t *testing.T) {
	q := newQueue()
	tasks := []*task{{id: 1}, {id: 2}, {id: 3}, {id: 4}}
	for _, x := range tasks {
		q.push(x)
	}
	q.start(tasks[0], 1)
	q.start(tasks[1], 1)
	q.stop(tasks[1])
	q.pushFront(tasks[1])
	q.remove(tasks[2])
	q.remove(tasks[2]) // it is not there any more
	f := q.backlog()[0]
	if len(f.waiting) != 2 || f.waiting[0] != tasks[1] || f.waiting[1] != tasks[3] || f.running != 1 || q.tasks != 3 {
		t.Errorf("waiting: %d, running %d, tasks %d", len(f.waiting), f.running, q.tasks)
	}
}

// A flow that runs little, with nothing waiting, earns nothing by it.
func TestQueueGivesNoCreditForIdleTime(t *testing.T) {
	q := newQueue()
	idle := &task{id: 1, flow: "idle"}
	q.push(idle)
	q.start(idle, 1)
	for i := range 20 {
		next := &task{id: int64(2 + i), flow: "busy"}
		q.push(next)
		q.start(next, 100)
		q.stop(next)
	}
	for i := range 6 {
		q.push(&task{id: int64(100 + i), flow: "busy"})
		q.push(&task{id: int64(200 + i), flow: "idle"})
	}
	count := map[string]int{}
	for range 6 {
		next := q.backlog()[0].waiting[0]
		q.start(next, 100)
		count[next.flow]++
	}
	if count["idle"] < 3 || count["idle"] > 4 {
		t.Errorf("of six turns: %v", count)
	}
}

// A tenant with many adapters gets no more than one with a single adapter, and a tenant that comes now and then does not
// wait behind them.
func TestQueueServesTenantsEqually(t *testing.T) {
	q := newQueue()
	id := int64(0)
	push := func(tenant, flow string) {
		id++
		q.push(&task{id: id, flow: flow, request: runtime.Request{Tenant: tenant}})
	}
	for i := range 200 {
		push("many", fmt.Sprint(i%20))
		push("one", "x")
	}
	served := map[string]int{}
	for turn := range 100 {
		if turn == 50 {
			push("rare", "y")
		}
		next := q.backlog()[0].waiting[0]
		q.start(next, 10)
		served[next.request.Tenant]++
		q.stop(next)
		if turn == 52 && served["rare"] == 0 {
			t.Error("a rare tenant waits behind busy ones")
		}
	}
	if d := served["many"] - served["one"]; d < -2 || d > 2 {
		t.Errorf("served: %v", served)
	}
}

// A waiting request of a higher priority goes first, whatever its tenant was served.
func TestQueuePriority(t *testing.T) {
	q := newQueue()
	for i := range 3 {
		q.push(&task{id: int64(i), flow: "low", request: runtime.Request{Tenant: "low"}})
	}
	high := &task{id: 9, flow: "high", request: runtime.Request{Tenant: "high", Priority: 1}}
	q.push(high)
	q.charge(high, 1000)
	if first := q.backlog()[0].waiting[0]; first != high {
		t.Errorf("task %d goes first", first.id)
	}
}

// A tenant that may run two requests at once has others waiting, which do not delay other tenants' requests.
func TestQueueBoundsATenant(t *testing.T) {
	q := newQueue()
	bounded := func(id int64) *task { return &task{id: id, request: runtime.Request{Tenant: "a", MaxConcurrent: 2}} }
	for id := range int64(3) {
		q.push(bounded(id))
	}
	for range 2 {
		next := q.backlog()[0].waiting[0]
		if q.atBound(next) {
			t.Fatalf("task %d may not run beside %d", next.id, q.tenants["a"].running)
		}
		q.start(next, 1)
	}
	last := q.backlog()[0].waiting[0]
	if !q.atBound(last) {
		t.Error("three run at once")
	}
	q.stop(bounded(0))
	if q.atBound(last) {
		t.Error("it still waits though one has ended")
	}
}

// In a flow, requests of a higher priority go first; a preempted one goes back before the others of its priority.
func TestQueuePriorityInAFlow(t *testing.T) {
	q := newQueue()
	made := func(id int64, priority int) *task {
		return &task{id: id, request: runtime.Request{Priority: priority}}
	}
	low := made(4, -5)
	for _, t := range []*task{low, made(5, 0), made(6, -5), made(7, 3), made(8, 0)} {
		q.push(t)
	}
	q.start(q.backlog()[0].waiting[0], 1)
	preempted := made(1, 0)
	q.push(preempted)
	q.remove(preempted)
	q.pushFront(preempted)
	var got []int64
	for len(q.backlog()) > 0 {
		next := q.backlog()[0].waiting[0]
		got = append(got, next.id)
		q.start(next, 1)
	}
	if want := "[1 5 8 4 6]"; fmt.Sprint(got) != want {
		t.Errorf("the order is %v, want %s", got, want)
	}
}
