package server

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/tenants"
)

// What one tenant has, others do not see under their keys: sessions, models, futures, sampling sessions and checkpoints. A published
// checkpoint may be copied, and the copy is the other's own, without the notes of its source.
func TestTinkerTenants(t *testing.T) {
	file, keys := filepath.Join(t.TempDir(), "keys.json"), map[string]string{}
	for _, name := range []string{"shop", "cafe"} {
		key, err := tenants.Add(file, tenants.Tenant{Name: name, Roles: []tenants.Role{tenants.Chat, tenants.Train}})
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = key
	}
	registry, err := tenants.Open(file, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	s := startTinker(t, 0, func(p *setup) { p.options.Tenants = registry })
	as := func(tenant, method, path, body string) response {
		t.Helper()
		req, err := http.NewRequest(method, s.url+"/api/v1/"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-API-Key", keys[tenant])
		return s.send(req)
	}
	result := func(tenant, id string) (out openapi.TinkerResult) {
		t.Helper()
		s.ok(as(tenant, "POST", "retrieve_future", fmt.Sprintf(`{"request_id":%q}`, id)), &out)
		return out
	}
	call := func(tenant, path, body string) string {
		t.Helper()
		var f openapi.TinkerFuture
		s.ok(as(tenant, "POST", path, body), &f)
		return f.RequestId
	}
	var session openapi.TinkerSession
	s.ok(as("shop", "POST", "create_session", `{"tags":[],"sdk_version":"t"}`), &session)
	create := call("shop", "create_model", fmt.Sprintf(`{"session_id":%q,"model_seq_id":0,"base_model":"fake","lora_config":{"rank":4},"user_metadata":{"a":"secret"}}`, session.SessionId))
	model := *result("shop", create).ModelId
	placed := *result("shop", call("shop", "save_weights_for_sampler", fmt.Sprintf(`{"model_id":%q,"seq_id":1,"sampling_session_seq_id":1}`, model))).SamplingSessionId
	saving := call("shop", "save_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":2,"path":"x","user_metadata":{"b":"secret"}}`, model))
	path := *result("shop", saving).Path

	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "retrieve_future", fmt.Sprintf(`{"request_id":%q}`, placed+":1"), 410},
		{"POST", "cancel_future", fmt.Sprintf(`{"request_id":%q}`, saving), 410},
		{"POST", "session_heartbeat", fmt.Sprintf(`{"session_id":%q}`, session.SessionId), 410},
		{"POST", "sessions/" + session.SessionId + "/finish", `{}`, 410},
		{"PUT", "sessions/" + session.SessionId + "/project", `{"project_id":"p"}`, 410},
		{"GET", "sessions/" + session.SessionId, "", 410},
		{"GET", "samplers/" + placed, "", 404},
		{"GET", "training_runs/" + model, "", 404},
		{"POST", "get_info", fmt.Sprintf(`{"model_id":%q}`, model), 404},
		{"POST", "unload_model", fmt.Sprintf(`{"model_id":%q}`, model), 404},
		{"POST", "optim_step", fmt.Sprintf(`{"model_id":%q,"seq_id":3}`, model), 404},
		{"POST", "save_weights_external", fmt.Sprintf(`{"model_id":%q,"seq_id":3,"path":"y"}`, model), 404},
		{"POST", "asample", fmt.Sprintf(`{"sampling_session_id":%q,"seq_id":9,"prompt":{"chunks":[{"type":"encoded_text","tokens":[97]}]},"sampling_params":{}}`, placed), 404},
		{"POST", "weights_info", fmt.Sprintf(`{"tinker_path":%q}`, path), 404},
		{"POST", "copy_weights", fmt.Sprintf(`{"source_path":%q,"destination_project_id":"p"}`, path), 404},
		{"GET", "training_runs/" + model + "/checkpoints/weights/x/archive", "", 404},
		{"POST", "training_runs/" + model + "/checkpoints/weights/x/publish", "", 404},
		{"DELETE", "training_runs/" + model + "/checkpoints/weights/x", "", 404},
	} {
		if r := as("cafe", c.method, c.path, c.body); r.status != c.status || strings.Contains(string(r.body), "secret") {
			t.Errorf("%s %s %s under another key: %d %s", c.method, c.path, c.body, r.status, r.body)
		}
	}
	if r := result("cafe", saving); r.Path != nil || r.Error == nil || strings.Contains(*r.Error, path) {
		t.Errorf("the result under another key is %+v", r)
	}
	var page openapi.TinkerSessionPage
	s.ok(as("cafe", "POST", "sessions/search", fmt.Sprintf(`{"session_id":%q,"owner":{"type":"user","owner_urns":["shop"]}}`, session.SessionId)), &page)
	if len(page.Sessions) != 0 {
		t.Errorf("another's sessions are found: %+v", page)
	}

	if r := as("shop", "POST", "training_runs/"+model+"/checkpoints/weights/x/publish", ""); r.status != 204 {
		t.Fatalf("publishing: %d %s", r.status, r.body)
	}
	var copied openapi.TinkerCopied
	s.ok(as("cafe", "POST", "copy_weights", fmt.Sprintf(`{"source_path":%q,"destination_project_id":"p"}`, path)), &copied)
	if r := as("shop", "DELETE", "training_runs/"+model+"/checkpoints/weights/x", ""); r.status != 204 {
		t.Fatalf("deleting: %d %s", r.status, r.body)
	}
	r := as("cafe", "GET", "checkpoints", "")
	if !strings.Contains(string(r.body), copied.TinkerPath) || strings.Contains(string(r.body), "secret") || strings.Contains(string(r.body), `"public":true`) {
		t.Errorf("the copy is %s", r.body)
	}
	if r := as("shop", "POST", "weights_info", fmt.Sprintf(`{"tinker_path":%q}`, copied.TinkerPath)); r.status != 404 {
		t.Errorf("the copy under its source's key: %d %s", r.status, r.body)
	}
}
