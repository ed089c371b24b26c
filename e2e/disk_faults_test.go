package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/diskfaults"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// modes are the ways in which the disk fails: full for a moment, full for good, and broken at one place.
var modes = []diskfaults.Rule{{Errno: syscall.ENOSPC}, {Errno: syscall.ENOSPC, Stays: true}, {Errno: syscall.EIO}}

// bootOnFailingDisk is boot on a data folder in which calls can be made to fail.
func bootOnFailingDisk(t *testing.T, env map[string]string, args ...string) (*booted, *diskfaults.Faults) {
	t.Helper()
	diskfaults.Need(t)
	p := serve(t, env, args...)
	started, err := diskfaults.Wrap(p.Cmd, diskfaults.Rule{}, p.data)
	if err != nil {
		t.Fatal(err)
	}
	p.begin(t)
	f, err := started()
	if err != nil {
		t.Fatal(err)
	}
	p.awaitReady(t)
	return &booted{process: p, t: t}, f
}

// paths are the files and folders of the data folder, but for locks and the log.
func paths(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil && !os.IsNotExist(err) { // what went meanwhile
			return err
		}
		if name := filepath.Base(path); name != "lock" && !strings.HasSuffix(name, ".log") {
			list = append(list, strings.TrimPrefix(path, dir))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// comparePaths wants no more and no less.
func comparePaths(t *testing.T, what string, had, has []string) {
	t.Helper()
	for _, path := range has {
		if !slices.Contains(had, path) {
			t.Errorf("%s leaves %s", what, path)
		}
	}
	for _, path := range had {
		if !slices.Contains(has, path) {
			t.Errorf("%s takes away %s", what, path)
		}
	}
}

// holdings is what the server says it has: adapters with their versions, the files' contents, jobs with their states.
func (b *booted) holdings() string {
	b.t.Helper()
	var adapters openapi.AdapterList
	var files openapi.FileList
	var jobs openapi.TrainingJobList
	b.get("/adapters", &adapters)
	b.get("/v1/files", &files)
	b.get("/adapters/train", &jobs)
	var list []string
	for _, a := range adapters.Data {
		list = append(list, "adapter "+a.Name+"@"+a.Version)
	}
	for _, f := range files.Data {
		list = append(list, "file "+f.Id+" "+b.content(f.Id))
	}
	for _, j := range jobs.Data {
		list = append(list, "job "+j.Id+" "+j.Status)
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

func (b *booted) content(id string) string {
	resp, err := http.Get(b.url() + "/v1/files/" + id + "/content")
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(text))
}

// send is a request without a body that matters.
func (b *booted) send(method, path string) (int, []byte, error) {
	req, err := http.NewRequest(method, b.url()+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, raw, err
}

// form sends files and fields, whose names and values follow in turn.
func (b *booted) form(path string, files []string, fields ...string) (int, []byte, error) {
	body, kind := formOf(b.t, files, fields...)
	resp, err := http.Post(b.url()+path, kind, body)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, raw, err
}

// folder are the files of one of the demo's adapters.
func folder(name string) []string {
	return []string{filepath.Join(demoAdapters, name, "adapter_config.json"), filepath.Join(demoAdapters, name, "adapter_model.safetensors")}
}

// diskUse is a request that writes, what must be there for it, and what makes its effect undone.
type diskUse struct {
	name  string
	ready func(*booted)
	do    func(*booted) (int, []byte, error)
	undo  func(*booted)
}

// diskUses are all ways in which a request writes to the disk, but for those of jobs.
func diskUses(t *testing.T, set string) []diskUse {
	must := func(status int, raw []byte, err error) {
		t.Helper()
		if err != nil || status/100 != 2 {
			t.Fatalf("%d %s %v", status, raw, err)
		}
	}
	upload := func(name, from string) func(*booted) (int, []byte, error) {
		return func(b *booted) (int, []byte, error) { return b.form("/adapters", folder(from), "name", name) }
	}
	remove := func(path string) func(*booted) { return func(b *booted) { must(b.send(http.MethodDelete, path)) } }
	merge := func(b *booted) (int, []byte, error) {
		return b.post("/adapters/merge", map[string]any{"name": "sum", "from": []any{map[string]any{"name": "keep", "weight": 0.5}}})
	}
	latest := func(b *booted) string {
		var files openapi.FileList
		b.get("/v1/files", &files)
		if len(files.Data) == 0 {
			return ""
		}
		return files.Data[0].Id
	}
	storeFile := func(b *booted) (int, []byte, error) {
		return b.form("/v1/files", []string{set}, "purpose", "fine-tune")
	}
	removeFiles := func(b *booted) {
		for id := latest(b); id != ""; id = latest(b) {
			must(b.send(http.MethodDelete, "/v1/files/"+id))
		}
	}
	nothing := func(*booted) {}
	response := "" // the last one that was stored
	aFile := func(b *booted) {
		if latest(b) == "" {
			must(storeFile(b))
		}
	}
	return []diskUse{
		{"upload an adapter", nothing, upload("new", "shout"), remove("/adapters/new")},
		{"upload another version", nothing, upload("keep", "shout"), func(b *booted) {
			remove("/adapters/keep")(b)
			must(upload("keep", "pirate")(b))
		}},
		{"import a folder", nothing, func(b *booted) (int, []byte, error) {
			return b.post("/adapters", map[string]any{"name": "new", "path": filepath.Join(demoAdapters, "shout")})
		}, remove("/adapters/new")},
		{"fetch from a hub", nothing, func(b *booted) (int, []byte, error) {
			return b.post("/adapters", map[string]any{"name": "new", "source": "hf://org/loras/shout"})
		}, remove("/adapters/new")},
		{"merge", nothing, merge, remove("/adapters/sum")},
		{"pin", nothing, func(b *booted) (int, []byte, error) {
			return b.send(http.MethodPost, "/adapters/keep/pin")
		}, remove("/adapters/keep/pin")},
		{"download as GGUF", nothing, func(b *booted) (int, []byte, error) {
			return b.send(http.MethodGet, "/adapters/keep/download?format=gguf")
		}, nothing},
		{"delete an adapter", nothing, func(b *booted) (int, []byte, error) { return b.send(http.MethodDelete, "/adapters/keep") },
			func(b *booted) { must(upload("keep", "pirate")(b)) }},
		{"store a response", nothing, func(b *booted) (int, []byte, error) {
			status, raw, err := b.post("/v1/responses", map[string]any{"model": b.name(), "input": "a", "max_output_tokens": 2, "temperature": 0})
			var made struct{ ID string }
			if json.Unmarshal(raw, &made) == nil {
				response = made.ID
			}
			return status, raw, err
		}, func(b *booted) { remove("/v1/responses/" + response)(b) }},
		{"upload a file", nothing, storeFile, removeFiles},
		{"delete a file", aFile, func(b *booted) (int, []byte, error) { return b.send(http.MethodDelete, "/v1/files/"+latest(b)) }, nothing},
	}
}

// checkRefusal holds what a client is told of a failed write: 507 for a full disk, 500 with the file's name else.
func checkRefusal(t *testing.T, what string, r diskfaults.Rule, failed []string, status int, raw []byte) {
	t.Helper()
	var answer openapi.ErrorResponse
	if err := json.Unmarshal(raw, &answer); err != nil || answer.Error.Code == nil {
		t.Errorf("%s: %d %s", what, status, raw)
		return
	}
	switch {
	case r.Errno == syscall.ENOSPC && status == http.StatusInsufficientStorage && *answer.Error.Code == "no_space":
	case r.Errno == syscall.EIO && status == http.StatusInternalServerError && *answer.Error.Code == "disk_failed" &&
		strings.Contains(answer.Error.Message, r.Errno.Error()):
	default:
		t.Errorf("%s: after %v: %d %s", what, failed, status, raw)
	}
}

// TestEveryWriteFails has every write, sync, rename and creation of a file of every request fail in turn, with a full disk
// and with a broken one. The client is told what is the matter, what was there is there, also after a restart, nothing
// half-written is left, and the server goes on.
func TestEveryWriteFails(t *testing.T) {
	hub, _ := demoHub(t, "")
	b, f := bootOnFailingDisk(t, map[string]string{"HF_ENDPOINT": hub.URL}, "--threads", "1", "--adapter-dir", demoAdapters)
	set := filepath.Join(t.TempDir(), "set.jsonl")
	if err := os.WriteFile(set, []byte(strings.Repeat(`{"prompt": "a", "completion": "b"}`+"\n", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, raw, err := b.form("/adapters", folder("pirate"), "name", "keep"); err != nil || status != http.StatusCreated {
		t.Fatalf("%d %s %v", status, raw, err)
	}
	tried := 0
	for _, use := range diskUses(t, set) {
		for _, r := range modes {
			use.ready(b)
			f.Set(r)
			if status, raw, err := use.do(b); err != nil || status/100 != 2 {
				t.Fatalf("%s: %d %s %v", use.name, status, raw, err)
			}
			calls, _ := f.Calls()
			f.Set(diskfaults.Rule{})
			use.undo(b)
			for r.At = 1; r.At <= len(calls); r.At++ {
				use.ready(b)
				what := fmt.Sprintf("%s, call %d of %d (%s), %v, stays: %v", use.name, r.At, len(calls), calls[r.At-1], r.Errno, r.Stays)
				before, had := b.holdings(), paths(t, b.data)
				f.Set(r)
				status, raw, err := use.do(b)
				_, failed := f.Calls()
				f.Set(diskfaults.Rule{})
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				tried += len(failed)
				if unkept := strings.Contains(string(raw), `"store":false`); status/100 == 2 && !unkept {
					use.undo(b)
					continue
				} else if !unkept { // an answer that could not be kept is given all the same, and says so
					checkRefusal(t, what, r, failed, status, raw)
				}
				if after := b.holdings(); after != before {
					t.Errorf("%s: it has\n%s\nand had\n%s", what, after, before)
				}
				comparePaths(t, what, had, paths(t, b.data))
			}
		}
	}
	t.Logf("%d calls failed", tried)
	if text := b.mustAsk(question("What is 12 plus 9?", "adapter", "keep")); text != "Ahoy! 12 plus 9 be 21, me hearty!" {
		t.Errorf("the adapter answers %q", text)
	}
	before, data := b.holdings(), b.data
	b.kill(t)
	again := boot(t, "--threads", "1", "--data", data)
	if after := again.holdings(); after != before {
		t.Errorf("after a restart it has\n%s\nand had\n%s", after, before)
	}
}

// chance are the parts of paths that differ between runs.
var chance = regexp.MustCompile(`[0-9a-f]{64}|-[a-z0-9]{24}|[0-9]{6,}`)

// ofEachKind returns the numbers of the calls to try: the first and the last of each kind on each file, but for a full
// disk the first alone, and with LORIKEET_DISK_FAULTS=all every one. The many writes of a long file are of one kind.
func ofEachKind(calls []string, errno syscall.Errno) (list []int) {
	first, last := map[string]int{}, map[string]int{}
	for i, call := range calls {
		kind := chance.ReplaceAllString(call, "*")
		if _, ok := first[kind]; !ok {
			first[kind] = i + 1
		}
		last[kind] = i + 1
	}
	for n := range calls {
		kind := chance.ReplaceAllString(calls[n], "*")
		if n++; n == first[kind] || n == last[kind] && errno == syscall.EIO || os.Getenv("LORIKEET_DISK_FAULTS") == "all" {
			list = append(list, n)
		}
	}
	return list
}
