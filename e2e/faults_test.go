package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/openapi"
)

// TestKilledAtRandomMoments kills the server fifty times while adapters are uploaded and merged, jobs and batches run and
// requests are answered, and starts it again on the same folder: what it acknowledged is there, and answers as before.
func TestKilledAtRandomMoments(t *testing.T) {
	kills := 50
	if testing.Short() {
		kills = 5
	}
	data, rng := t.TempDir(), rand.New(rand.NewPCG(11, 7))
	examples, _, _ := secrets(6, 6)
	acknowledged := map[string]string{} // adapter -> version
	var batches []string                // that were taken
	for kill := range kills {
		p := startProcess(t, "--threads", "1", "--data", data)
		b := &booted{process: p, t: t}
		var list openapi.AdapterList
		b.get("/adapters", &list)
		present := map[string]string{}
		for _, a := range list.Data {
			present[a.Name] = a.Version
		}
		for name, version := range acknowledged {
			if present[name] != version {
				t.Fatalf("after kill %d: %s is %q and was acknowledged as %q", kill, name, present[name], version)
			}
		}
		if version := acknowledged["keep"]; version != "" {
			if text := b.mustAsk(question("What is 12 plus 9?", "adapter", "keep")); text != "Ahoy! 12 plus 9 be 21, me hearty!" {
				t.Fatalf("after kill %d the adapter answers %q", kill, text)
			}
		}
		var mu sync.Mutex
		var work sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		acknowledge := func(status int, raw []byte, err error) {
			var made openapi.Adapter
			if err == nil && status == http.StatusCreated && json.Unmarshal(raw, &made) == nil {
				mu.Lock()
				defer mu.Unlock()
				acknowledged[made.Name] = made.Version
			}
		}
		for worker, do := range []func(n int){
			func(n int) {
				acknowledge(b.post("/adapters/merge", map[string]any{"name": fmt.Sprint("m", n%4), "from": []any{map[string]any{"name": "keep", "weight": 0.5}}}))
			},
			func(n int) {
				acknowledge(b.form("/adapters", folder([]string{"shout", "json", "pirate"}[n%3]), "name", fmt.Sprint("u", n%3)))
			},
			func(n int) {
				_, _, _ = b.post("/adapters/train", map[string]any{"name": "pupil", "examples": examples, "max_steps": 3, "r": 2, "save_steps": 1}) // whether it is taken does not matter
				time.Sleep(20 * time.Millisecond)
			},
			func(int) { _, _ = b.ask(question("What is 12 plus 9?", "adapter", "keep")) }, // until the kill
			func(int) {
				if id := b.batch(); id != "" {
					mu.Lock()
					defer mu.Unlock()
					batches = append(batches, id)
				}
				time.Sleep(200 * time.Millisecond)
			},
		} {
			work.Go(func() {
				for n := worker; ctx.Err() == nil; n++ {
					do(n)
				}
			})
		}
		if kill == 0 {
			if status, out, errs := command(t, nil, "adapter", "add", "keep", filepath.Join(demoAdapters, "pirate"), "--server", p.url()); status != 0 {
				t.Fatal(out, errs)
			}
			b.get("/adapters", &list)
			for _, a := range list.Data {
				if a.Name == "keep" {
					acknowledged["keep"] = a.Version
				}
			}
		}
		time.Sleep(time.Duration(20+rng.IntN(400)) * time.Millisecond) // a random moment is what is tested
		p.kill(t)
		cancel()
		work.Wait()
	}
	b := boot(t, "--threads", "1", "--data", data)
	var jobs openapi.TrainingJobList
	b.get("/adapters/train", &jobs)
	for _, j := range jobs.Data {
		if j.Error != nil && !strings.Contains(j.Error.Message, "server") {
			t.Errorf("job %s: %s", j.Id, j.Error.Message)
		}
	}
	if len(acknowledged) < 5 || len(batches) == 0 {
		t.Errorf("only %v and the batches %v were acknowledged before the kills", acknowledged, batches)
	}
	t.Logf("%d adapters and %d batches", len(acknowledged), len(batches))
	for _, id := range batches {
		for deadline := time.Now().Add(startTimeout); ; time.Sleep(10 * time.Millisecond) {
			var batch openapi.Batch
			if b.get("/v1/batches/"+id, &batch); batch.Status == "completed" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("batch %s: %+v", id, batch)
			}
		}
	}
}

// batch makes a batch of two requests, and returns its id, "" where it was not taken.
func (b *booted) batch() string {
	lines := filepath.Join(b.t.TempDir(), "batch.jsonl")
	var text strings.Builder
	for i := range 2 {
		fmt.Fprintf(&text, `{"custom_id":"%d","method":"POST","url":"/v1/completions","body":{"prompt":"a","max_tokens":8}}`+"\n", i)
	}
	if err := os.WriteFile(lines, []byte(text.String()), 0o600); err != nil {
		return ""
	}
	var f openapi.File
	var made openapi.Batch
	status, raw, err := b.form("/v1/files", []string{lines}, "purpose", "batch")
	if err != nil || status != http.StatusOK || json.Unmarshal(raw, &f) != nil {
		return ""
	}
	status, raw, err = b.post("/v1/batches", map[string]any{"input_file_id": f.Id, "endpoint": "/v1/completions", "completion_window": "24h"})
	if err != nil || status != http.StatusOK || json.Unmarshal(raw, &made) != nil {
		return ""
	}
	return made.Id
}

// TestTwoServersOnOneFolder starts a second server on the data folder of the first, which says whose it is and ends; the
// first goes on.
func TestTwoServersOnOneFolder(t *testing.T) {
	b := boot(t, "--adapter-dir", demoAdapters)
	status, _, errs := command(t, nil, "serve", "--listen", "127.0.0.1:0", "--data", b.data)
	if status != 1 || !strings.Contains(errs, b.data) || !strings.Contains(errs, "another") {
		t.Errorf("status %d: %s", status, errs)
	}
	if text := b.mustAsk(question("What is 12 plus 9?", "adapter", "shout")); text != "12 PLUS 9 IS 21." {
		t.Errorf("the first server answers %q", text)
	}
}

// TestStopped stops the process for a while in the middle of answers, as a debugger or a hypervisor does: they go on.
func TestStopped(t *testing.T) {
	b := boot(t, "--threads", "1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	resp, lines, err := openStream(ctx, b.url(), longAnswer(300))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := b.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // how long it is stopped
	if err := b.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ended: %v", err)
		}
		if strings.TrimSpace(line) == "data: [DONE]" {
			break
		}
	}
	if text := b.mustAsk(question("What is the capital of France?")); text != "The capital of France is Paris." {
		t.Errorf("afterwards it answers %q", text)
	}
}

// TestTenants makes keys with the command, serves with them, and asks as two tenants.
func TestTenants(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	keys := map[string]string{}
	for _, args := range [][]string{{"shop", "--role", "chat,train"}, {"cafe"}} {
		status, out, errs := command(t, nil, append([]string{"keys", "add", "--file", file}, args...)...)
		if status != 0 {
			t.Fatal(errs)
		}
		keys[args[0]] = strings.TrimSpace(out)
	}
	b := boot(t, "--keys", file, "--log-level", "info")
	env := map[string]string{"LORIKEET_SERVER": b.url(), "LORIKEET_API_KEYS": keys["shop"]}
	if status, out, errs := command(t, env, "adapter", "add", "loud", filepath.Join(demoAdapters, "shout")); status != 0 || !strings.Contains(out, "shop.loud@") {
		t.Fatalf("%d %s%s", status, out, errs)
	}
	for tenant, want := range map[string]int{"shop": http.StatusOK, "cafe": http.StatusNotFound} {
		status, raw, err := postTo(b.url()+"/v1/chat/completions", keys[tenant], question("What is 12 plus 9?", "adapter", "loud"))
		if err != nil || status != want || want == http.StatusOK && !strings.Contains(string(raw), "12 PLUS 9 IS 21.") {
			t.Errorf("%s: %d %s %v", tenant, status, raw, err)
		}
	}
	if log := b.errs.String(); !strings.Contains(log, "state changed") || !strings.Contains(log, "shop") || strings.Contains(log, keys["shop"]) {
		t.Errorf("the log has no audit line, or a key:\n%s", log)
	}
}
