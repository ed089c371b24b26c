package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/lorikeet-ai/lorikeet/openapi"
)

// A response that the server keeps is there after a restart, and is gone on from; with --keep-responses 0 none is kept.
func TestResponsesSurviveARestart(t *testing.T) {
	data := t.TempDir()
	respond := func(b *booted, more ...any) (r openapi.Response) {
		t.Helper()
		body := map[string]any{"input": "What is the capital of France?", "temperature": 0, "max_output_tokens": 40}
		for i := 0; i+1 < len(more); i += 2 {
			body[more[i].(string)] = more[i+1]
		}
		status, raw, err := b.post("/v1/responses", body)
		if err != nil || status != http.StatusOK || json.Unmarshal(raw, &r) != nil {
			t.Fatalf("%d %s %v", status, raw, err)
		}
		return r
	}
	b := boot(t, "--data", data)
	first := respond(b)
	second := respond(b, "previous_response_id", first.Id, "input", "And of Italy?")
	b.stop()
	b = boot(t, "--data", data)
	var kept openapi.Response
	if b.get("/v1/responses/"+first.Id, &kept); (*kept.Output[0].Content)[0].Text != (*first.Output[0].Content)[0].Text {
		t.Errorf("kept is %+v", kept)
	}
	again := respond(b, "previous_response_id", first.Id, "input", "And of Italy?")
	if got, want := (*again.Output[0].Content)[0].Text, (*second.Output[0].Content)[0].Text; got != want {
		t.Errorf("after a restart the conversation goes on with %q, before with %q", got, want)
	}
	b.stop()
	b = boot(t, "--data", data, "--keep-responses", "0")
	if r := respond(b); r.Store {
		t.Errorf("a server that keeps nothing says %+v", r)
	}
	resp, err := http.Get(b.url() + "/v1/responses/" + first.Id)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("a server that keeps nothing answers %s", resp.Status)
	}
}
