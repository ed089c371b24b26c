package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/tenants"
)

// requestLine is a line of a batch.
func requestLine(id, url, body string) string {
	return fmt.Sprintf(`{"custom_id":%q,"method":"POST","url":%q,"body":%s}`+"\n", id, url, body)
}

// batch uploads the lines and makes a batch of them.
func (s *trainingServer) batch(url, lines string) (b openapi.Batch) {
	s.t.Helper()
	var f openapi.File
	s.ok(s.form("/v1/files", "purpose", "batch", "file:in.jsonl", lines), &f)
	if f.Purpose != "batch" {
		s.t.Errorf("the file is %+v", f)
	}
	s.post("/v1/batches", fmt.Sprintf(`{"input_file_id":%q,"endpoint":%q,"completion_window":"24h","metadata":{"a":"b"},"output_expires_after":{"anchor":"created_at","seconds":3600}}`, f.Id, url), &b)
	return b
}

// awaitBatch waits for the end of a batch.
func (s *trainingServer) awaitBatch(get func(any), want string) (b openapi.Batch) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		b = openapi.Batch{}
		get(&b)
		if b.Status == want {
			return b
		}
		if time.Now().After(deadline) || slices.Contains([]string{"completed", "failed", "expired", "cancelled"}, b.Status) {
			s.t.Fatalf("the batch is %+v, errors %+v", b, b.Errors)
		}
	}
}

// batchResult is a line of a file of results.
type batchResult struct {
	ID       string `json:"id"`
	CustomID string `json:"custom_id"`
	Response *struct {
		Status    int             `json:"status_code"`
		RequestID string          `json:"request_id"`
		Body      json.RawMessage `json:"body"`
	} `json:"response"`
	Error json.RawMessage `json:"error"`
}

func readResults(t *testing.T, text []byte) map[string]batchResult {
	t.Helper()
	got := map[string]batchResult{}
	for line := range strings.Lines(string(text)) {
		var r batchResult
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if _, twice := got[r.CustomID]; twice || r.Response == nil || string(r.Error) != "null" || !strings.HasPrefix(r.Response.RequestID, "req_") {
			t.Errorf("result %s", line)
		}
		got[r.CustomID] = r
	}
	return got
}

// The lines of a batch are answered as the requests of clients are, each endpoint in its own shape, with adapters.
func TestBatchesOfEveryEndpoint(t *testing.T) {
	s := openTraining(t, false, saying("Polly wants a cracker."))
	s.add("pirate", 1)
	for _, c := range []struct{ url, good, bad, want string }{
		{"/v1/chat/completions", chatBody("hello", `"model":"pirate"`), chatBody("hello", `"temperature":9`), `"content":"Polly wants a cracker."`},
		{"/v1/completions", completion("assistant\n", `"max_tokens":0`, `"echo":true`), `{"prompt":""}`, `"text":"assistant\n"`},
		{"/v1/embeddings", `{"input":["a","b"],"adapter":"pirate"}`, `{"input":[]}`, `"prompt_tokens":2`},
		{"/v1/responses", `{"input":"hello","model":"pirate","store":false}`, `{"input":7}`, `"text":"Polly wants a cracker."`},
	} {
		b := s.batch(c.url, requestLine("good", c.url, c.good)+requestLine("bad", c.url, c.bad)+requestLine("nobody", c.url, `{"model":"nobody"}`))
		if b.Object != "batch" || b.Endpoint != c.url || b.CompletionWindow != "24h" || b.Metadata["a"] != "b" || *b.ExpiresAt-b.CreatedAt != 86400 {
			t.Errorf("%+v", b)
		}
		b = s.awaitBatch(func(v any) { s.get("/v1/batches/"+b.Id, v) }, "completed")
		if b.RequestCounts != (openapi.BatchCounts{Total: 3, Completed: 1, Failed: 2}) || b.Errors != nil || b.CompletedAt == nil || b.OutputFileId == nil || b.ErrorFileId == nil {
			t.Fatalf("%+v", b)
		}
		good := readResults(t, s.do("GET", "/v1/files/"+*b.OutputFileId+"/content", "").body)
		if r := good["good"]; len(good) != 1 || r.Response.Status != 200 || !strings.Contains(string(r.Response.Body), c.want) {
			t.Errorf("%s: %+v %s", c.url, r, r.Response.Body)
		}
		bad := readResults(t, s.do("GET", "/v1/files/"+*b.ErrorFileId+"/content", "").body)
		if r := bad["bad"]; len(bad) != 2 || r.Response.Status != 400 || !strings.Contains(string(r.Response.Body), "invalid_request_error") {
			t.Errorf("%s: %+v", c.url, bad)
		}
		var f openapi.File
		if s.get("/v1/files/"+*b.OutputFileId, &f); f.Purpose != "batch_output" || f.Filename != b.Id+"_output.jsonl" ||
			f.ExpiresAt == nil || *f.ExpiresAt != f.CreatedAt+3600 {
			t.Errorf("the output is %+v", f)
		}
	}
	var list openapi.BatchList
	if s.get("/v1/batches?limit=2", &list); len(list.Data) != 2 || !list.HasMore || *list.LastId != list.Data[1].Id {
		t.Errorf("%+v", list)
	}
	after := *list.LastId
	if s.get("/v1/batches?after="+after, &list); len(list.Data) != 2 || list.HasMore {
		t.Errorf("%+v", list)
	}
	if s.value(`lorikeet_batches{status="completed"}`) != 4 || s.value(`lorikeet_batch_requests_total{outcome="failed"}`) != 8 {
		t.Error("the metrics do not count the batches")
	}
}

func TestBatchesRefuse(t *testing.T) {
	s := openTraining(t, false)
	var batch, examples openapi.File
	s.ok(s.form("/v1/files", "purpose", "batch", "file:a", "x"), &batch)
	s.ok(s.form("/v1/files", "purpose", "fine-tune", "file:a", "x"), &examples)
	body := func(file, endpoint, window, more string) string {
		return fmt.Sprintf(`{"input_file_id":%q,"endpoint":%q,"completion_window":%q%s}`, file, endpoint, window, more)
	}
	for _, c := range []struct {
		body, param, part string
		status            int
	}{
		{`{}`, "input_file_id", "missing", 400},
		{body(batch.Id, "", "24h", ""), "endpoint", "missing", 400},
		{body(batch.Id, "/v1/models", "24h", ""), "endpoint", "/v1/chat/completions, /v1/completions, /v1/embeddings, /v1/responses", 400},
		{body(batch.Id, "/v1/embeddings", "", ""), "completion_window", "missing", 400},
		{body(batch.Id, "/v1/embeddings", "1h", ""), "completion_window", "24h", 400},
		{body(batch.Id, "/v1/embeddings", "24h", `,"output_expires_after":{"anchor":"now","seconds":3600}`), "output_expires_after.anchor", "created_at", 400},
		{body(batch.Id, "/v1/embeddings", "24h", `,"output_expires_after":{"anchor":"created_at","seconds":3599}`), "output_expires_after.seconds", "between 3600 and 2592000", 400},
		{body(batch.Id, "/v1/embeddings", "24h", `,"output_expires_after":{"anchor":"created_at","seconds":2592001}`), "output_expires_after.seconds", "2592001", 400},
		{body(batch.Id, "/v1/embeddings", "24h", `,"metadata":{"a":"`+strings.Repeat("b", 600)+`"}`), "metadata", "512", 400},
		{body("file-none", "/v1/embeddings", "24h", ""), "input_file_id", "file-none", 404},
		{body(examples.Id, "/v1/embeddings", "24h", ""), "input_file_id", "batch", 400},
	} {
		s.refusedWith(s.do("POST", "/v1/batches", c.body), c.status, c.param, c.part)
	}
	s.refusedWith(s.do("GET", "/v1/batches/batch_none", ""), 404, "id", "batch_none")
	s.refusedWith(s.do("POST", "/v1/batches/batch_none/cancel", ""), 404, "id", "batch_none")
	s.refusedWith(s.do("GET", "/v1/batches?after=batch_none", ""), 404, "after", "batch_none")
	s.refusedWith(s.do("GET", "/v1/batches?limit=0", ""), 400, "limit", "1")

	b := s.batch("/v1/completions", "{\n"+requestLine("a", "/v1/embeddings", "{}"))
	b = s.awaitBatch(func(v any) { s.get("/v1/batches/"+b.Id, v) }, "failed")
	if e := b.Errors; e == nil || e.Object != "list" || len(e.Data) != 2 || *e.Data[0].Line != 1 || e.Data[0].Param != nil || *e.Data[1].Param != "url" {
		t.Errorf("%+v", b.Errors)
	}
	s.refusedWith(s.do("POST", "/v1/batches/"+b.Id+"/cancel", ""), 409, "id", "failed")

	bare := open(t)
	if r := bare.do("GET", "/v1/batches", ""); r.status != 503 || !strings.Contains(string(r.body), "batches_off") {
		t.Errorf("without batches: %d %s", r.status, r.body)
	}
}

// A client's request that comes later is answered before the lines of a batch, and a batch that is cancelled gives up what
// it asks.
func TestBatchesAreOfLowPriority(t *testing.T) {
	hold := make(chan struct{})
	s := openTraining(t, false, func(p *setup) {
		p.limits.Sequences, p.engine.Parallel = 1, 1
		p.before = func([]runtime.Row) error {
			select {
			case <-hold:
			case <-time.After(time.Millisecond):
			}
			return nil
		}
	})
	lines := ""
	for i := range 8 {
		lines += requestLine(fmt.Sprint("line ", i), "/v1/completions", completion("a", `"max_tokens":300,"ignore_eos":true`))
	}
	b := s.batch("/v1/completions", lines)
	for s.engine.Stats().Waiting < 2 {
		time.Sleep(time.Millisecond)
	}
	s.do("POST", "/v1/completions", completion("b", `"max_tokens":1`))
	var now openapi.Batch
	if s.get("/v1/batches/"+b.Id, &now); now.RequestCounts.Completed > 2 {
		t.Errorf("a request waited for %d lines of a batch", now.RequestCounts.Completed)
	}
	s.post("/v1/batches/"+b.Id+"/cancel", "", &now)
	if now.Status != "cancelling" && now.Status != "cancelled" {
		t.Errorf("%+v", now)
	}
	now = s.awaitBatch(func(v any) { s.get("/v1/batches/"+b.Id, v) }, "cancelled")
	if now.CancelledAt == nil || now.CancellingAt == nil || now.RequestCounts.Total != 8 || now.RequestCounts.Completed == 8 {
		t.Errorf("%+v", now)
	}
	close(hold)
	for e := s.engine.Stats(); e.Running+e.Waiting > 0; e = s.engine.Stats() {
		time.Sleep(time.Millisecond)
	}
}

// A tenant's batch is its own, is answered with the adapters that it sees, and counts in its quota.
func TestBatchesOfTenants(t *testing.T) {
	s := openTenantServer(t, tenants.Quota{RequestsPerMinute: 1000})
	var f openapi.File
	lines := requestLine("own", "/v1/completions", `{"prompt":"a","max_tokens":1,"model":"greet"}`) +
		requestLine("secret", "/v1/completions", `{"prompt":"a","max_tokens":1,"model":"secret"}`)
	s.ok(s.file("shop", "/v1/files", map[string]string{"purpose": "batch"}, lines), &f)
	body := fmt.Sprintf(`{"input_file_id":%q,"endpoint":"/v1/completions","completion_window":"24h"}`, f.Id)
	if r := s.json("cafe", "POST", "/v1/batches", body); r.status != 404 {
		t.Errorf("another's file: %d %s", r.status, r.body)
	}
	if r := s.json("guest", "POST", "/v1/batches", body); r.status != 403 {
		t.Errorf("without the role: %d %s", r.status, r.body)
	}
	var b openapi.Batch
	s.ok(s.json("shop", "POST", "/v1/batches", body), &b)
	b = s.awaitBatch(func(v any) { s.ok(s.json("shop", "GET", "/v1/batches/"+b.Id, ""), v) }, "completed")
	if b.RequestCounts != (openapi.BatchCounts{Total: 2, Completed: 1, Failed: 1}) {
		t.Errorf("%+v", b)
	}
	got := readResults(t, s.json("shop", "GET", "/v1/files/"+*b.OutputFileId+"/content", "").body)
	if !strings.Contains(string(got["own"].Response.Body), `"adapter":"shop.greet@`) {
		t.Errorf("%s", got["own"].Response.Body)
	}
	got = readResults(t, s.json("shop", "GET", "/v1/files/"+*b.ErrorFileId+"/content", "").body)
	if got["secret"].Response.Status != 404 {
		t.Errorf("an adapter that it does not see: %s", got["secret"].Response.Body)
	}
	for _, path := range []string{"/v1/batches/" + b.Id, "/v1/files/" + *b.OutputFileId} {
		if r := s.json("cafe", "GET", path, ""); r.status != 404 {
			t.Errorf("another's %s: %d", path, r.status)
		}
	}
	if r := s.json("cafe", "POST", "/v1/batches/"+b.Id+"/cancel", ""); r.status != 404 {
		t.Errorf("cancelling another's: %d", r.status)
	}
	var list openapi.BatchList
	if s.ok(s.json("cafe", "GET", "/v1/batches", ""), &list); len(list.Data) != 0 {
		t.Errorf("another sees %+v", list)
	}
	if s.ok(s.json("root", "GET", "/v1/batches", ""), &list); len(list.Data) != 1 {
		t.Errorf("an admin sees %+v", list)
	}
}
