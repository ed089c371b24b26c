package server

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/tenants"
)

// tenantServer is a server with tenants.
type tenantServer struct {
	*trainingServer
	keys map[string]string // by tenant
}

// openTenantServer opens a server with the tenants root (admin), shop and cafe (chat and train), and guest (chat).
func openTenantServer(t *testing.T, quota tenants.Quota, change ...func(*setup)) *tenantServer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.json")
	keys := map[string]string{}
	for _, tenant := range []tenants.Tenant{
		{Name: "root", Roles: []tenants.Role{tenants.Admin}},
		{Name: "shop", Roles: []tenants.Role{tenants.Chat, tenants.Train}, Adapters: []string{"shared-*"}, Quota: quota},
		{Name: "cafe", Roles: []tenants.Role{tenants.Chat, tenants.Train}},
		{Name: "guest", Roles: []tenants.Role{tenants.Chat}},
	} {
		key, err := tenants.Add(file, tenant)
		if err != nil {
			t.Fatal(err)
		}
		keys[tenant.Name] = key
	}
	registry, err := tenants.Open(file, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	s := &tenantServer{openTraining(t, false, append(change, func(p *setup) { p.options.Tenants = registry })...), keys}
	for i, name := range []string{"shared-1", "secret", "shop.greet", "cafe.greet", "cafe.only"} {
		s.add(name, float32(i))
	}
	return s
}

// as sends a request with a tenant's key.
func (s *tenantServer) as(tenant, method, path, contentType, body string) response {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if tenant != "" {
		req.Header.Set("Authorization", "Bearer "+s.keys[tenant])
	}
	return s.send(req)
}

func (s *tenantServer) json(tenant, method, path, body string) response {
	s.t.Helper()
	return s.as(tenant, method, path, "application/json", body)
}

// form sends a form with one file.
func (s *tenantServer) file(tenant, path string, fields map[string]string, content string) response {
	s.t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for name, v := range fields {
		_ = w.WriteField(name, v)
	}
	part, err := w.CreateFormFile("file", "d.jsonl")
	if err != nil {
		s.t.Fatal(err)
	}
	_, _ = part.Write([]byte(content))
	_ = w.Close()
	return s.as(tenant, http.MethodPost, path, w.FormDataContentType(), b.String())
}

const examples = `{"prompt": "a", "completion": "b"}` + "\n"

// TestTenantsSeeTheirOwn asks for adapters by every route that names them.
func TestTenantsSeeTheirOwn(t *testing.T) {
	s := openTenantServer(t, tenants.Quota{})
	for tenant, want := range map[string]string{
		"root": "cafe.greet cafe.only secret shared-1 shop.greet", "shop": "shared-1 shop.greet", "cafe": "cafe.greet cafe.only", "guest": "",
	} {
		var list openapi.AdapterList
		s.ok(s.json(tenant, http.MethodGet, "/adapters", ""), &list)
		names := []string{}
		for _, a := range list.Data {
			names = append(names, a.Name)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s sees %q, want %q", tenant, got, want)
		}
		var models openapi.ModelList
		s.ok(s.json(tenant, http.MethodGet, "/v1/models", ""), &models)
		if n := len(models.Data) - 1; n != len(names) {
			t.Errorf("%s sees %d adapters among the models, want %d", tenant, n, len(names))
		}
	}
	for _, c := range []struct {
		tenant, name string
		status       int
		answers      string
	}{
		{"shop", "greet", 200, "shop.greet@"}, {"shop", "shop.greet", 200, "shop.greet@"}, {"shop", "shared-1", 200, "shared-1@"},
		{"shop", "cafe.greet", 404, ""}, {"shop", "secret", 404, ""}, {"shop", "cafe.gree", 404, ""}, {"cafe", "greet", 200, "cafe.greet@"},
		{"cafe", "shared-1", 404, ""}, {"guest", "shop.greet", 404, ""}, {"root", "secret", 200, "secret@"}, {"root", "greet", 404, ""},
	} {
		for _, body := range []string{fmt.Sprintf(`{"prompt":"a","max_tokens":1,"adapter":%q}`, c.name), fmt.Sprintf(`{"prompt":"a","max_tokens":1,"model":%q}`, c.name)} {
			r := s.json(c.tenant, http.MethodPost, "/v1/completions", body)
			if r.status != c.status || !strings.Contains(string(r.body), c.answers) {
				t.Errorf("%s asks %s: %d %s", c.tenant, body, r.status, r.body)
			}
			if c.tenant == "shop" && c.status == 404 && strings.Contains(strings.ReplaceAll(string(r.body), c.name, ""), "cafe") {
				t.Errorf("a message names others' adapters: %s", r.body)
			}
		}
		for _, path := range []string{"/adapters/%s", "/adapters/%s/versions", "/adapters/%s/download", "/v1/models/%s"} {
			if r := s.json(c.tenant, http.MethodGet, fmt.Sprintf(path, c.name), ""); r.status != c.status {
				t.Errorf("%s gets %s of %s: %d %s", c.tenant, path, c.name, r.status, r.body)
			}
		}
	}
}

// TestTenantsChangeTheirOwn asks for every route that changes an adapter by name: another's is not there, also where it may be
// used.
func TestTenantsChangeTheirOwn(t *testing.T) {
	s := openTenantServer(t, tenants.Quota{})
	for _, route := range []struct{ method, path, body string }{
		{http.MethodPost, "/adapters/%s/pin", `{}`}, {http.MethodDelete, "/adapters/%s/pin", ""}, {http.MethodPost, "/adapters/%s/pin", `{"version":"0123"}`},
		{http.MethodPost, "/adapters/%s/rollback", `{"version":"0123"}`},
		{http.MethodDelete, "/adapters/%s", ""}, {http.MethodDelete, "/v1/models/%s", ""},
	} {
		for _, name := range []string{"cafe.greet", "secret", "shared-1", "cafe.greet@0123"} {
			if r := s.json("shop", route.method, fmt.Sprintf(route.path, name), route.body); !slices.Contains([]int{http.StatusNotFound, http.StatusBadRequest, http.StatusForbidden}, r.status) {
				t.Errorf("shop: %s %s of %s: %d %s", route.method, route.path, name, r.status, r.body)
			}
		}
	}
	for _, name := range []string{"cafe.greet", "secret", "shared-1"} {
		var a openapi.Adapter
		if s.ok(s.json("root", http.MethodGet, "/adapters/"+name, ""), &a); a.Pinned {
			t.Errorf("%s was pinned by another tenant", name)
		}
	}
	for _, name := range []string{"greet", "shop.greet"} {
		var a openapi.Adapter
		if s.ok(s.json("shop", http.MethodPost, "/adapters/"+name+"/pin", ""), &a); a.Name != "shop.greet" || !a.Pinned {
			t.Errorf("%s: %+v", name, a)
		}
		s.ok(s.json("shop", http.MethodDelete, "/adapters/"+name+"/pin", ""), &a)
	}
}

// TestRoles tries what each role may not do.
func TestRoles(t *testing.T) {
	s := openTenantServer(t, tenants.Quota{})
	for _, c := range []struct {
		tenant, method, path, body string
		status                     int
	}{
		{"", http.MethodGet, "/adapters", "", 401},
		{"guest", http.MethodDelete, "/adapters/x", "", 403},
		{"guest", http.MethodGet, "/v1/files", "", 403},
		{"guest", http.MethodGet, "/adapters/train", "", 403},
		{"guest", http.MethodPost, "/adapters/merge", "{}", 403},
		{"shop", http.MethodPost, "/v1/load_lora_adapter", "{}", 403},
		{"shop", http.MethodPost, "/adapters", `{"name": "x", "path": "y"}`, 400},
		{"shop", http.MethodDelete, "/adapters/shared-1", "", 404}, // it may use it, and not remove it
		{"shop", http.MethodDelete, "/adapters/cafe.greet", "", 404},
		{"shop", http.MethodDelete, "/adapters/greet", "", 200},
		{"root", http.MethodDelete, "/adapters/cafe.greet", "", 200},
		{"shop", http.MethodPost, "/adapters/merge", `{"name": "both", "from": [{"name": "cafe.only"}]}`, 404},
		{"shop", http.MethodPost, "/adapters/merge", `{"name": "both", "from": [{"name": "shared-1"}]}`, 201},
	} {
		r := s.json(c.tenant, c.method, c.path, c.body)
		if r.status != c.status {
			t.Errorf("%s: %s %s: %d %s, want %d", c.tenant, c.method, c.path, r.status, r.body, c.status)
		}
	}
	if r := s.json("shop", http.MethodGet, "/adapters/both", ""); r.status != 200 || !strings.Contains(string(r.body), `"name":"shop.both"`) {
		t.Errorf("what was merged: %d %s", r.status, r.body)
	}
}

// TestTenantsJobsAndFiles has two tenants train, and each look for the other's work.
func TestTenantsJobsAndFiles(t *testing.T) {
	s := openTenantServer(t, tenants.Quota{})
	var file openapi.File
	s.ok(s.file("shop", "/v1/files", map[string]string{"purpose": "fine-tune"}, examples), &file)
	var job openapi.TrainingJob
	r := s.json("shop", http.MethodPost, "/adapters/train", fmt.Sprintf(`{"name": "mine", "training_file": %q, "max_steps": 1, "r": 1}`, file.Id))
	if r.status != http.StatusAccepted {
		t.Fatalf("%d %s", r.status, r.body)
	}
	s.ok(response{status: 200, body: r.body}, &job)
	if job.Name != "shop.mine" {
		t.Errorf("the job makes %s", job.Name)
	}
	for _, path := range []string{"/v1/files/" + file.Id, "/v1/files/" + file.Id + "/content", "/adapters/train/" + job.Id, "/adapters/train/" + job.Id + "/events",
		"/v1/fine_tuning/jobs/" + job.Id, "/v1/fine_tuning/jobs/" + job.Id + "/events", "/v1/fine_tuning/jobs/" + job.Id + "/checkpoints"} {
		for tenant, want := range map[string]int{"shop": 200, "cafe": 404, "root": 200} {
			if r := s.json(tenant, http.MethodGet, path, ""); r.status != want {
				t.Errorf("%s gets %s: %d %s", tenant, path, r.status, r.body)
			}
		}
	}
	var tuned openapi.FineTuningJob // which has ended with its events
	s.ok(s.json("shop", http.MethodGet, "/v1/fine_tuning/jobs/"+job.Id, ""), &tuned)
	if len(tuned.ResultFiles) != 1 {
		t.Fatalf("the job's result files are %q", tuned.ResultFiles)
	}
	for tenant, want := range map[string]int{"shop": 200, "cafe": 404, "root": 200} {
		if r := s.json(tenant, http.MethodGet, "/v1/files/"+tuned.ResultFiles[0]+"/content", ""); r.status != want {
			t.Errorf("%s gets the results: %d %s", tenant, r.status, r.body)
		}
	}
	if r := s.json("cafe", http.MethodDelete, "/v1/files/"+tuned.ResultFiles[0], ""); r.status != 404 {
		t.Errorf("another tenant deletes the results: %d %s", r.status, r.body)
	}
	if r := s.json("cafe", http.MethodDelete, "/adapters/train/"+job.Id, ""); r.status != 404 {
		t.Errorf("another tenant deletes the job: %d %s", r.status, r.body)
	}
	for _, path := range []string{"/adapters/train/" + job.Id + "/cancel", "/adapters/train/" + job.Id + "/resume", "/v1/fine_tuning/jobs/" + job.Id + "/cancel"} {
		if r := s.json("cafe", http.MethodPost, path, ""); r.status != 404 {
			t.Errorf("another tenant posts to %s: %d %s", path, r.status, r.body)
		}
	}
	if r := s.json("cafe", http.MethodPost, "/adapters/train", fmt.Sprintf(`{"name": "x", "training_file": %q}`, file.Id)); r.status != 400 {
		t.Errorf("another tenant trains on the file: %d %s", r.status, r.body)
	}
	if r := s.json("cafe", http.MethodDelete, "/v1/files/"+file.Id, ""); r.status != 404 {
		t.Errorf("another tenant deletes the file: %d %s", r.status, r.body)
	}
	for _, path := range []string{"/v1/files", "/adapters/train", "/v1/fine_tuning/jobs"} {
		if r := s.json("cafe", http.MethodGet, path, ""); r.status != 200 || strings.Contains(string(r.body), file.Id) || strings.Contains(string(r.body), job.Id) {
			t.Errorf("another tenant lists %s: %d %s", path, r.status, r.body)
		}
	}
}

// TestQuotas uses each of them up.
func TestQuotas(t *testing.T) {
	s := openTenantServer(t, tenants.Quota{RequestsPerMinute: 12, TokensPerMinute: 40, Queued: 3, StoredBytes: 300, Jobs: 1})
	ask := func(n int) response {
		return s.json("shop", http.MethodPost, "/v1/completions", fmt.Sprintf(`{"prompt":"abcdef","max_tokens":20,"ignore_eos":true,"n":%d}`, n))
	}
	if r := ask(4); r.status != http.StatusTooManyRequests || !strings.Contains(string(r.body), "queued") {
		t.Errorf("four answers at once: %d %s", r.status, r.body)
	}
	r := ask(2)
	if r.status != 200 || r.header.Get("x-ratelimit-limit-tokens") != "40" || r.header.Get("x-ratelimit-remaining-requests") != "10" {
		t.Errorf("%d %v %s", r.status, r.header, r.body)
	}
	if r := ask(1); r.status != http.StatusTooManyRequests || !strings.Contains(string(r.body), "tokens_per_minute") || r.header.Get("Retry-After") == "" {
		t.Errorf("after 46 tokens: %d %s", r.status, r.body)
	}
	if r := s.file("shop", "/v1/files", map[string]string{"purpose": "fine-tune"}, strings.Repeat(examples, 20)); r.status != 403 || !strings.Contains(string(r.body), "stored_bytes") {
		t.Errorf("a file that is too large: %d %s", r.status, r.body)
	}
	for range 12 {
		r = s.json("shop", http.MethodGet, "/adapters", "")
	}
	if r.status != http.StatusTooManyRequests || !strings.Contains(string(r.body), "requests_per_minute") {
		t.Errorf("too many requests: %d %s", r.status, r.body)
	}
	if r := s.json("cafe", http.MethodGet, "/adapters", ""); r.status != 200 {
		t.Errorf("another tenant: %d %s", r.status, r.body)
	}
}

// TestTenantsMetrics asks for the series of adapters.
func TestTenantsMetrics(t *testing.T) {
	s := openTenantServer(t, tenants.Quota{})
	for tenant, name := range map[string]string{"shop": "greet", "cafe": "only"} {
		if r := s.json(tenant, http.MethodPost, "/v1/completions", fmt.Sprintf(`{"prompt":"a","max_tokens":1,"adapter":%q}`, name)); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	for tenant, sees := range map[string][2]bool{"root": {true, true}, "shop": {true, false}, "cafe": {false, true}, "guest": {false, false}} {
		text := string(s.json(tenant, http.MethodGet, "/metrics", "").body)
		if shop, cafe := strings.Contains(text, `adapter="shop.greet"`), strings.Contains(text, `adapter="cafe.only"`); shop != sees[0] || cafe != sees[1] || !strings.Contains(text, "lorikeet_decode_seconds") {
			t.Errorf("%s: sees shop %v, cafe %v", tenant, shop, cafe)
		}
	}
}
