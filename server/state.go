package server

import (
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/training"
)

// This file is GET /state: what the server does at the moment, for people to look at. It reads what the engine publishes
// after each turn, and counters.

// GetState tells what the server does. A tenant that is no admin is told of its own requests; sums are those of all.
func (s *Server) GetState(c *fiber.Ctx) error {
	who, now := callerOf(c), time.Now()
	e := s.engine.Stats()
	speed := s.metrics.speeds.over(now)
	out := openapi.ServerState{
		Object: "server.state", CreatedAt: seconds(now), StartedAt: s.started.Unix(), Model: s.name, Version: s.version,
		KvCache: openapi.StateKVCache{Cells: e.Cells, Used: e.CellsUsed, Running: e.CellsRunning, Preempted: e.Preempted},
		Prefix:  s.metrics.prefixes(),
		Speed: openapi.StateSpeed{
			Seconds: speedWindow, PrefillTokensPerSecond: thousandths(speed.prefill), DecodeTokensPerSecond: thousandths(speed.decode),
			DecodesPerSecond: thousandths(speed.turns),
		},
		Memory:   s.memoryState(),
		Adapters: s.adapterState(),
	}
	out.Prefix.Evictions = e.Evicted
	s.batchState(&out, who, now)
	for _, r := range s.recent.latest(who) {
		out.Requests = append(out.Requests, r.shown())
	}
	if out.Requests == nil {
		out.Requests = []openapi.RecentRequest{}
	}
	if s.jobs != nil {
		t, err := s.trainingState(who)
		if err != nil {
			return err
		}
		t.UsedShare = thousandths(speed.work)
		out.Training = t
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	return sendJSON(c, http.StatusOK, out)
}

// batchState describes the requests that run and those that wait.
func (s *Server) batchState(out *openapi.ServerState, who caller, now time.Time) {
	b := s.engine.Batch()
	out.Batch = openapi.StateBatch{Parallel: s.engine.Parallel(), Running: len(b.Rows), Rows: []openapi.StateRow{}}
	for _, r := range b.Rows {
		if !who.tenant.Owns(r.Tenant) {
			continue
		}
		row := openapi.StateRow{
			Adapters: adaptersOf(r.Flow), Phase: "decode", PromptTokens: r.Prompt, ReadTokens: r.Read, CompletionTokens: r.Generated,
			Seconds: thousandths(now.Sub(r.Submitted).Seconds()), Tenant: nullable(r.Tenant),
		}
		if r.Generated == 0 {
			row.Phase = "prefill"
		}
		out.Batch.Rows = append(out.Batch.Rows, row)
	}
	out.Queue.Capacity = s.engine.Capacity()
	var oldest time.Time
	for _, q := range b.Queues {
		if who.tenant.Owns(q.Tenant) {
			out.Queue.Waiting += q.Waiting
			out.Queue.Loading += q.Loading
			oldest = earlier(oldest, q.Oldest)
		}
	}
	if !oldest.IsZero() {
		wait := thousandths(max(0, now.Sub(oldest).Seconds()))
		out.Queue.OldestWaitSeconds = &wait
	}
}

// memoryState lists the memory that is held against its bounds.
func (s *Server) memoryState() []openapi.StateMemory {
	list := []openapi.StateMemory{}
	add := func(name string, bytes, limit int64) {
		m := openapi.StateMemory{Name: name, Bytes: bytes}
		if limit > 0 {
			m.Limit = &limit
		}
		list = append(list, m)
	}
	c := s.cache.Stats()
	add("adapters", c.Bytes, c.Budget)
	if d := s.engine.SlotStats(); d.Bytes > 0 {
		add("device_adapters", d.Used, d.Bytes)
	}
	if s.trainMemory != nil {
		bytes, limit := s.trainMemory()
		add("training", bytes, limit)
	}
	add("request_bodies", s.bodies.held.Load(), s.bodies.total)
	add("embedding_answers", s.vectors.held.Load(), s.vectors.total)
	return list
}

// adapterState counts what adapters are kept and loaded.
func (s *Server) adapterState() openapi.StateAdapters {
	c := s.cache.Stats()
	return openapi.StateAdapters{
		Registered: len(s.store.List()), Resident: c.Resident, Leased: c.Pinned, Loads: int64(c.Loads), LoadFailures: int64(c.Failures),
		LoadSeconds: thousandths(c.LoadSeconds), Evictions: int64(c.Evictions), Waiting: c.Waiting,
	}
}

// trainingState describes the jobs of the caller that wait and run.
func (s *Server) trainingState(who caller) (*openapi.StateTraining, error) {
	list, _, err := s.jobs.ListWhere(func(j *training.Job) bool {
		return who.tenant.OwnsAdapter(j.Name) && !j.Status.Ended() && j.Status != training.Paused
	}, "", 0)
	if err != nil {
		return nil, err
	}
	out := &openapi.StateTraining{Share: s.engine.Share(), Jobs: []openapi.StateJob{}}
	for _, j := range list {
		if j.Status != training.Running {
			out.Waiting++
			continue
		}
		p := &j.Progress
		out.Jobs = append(out.Jobs, openapi.StateJob{Id: j.ID, Name: j.Name, Step: p.Step, Steps: p.Steps, Loss: p.Loss,
			TokensPerSecond: thousandths(p.TokensPerSecond), Eta: unix(p.ETA)})
	}
	return out, nil
}
