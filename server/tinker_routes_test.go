package server

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/tinker/wire"
)

// External weights are an adapter whose files can be downloaded one by one, without a key.
func TestTinkerExternalWeights(t *testing.T) {
	s := openTinker(t)
	m := s.model(0)
	body := fmt.Sprintf(`{"model_id":%q,"seq_id":1,"path":"hub","age_encryption_recipients":["age1x"]}`, m)
	if r := s.do("POST", "/api/v1/save_weights_external", body); r.status != 400 || !strings.Contains(string(r.body), "age_encryption_recipients") {
		t.Errorf("encrypted files: %d %s", r.status, r.body)
	}
	saved := s.result(s.call("save_weights_external", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"path":"hub"}`, m, s.next(m))))
	want := "tinker://" + m + "/external_weights/hub"
	if saved.Path == nil || *saved.Path != want || *saved.Type != "save_weights_external" || *saved.SizeBytes <= 0 {
		t.Fatalf("saved as %+v", saved)
	}
	var files openapi.TinkerFiles
	s.get("/api/v1/training_runs/"+m+"/checkpoints/external_weights/hub/external_weights_urls", &files)
	for name, begins := range map[string]string{"adapter_config.json": "{", "adapter_model.safetensors": ""} {
		r, err := http.Get(files.Urls[name])
		if err != nil {
			t.Fatalf("%s of %v: %v", name, files.Urls, err)
		}
		content, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != 200 || !bytes.HasPrefix(content, []byte(begins)) || int64(len(content)) != r.ContentLength || len(content) == 0 {
			t.Errorf("%s is %d, %d bytes of %d: %.60q, %v", name, r.StatusCode, len(content), r.ContentLength, content, err)
		}
	}
	var list openapi.TinkerCheckpointList
	s.get("/api/v1/training_runs/"+m+"/checkpoints", &list)
	if len(list.Checkpoints) != 1 || list.Checkpoints[0].CheckpointType != "external" || list.Checkpoints[0].TinkerPath != want {
		t.Errorf("the list is %+v", list)
	}
	if r := s.do("GET", "/api/v1/training_runs/"+m+"/checkpoints/weights/hub/external_weights_urls", ""); r.status != 400 {
		t.Errorf("files of another kind: %d %s", r.status, r.body)
	}
	if r := s.do("DELETE", "/api/v1/training_runs/"+m+"/checkpoints/external_weights/hub", ""); r.status != 204 {
		t.Errorf("deleting gives %d %s", r.status, r.body)
	}
	r, err := http.Get(files.Urls["adapter_config.json"])
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != 404 {
		t.Errorf("the file of what was deleted: %d", r.StatusCode)
	}
}

// A copy is a checkpoint of its own: training goes on from it when its source is deleted. A request that comes again makes no other.
func TestTinkerCopiesCheckpoints(t *testing.T) {
	s := openTinker(t)
	m := s.model(0)
	s.forward(m, "cross_entropy", false, datumOf("hello world", nil))
	s.step(m)
	source := *s.result(s.call("save_weights", fmt.Sprintf(`{"model_id":%q,"seq_id":%d,"path":"x","ttl_seconds":3600}`, m, s.next(m)))).Path
	copyOf := func(more string, key string) (path string) {
		t.Helper()
		req, err := http.NewRequest("POST", s.url+"/api/v1/copy_weights", strings.NewReader(fmt.Sprintf(`{"source_path":%q,%s}`, source, more)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Idempotency-Key", key)
		var out openapi.TinkerCopied
		s.ok(s.send(req), &out)
		return out.TinkerPath
	}
	first := copyOf(`"destination_project_id":"p"`, "a")
	if again := copyOf(`"destination_project_id":"p"`, "a"); again != first || first == source || !strings.HasSuffix(first, "/weights/x") {
		t.Errorf("copies to %s and then to %s", first, again)
	}
	if other := copyOf(`"destination_project_id":"p"`, "b"); other == first {
		t.Error("another request gives the same copy")
	}
	slot := fmt.Sprintf(`"session_id":%q,"model_seq_id":7`, s.session)
	if path := copyOf(slot, "c"); path != "tinker://"+s.session+":train:7/weights/x" || copyOf(slot, "d") != path {
		t.Errorf("the copy of a session's run is %s", path)
	}
	for body, want := range map[string]string{
		`{"source_path":"tinker://a/weights/b","destination_project_id":"p"}`:                                              "checkpoint",
		fmt.Sprintf(`{"source_path":%q}`, source):                                                                          "destination_project_id",
		fmt.Sprintf(`{"source_path":%q,"session_id":%q}`, source, s.session):                                               "model_seq_id",
		fmt.Sprintf(`{"source_path":%q,"session_id":%q,"model_seq_id":0}`, source, s.session):                              "model_seq_id",
		fmt.Sprintf(`{"source_path":%q,"session_id":%q,"model_seq_id":-1}`, source, s.session):                             "model_seq_id",
		fmt.Sprintf(`{"source_path":%q,"session_id":"x","model_seq_id":1}`, source):                                        "session",
		fmt.Sprintf(`{"source_path":%q,"destination_project_id":"p","ttl_seconds":-1}`, source):                            "ttl_seconds",
		fmt.Sprintf(`{"source_path":%q,"destination_project_id":"p","weights_access_token":"t"}`, source):                  "weights_access_token",
		fmt.Sprintf(`{"source_path":%q,"destination_project_id":"p","session_id":%q,"model_seq_id":1}`, source, s.session): "destination_project_id",
	} {
		if r := s.do("POST", "/api/v1/copy_weights", body); r.status < 400 || r.status >= 500 || !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
	if r := s.do("DELETE", "/api/v1/training_runs/"+m+"/checkpoints/weights/x", ""); r.status != 204 {
		t.Fatalf("deleting gives %d %s", r.status, r.body)
	}
	s.server.tinker.Close()
	s.server.tinker = s.service(s.server.tinker.Dir())
	var session openapi.TinkerSession
	s.post("/api/v1/create_session", `{"tags":[],"sdk_version":"test"}`, &session)
	loaded := s.result(s.call("load_weights", fmt.Sprintf(`{"session_id":%q,"model_seq_id":0,"path":%q,"optimizer":true}`, session.SessionId, first)))
	if loaded.ModelId == nil {
		t.Fatalf("after a restart the copy gives %+v", loaded)
	}
	if loss := s.forward(*loaded.ModelId, "cross_entropy", true, datumOf("hello world", nil)).Metrics["loss:sum"]; loss <= 0 {
		t.Errorf("its loss is %v", loss)
	}
}

// Sessions are found by what was noted of them, page by page.
func TestTinkerSearchesSessions(t *testing.T) {
	s := openTinker(t)
	var ids []string
	for i, name := range []string{"Nightly run", "nightly", "other"} {
		var made openapi.TinkerSession
		s.post("/api/v1/create_session", fmt.Sprintf(`{"tags":[],"sdk_version":"t","display_name":%q,"project_id":"p%d","user_metadata":{"n":"%d"}}`, name, i%2, i), &made)
		ids = append(ids, made.SessionId)
	}
	find := func(body string) (found []string, page openapi.TinkerSessionPage) {
		t.Helper()
		s.post("/api/v1/sessions/search", body, &page)
		for _, one := range page.Sessions {
			found = append(found, one.SessionId)
			if one.Status.Type != "active" || one.CreatedAt.IsZero() {
				t.Errorf("a session is %+v", one)
			}
		}
		return found, page
	}
	for body, want := range map[string][]string{
		`{"display_name":"NIGHT run"}`: {ids[0]}, `{"display_name":"night"}`: {ids[0], ids[1]}, `{"project_ids":["p1"]}`: {ids[1]},
		`{"user_metadata":{"n":"2"}}`: {ids[2]}, `{"user_metadata":{"n":"7"}}`: nil, `{"statuses":[{"type":"failed"}]}`: nil,
		`{"session_id":"` + ids[2] + `","display_name":"run","owner":{"type":"accessible"}}`: {ids[0], ids[2]},
		`{"owner":{"type":"user","owner_urns":["somebody"]}}`:                                nil,
	} {
		found, _ := find(body)
		if got := strings.Join(found, " "); len(found) != len(want) || !containsAll(got, want) {
			t.Errorf("%s finds %s, want %v", body, got, want)
		}
	}
	var all []string
	cursor := ""
	for range 9 {
		found, page := find(`{"limit":1` + cursor + `}`)
		all = append(all, found...)
		if page.NextCursor == nil {
			break
		}
		cursor = fmt.Sprintf(`,"cursor":{"last_created_at":%q,"last_session_id":%q}`, page.NextCursor.LastCreatedAt.Format("2006-01-02T15:04:05.000Z07:00"), page.NextCursor.LastSessionId)
	}
	if len(all) != 4 || !containsAll(strings.Join(all, " "), append(ids, s.session)) {
		t.Errorf("page by page there are %v", all)
	}
	if r := s.do("PUT", "/api/v1/sessions/"+ids[0]+"/project", `{"project_id":"moved"}`); r.status != 204 {
		t.Errorf("moving a session: %d %s", r.status, r.body)
	}
	if found, _ := find(`{"project_ids":["moved"]}`); len(found) != 1 || found[0] != ids[0] {
		t.Errorf("the moved session is %v", found)
	}
	for body, want := range map[string]string{`{"limit":0}`: "limit", `{"limit":201}`: "limit", `{"owner":{"type":"x"}}`: "owner", `{"statuses":[{"type":"x"}]}`: "statuses"} {
		if r := s.do("POST", "/api/v1/sessions/search", body); r.status != 400 || !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
}

func containsAll(text string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

// What this server has no use for is refused in words, with a status that clients do not repeat.
func TestTinkerRefusesWhatIsAbsent(t *testing.T) {
	s := openTinker(t)
	for path, why := range tinkerAbsent {
		r := s.do("POST", "/api/v1/"+strings.ReplaceAll(path, ":id", "x"), `{}`)
		if r.status != 404 || !strings.Contains(string(r.body), why) {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}

// A body that is small and would be large in memory is refused before it is read.
func TestTinkerBoundsMessages(t *testing.T) {
	s := openTinker(t)
	m := s.model(0)
	send := func(body []byte) response {
		req, err := http.NewRequest("POST", s.url+"/api/v1/forward_backward", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", mimeProtobuf)
		return s.send(req)
	}
	shape := protowire.AppendBytes(protowire.AppendTag(nil, 4, protowire.BytesType), bytes.Repeat([]byte{1}, maxWireFields))
	entry := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), shape)
	inputs := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), entry)
	for name, body := range map[string][]byte{
		"empty sequences":           bytes.Repeat([]byte{0x1a, 0}, maxWireFields+1),
		"a sequence of empty parts": protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), bytes.Repeat([]byte{0x0a, 0}, maxWireFields)),
		"a shape of many numbers":   protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), inputs),
	} {
		if r := send(body); r.status != 413 || !strings.Contains(string(r.body), "fields") {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	for name, body := range map[string][]byte{
		"cut short": {0x1a, 200}, "no field": {0xff}, "a sequence cut short": {0x1a, 2, 0x0a, 9}, "an open group": {0x1b, 0x0a},
	} {
		if r := send(body); r.status != 400 || !strings.Contains(string(r.body), "protobuf") {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	if r := s.sendForward(&wire.ForwardBackwardRequest{ModelId: m, SeqId: 1, LossFn: "cross_entropy"}); r.status != 400 {
		t.Errorf("no data: %d %s", r.status, r.body)
	}
}
