package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/tenants"
)

// Another tenant's response is none.
func TestResponsesOfOthers(t *testing.T) {
	s := openTenantServer(t, tenants.Quota{}, keepingResponses(t))
	var mine openapi.Response
	s.ok(s.json("shop", "POST", responsesURL, responseBody("hi")), &mine)
	path, reference := responsesURL+"/"+mine.Id, fmt.Sprintf(`{"input":[{"type":"item_reference","id":%q}]}`, mine.Output[0].Id)
	onward := responseBody("and?", `"previous_response_id":"`+mine.Id+`"`)
	for _, r := range []response{
		s.json("cafe", "GET", path, ""), s.json("cafe", "DELETE", path, ""), s.json("cafe", "GET", path+"/input_items", ""),
		s.json("cafe", "POST", responsesURL, onward), s.json("cafe", "POST", responsesURL, reference),
	} {
		if r.status != 404 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	for _, r := range []response{
		s.json("shop", "GET", path, ""), s.json("shop", "POST", responsesURL, onward), s.json("shop", "POST", responsesURL, reference), s.json("root", "DELETE", path, ""),
	} {
		if r.status != 200 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	// llama-server's defaults are each tenant's own.
	s.ok(s.json("shop", "POST", "/lora-adapters", `[{"name":"shop.greet"}]`), &openapi.LoraAdaptersSet{})
	for tenant, want := range map[string]bool{"shop": true, "cafe": false} {
		var got openapi.ChatCompletion
		s.ok(s.json(tenant, "POST", chatURL, chatBody("a")), &got)
		if (got.Adapter != nil) != want {
			t.Errorf("%s is answered by %v", tenant, got.Adapter)
		}
	}
	if r := s.json("guest", "POST", "/lora-adapters", `[]`); r.status != 403 {
		t.Errorf("a key for chat alone sets defaults: %d", r.status)
	}
	if r := s.json("cafe", "DELETE", "/v1/models/shop.greet", ""); r.status != 404 {
		t.Errorf("another's model is deleted: %d %s", r.status, r.body)
	}
	if r := s.json("shop", "DELETE", "/v1/models/shared-1", ""); r.status != 403 {
		t.Errorf("a shared model is deleted: %d %s", r.status, r.body)
	}
}

// What is small to send and large to work on is bounded, and nobody waits for what grows with the square of a request.
func TestHostileItems(t *testing.T) {
	h := open(t, keepingResponses(t), func(p *setup) { p.options.MaxBody = 4 << 20 })
	many := func(n int, item string) string {
		if testing.Short() && n > 20_000 { // the race detector is slow
			n = 20_000
		}
		return strings.TrimSuffix(strings.Repeat(item+",", n), ",")
	}
	var kept openapi.Response
	h.post(responsesURL, responseBody("hi", `"metadata":{"a":"b"}`), &kept)
	large := `{"input":[{"role":"user","content":"a","more":"` + strings.Repeat("x", 1<<20) + `"}]}`
	var big openapi.Response
	h.post(responsesURL, large, &big)
	var items openapi.ResponseItemList
	h.get(responsesURL+"/"+big.Id+"/input_items", &items)
	start := time.Now()
	for _, c := range []struct{ path, body, code, param string }{
		{responsesURL, `{"input":[` + many(100, fmt.Sprintf(`{"type":"item_reference","id":%q}`, itemID(items.Data[0]))) + `]}`, codeValue, "input[7]"},
		{responsesURL, `{"input":[` + many(60_000, `{"role":"system","content":"abcdefgh"}`) + `]}`, "context_length_exceeded", "input"},
		{responsesURL, `{"input":[` + many(60_000, `{"type":"reasoning","content":"abcdefgh"}`) + `]}`, "context_length_exceeded", "input"},
		{chatURL, chatBody("a", `"lora":[`+many(60_000, `{"id":0,"scale":0}`)+`]`), codeValue, "lora"},
	} {
		r := h.do("POST", c.path, c.body)
		if r.status == 200 && c.code == "context_length_exceeded" {
			continue // the fake template prints no reasoning
		}
		refused(t, r, 400, c.code, c.param, "")
	}
	for path, body := range map[string]string{
		messagesURL: `{"model":"fake","max_tokens":1,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[` + many(50_000, `{"type":"thinking","thinking":"abcdefgh"}`) + `]}]}`,
		"/api/chat": `{"model":"fake","stream":false,"messages":[{"role":"assistant","tool_calls":[` + many(40_000, `{"function":{"name":"a"}}`) + `]},` + many(40_000, `{"role":"tool","tool_name":"b"}`) + `]}`,
	} {
		r := h.do("POST", path, body)
		if r.status != 200 && r.status != 400 {
			t.Errorf("%s: %d %.200s", path, r.status, r.body)
		}
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	waitUntil(t, "all shares are given back", time.Second, func() bool {
		return h.server.bodies.TryAcquire(bodyMemory) && !release(h, bodyMemory)
	})
}
