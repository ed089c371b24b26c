package server

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"

	"github.com/lorikeet-ai/lorikeet/tenants"
)

func (h *testServer) state() (s openapi.ServerState) {
	h.t.Helper()
	h.get("/state", &s)
	return s
}

// TestState looks at the state while requests of several adapters run, wait and have ended.
func TestState(t *testing.T) {
	h := open(t, slowly(2*time.Millisecond), func(p *setup) { p.engine.Parallel = 2 })
	idle := h.state()
	if idle.Object != "server.state" || idle.Model != "fake" || idle.Batch.Parallel != 2 || len(idle.Batch.Rows) != 0 || idle.Queue.Waiting != 0 ||
		idle.Queue.OldestWaitSeconds != nil || len(idle.Requests) != 0 || idle.Training != nil || idle.KvCache.Cells != 8192 {
		t.Errorf("an idle server: %+v", idle)
	}
	h.add("shout", 1)
	h.add("pirate", 2)
	const long = `"ignore_eos":true,"max_tokens":4000`
	for _, adapter := range []string{`["shout","pirate"]`, `null`, `"pirate"`} {
		before := h.engine.Stats()
		io.WriteString(h.dial(), raw("/v1/completions", completion("abc", long, `"adapter":`+adapter)))
		waitUntil(t, "it is in", time.Second, func() bool {
			s := h.engine.Stats()
			return s.Running+s.Waiting > before.Running+before.Waiting && s.Loading == 0
		})
	}
	waitUntil(t, "both answer, for some seconds", 10*time.Second, func() bool {
		s := h.state()
		return len(s.Batch.Rows) == 2 && s.Batch.Rows[0].CompletionTokens > 0 && s.Batch.Rows[1].CompletionTokens > 0 && s.Speed.DecodeTokensPerSecond > 0
	})
	s := h.state()
	first, second := s.Batch.Rows[0], s.Batch.Rows[1]
	if fmt.Sprint(first.Adapters) != "[pirate shout]" || len(second.Adapters) != 0 || first.Phase != "decode" || first.PromptTokens != 3 ||
		first.ReadTokens != 3 || first.Seconds <= 0 || first.Tenant != nil {
		t.Errorf("the rows are %+v", s.Batch.Rows)
	}
	if s.Batch.Running != 2 || s.Queue.Waiting != 1 || s.Queue.OldestWaitSeconds == nil || *s.Queue.OldestWaitSeconds <= 0 || s.Queue.Capacity != 66 {
		t.Errorf("%d run, the queue is %+v", s.Batch.Running, s.Queue)
	}
	if s.KvCache.Used == 0 || s.KvCache.Running == 0 || s.Adapters.Registered != 2 || s.Adapters.Resident != 2 || s.Adapters.Leased != 2 || s.Adapters.Loads != 2 {
		t.Errorf("%+v %+v", s.KvCache, s.Adapters)
	}
	if m := s.Memory[0]; m.Name != "adapters" || m.Bytes == 0 || m.Limit == nil || *m.Limit != 1<<20 {
		t.Errorf("memory: %+v", s.Memory)
	}
	var list openapi.AdapterList
	h.get("/adapters", &list)
	if pirate, shout := list.Data[0], list.Data[1]; pirate.Leases != 1 || pirate.Requests != 1 || pirate.MemoryBytes == 0 || !pirate.Loaded || shout.Leases != 1 {
		t.Errorf("the adapters are %+v", list.Data)
	}
	h.engine.Close() // ends what is open, which no client waits for
}

// TestRecentRequests makes requests of all kinds and looks at what is kept of them.
func TestRecentRequests(t *testing.T) {
	h := open(t, saying("hello"), slowly(time.Millisecond))
	h.add("shout", 1)
	h.post(chatURL, chatBody("a", `"adapter":"shout","n":2`), new(openapi.ChatCompletion))
	h.do("POST", chatURL, chatBody("a", `"stream":true`))
	h.post("/v1/embeddings", `{"input":["a","b"],"adapter":"shout"}`, new(openapi.EmbeddingList))
	h.do("POST", "/v1/completions", completion("a", `"adapter":"nobody"`))
	h.do("POST", "/v1/completions", `{`)
	h.do("GET", "/adapters", "")
	var list []openapi.RecentRequest
	waitUntil(t, "all are kept", time.Second, func() bool { list = h.state().Requests; return len(list) == 5 })
	got := ""
	for _, r := range list {
		code := ""
		if r.Error != nil {
			code = " " + *r.Error
		}
		got += fmt.Sprintf("%s %v %d%s, stream %v: %d answers, %d tokens\n", r.Endpoint, r.Adapters, r.Status, code, r.Stream, r.Answers, r.CompletionTokens)
	}
	const want = `/v1/completions [] 400 invalid_json, stream false: 0 answers, 0 tokens
/v1/completions [] 404 adapter_not_found, stream false: 0 answers, 0 tokens
/v1/embeddings [shout] 200, stream false: 2 answers, 0 tokens
/v1/chat/completions [] 200, stream true: 1 answers, 6 tokens
/v1/chat/completions [shout] 200, stream false: 2 answers, 12 tokens
`
	if got != want {
		t.Errorf("the last requests are\n%s, want\n%s", got, want)
	}
	for _, r := range list {
		m := r.Timings
		sum := m.PrepareMs + m.QueueMs + m.LoadMs + m.PrefillMs + m.DecodeMs
		if m.TotalMs <= 0 || sum <= 0 || sum > m.TotalMs+0.01 || min(m.PrepareMs, m.QueueMs, m.LoadMs, m.PrefillMs, m.DecodeMs) < 0 {
			t.Errorf("%s: the times are %+v", r.Endpoint, m)
		}
		if r.Status == 200 && m.PrefillMs < 1 || strings.HasPrefix(r.Endpoint, "/v1/chat") && (m.DecodeMs < 1 || r.PromptTokens == 0) || r.Id == "" {
			t.Errorf("%s: %+v", r.Endpoint, r)
		}
	}
	for range 2 {
		h.post("/v1/completions", completion(strings.Repeat("abc ", 20)), new(openapi.Completion))
	}
	if s := h.state(); s.Prefix.Prompts != 7 || s.Prefix.PromptTokens < 160 || s.Prefix.Hits != 1 || s.Prefix.CachedTokens < 70 || s.Requests[0].CachedTokens != int(s.Prefix.CachedTokens) {
		t.Errorf("the prefix cache: %+v", s.Prefix)
	}
	for range maxRecent {
		h.do("POST", "/v1/completions", `{`)
	}
	if list := h.state().Requests; len(list) != maxRecent || list[maxRecent-1].Status != 400 {
		t.Errorf("%d requests are kept, the oldest with %d", len(list), list[len(list)-1].Status)
	}
}

// A client that goes away in the middle, and a stream that ends with an error, are kept as such.
func TestRecentFailures(t *testing.T) {
	h := open(t, slowly(2*time.Millisecond))
	const long = `"ignore_eos":true,"max_tokens":4000`
	for _, more := range []string{"", `,"stream":true`} {
		c := h.dial()
		io.WriteString(c, raw("/v1/completions", completion("abc", long+more)))
		waitUntil(t, "it runs", time.Second, func() bool { return h.engine.Stats().Running == 1 })
		time.Sleep(heartbeat + 100*time.Millisecond) // a stream has begun
		c.Close()
		waitUntil(t, "it has ended", 5*time.Second, func() bool { return h.engine.Stats().Running == 0 })
	}
	var list []openapi.RecentRequest
	waitUntil(t, "both are kept", 5*time.Second, func() bool { list = h.state().Requests; return len(list) == 2 })
	for _, r := range list {
		if r.Status != statusClientClosed || r.Error == nil || *r.Error != "client_gone" || r.CompletionTokens == 0 || r.Timings.DecodeMs < 100 {
			t.Errorf("of a client that has gone: %+v", r)
		}
	}
}

// TestStateOfTenants wants a tenant to see its own rows, queue and requests alone, and an admin all.
func TestStateOfTenants(t *testing.T) {
	s := openTenantServer(t, tenants.Quota{}, slowly(2*time.Millisecond), func(p *setup) { p.engine.Parallel = 2 })
	for _, tenant := range []string{"shop", "cafe", "cafe", "shop"} {
		before := s.engine.Stats()
		c := s.dial()
		body := completion("abc", `"ignore_eos":true,"max_tokens":4000,"adapter":"greet"`)
		fmt.Fprintf(c, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", s.keys[tenant], len(body), body)
		waitUntil(t, "it is in", time.Second, func() bool {
			now := s.engine.Stats()
			return now.Running+now.Waiting > before.Running+before.Waiting && now.Loading == 0
		})
	}
	s.json("guest", http.MethodPost, "/v1/completions", `{`)
	s.json("shop", http.MethodPost, "/v1/completions", `{`)
	for tenant, want := range map[string]string{
		"root":  "[cafe cafe.greet] [shop shop.greet] waiting 2 requests guest shop",
		"shop":  "[shop shop.greet] waiting 1 requests shop",
		"cafe":  "[cafe cafe.greet] waiting 1 requests",
		"guest": "waiting 0 requests guest",
	} {
		var st openapi.ServerState
		s.ok(s.json(tenant, http.MethodGet, "/state", ""), &st)
		var rows []string
		for _, r := range st.Batch.Rows {
			rows = append(rows, fmt.Sprintf("[%s %s]", text(r.Tenant), strings.Join(r.Adapters, "+")))
		}
		slices.Sort(rows)
		var who []string
		for _, r := range st.Requests {
			who = append(who, text(r.Tenant))
		}
		slices.Sort(who)
		got := strings.Join(append(append(rows, fmt.Sprintf("waiting %d requests", st.Queue.Waiting)), who...), " ")
		if got != want || st.Batch.Running != 2 {
			t.Errorf("%s sees %q, want %q; %d run", tenant, got, want, st.Batch.Running)
		}
	}
	if r := s.as("", http.MethodGet, "/state", "", ""); r.status != 401 {
		t.Errorf("without a key: %d", r.status)
	}
	s.engine.Close()
}

// TestStateOfTraining runs a job, held in the middle, beside one that waits.
func TestStateOfTraining(t *testing.T) {
	s := openTraining(t, true, func(p *setup) {
		p.engine.Share = 0.4
		p.options.TrainMemory = func() (bytes, limit int64) { return 5, 70 }
	})
	job := s.accepted(s.do("POST", "/adapters/train", `{"name":"bird",`+small+`,"examples":`+array(12)+`}`))
	s.accepted(s.do("POST", "/adapters/train", `{"name":"fish",`+small+`,"examples":`+array(12)+`}`))
	var st openapi.ServerState
	waitUntil(t, "it runs", 10*time.Second, func() bool {
		st = s.state()
		return len(st.Training.Jobs) == 1 && st.Training.Waiting == 1 && st.Training.UsedShare > 0
	})
	if j := st.Training.Jobs[0]; j.Id != job.Id || j.Name != "bird" || st.Training.Share != 0.4 {
		t.Errorf("training is %+v", st.Training)
	}
	if m := st.Memory[1]; m.Name != "training" || m.Bytes != 5 || *m.Limit != 70 {
		t.Errorf("memory is %+v", st.Memory)
	}
	s.release()
	s.ended(job.Id)
	var done openapi.TrainingJob
	if s.get("/adapters/train/"+job.Id, &done); done.Progress.TokensPerSecond <= 0 {
		t.Errorf("the job trained at %v tokens per second", done.Progress.TokensPerSecond)
	}
}

func TestSpeeds(t *testing.T) {
	var s speeds
	at := time.Unix(1_000_000, 0)
	for i := range 20 {
		s.turn(at.Add(time.Duration(i)*time.Second), 10, i)
		s.worked(at.Add(time.Duration(i)*time.Second), 500*time.Millisecond)
	}
	// The second 19 is not over yet.
	if got, want := s.over(at.Add(19500*time.Millisecond)), (rates{prefill: 10, decode: 16, turns: 1, work: 0.5}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := s.over(at.Add(22*time.Second)), (rates{prefill: 6, decode: float64(17+18+19) / 5, turns: 0.6, work: 0.3}); got != want {
		t.Errorf("two idle seconds later: %+v, want %+v", got, want)
	}
	if got := s.over(at.Add(time.Minute)); got != (rates{}) {
		t.Errorf("a minute later: %+v", got)
	}
}
