package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const demoAdapters = "demo/adapters"

// TestExamples runs the scripts that the README shows.
func TestExamples(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: the example scripts need it", tool)
		}
	}
	b := boot(t, "--adapter-dir", demoAdapters, "--api-key", "sesame")
	for _, test := range []struct {
		script string
		wants  []string
	}{
		{"chat.sh", []string{`"content":"The capital of France is Paris."`, `"adapter":null`}},
		{"stream.sh", []string{`"object":"chat.completion.chunk"`, `"finish_reason":"stop"`, `"completion_tokens":`, "data: [DONE]"}},
		{"adapter-upload.sh", []string{`"name":"captain"`, `"origin":"upload"`, `"adapter":"captain@`, `"loaded":true`}},
		{"adapter-chat.sh", []string{"null\n  A dog can", "\"pirate\"\n  A", "\"json\"\n  {\\\"answer\\\"", "\"shout\"\n  ", "0.5}]\n  "}},
		{"mixed-load.sh", []string{"null      What is the capital of France?     The capital of France is Paris.", `"pirate"  What is the capital`, `"json"    What is the capital`, `"shout"   What`}},
		{"train.sh", []string{"job ftjob-", "Step 1/105: training loss", "The job succeeded: trained is version", `"adapter":"trained@`, "Thanks for writing to Copperfin!", `"curve":[{"step":1,`}},
		{"export.sh", []string{`"origin":"merge"`, `"method":"cat"`, "blend.zip", "blend.gguf", "0.5}]\n  ", "\"blend\"\n  ", "\"blend-gguf\"\n  "}},
		{"batch.sh", []string{`"status":"completed"`, `"request_counts":{"total":3,"completed":3,"failed":0}`, `"custom_id":"shout"`,
			`"content":"The capital of France is Paris."`, `"adapter":"pirate@`, `"object":"embedding"`, `"usage":{"prompt_tokens":`}},
	} {
		t.Run(test.script, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "bash", filepath.Join("examples", test.script))
			cmd.Env = append(os.Environ(), "LORIKEET_URL="+b.url(), "LORIKEET_API_KEY=sesame")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range test.wants {
				if !strings.Contains(string(out), want) {
					t.Errorf("%q is not in the output:\n%s", want, out)
				}
			}
		})
	}
	t.Run("a wrong key", func(t *testing.T) {
		cmd := exec.Command("bash", "examples/chat.sh")
		cmd.Env = append(os.Environ(), "LORIKEET_URL="+b.url(), "LORIKEET_API_KEY=wrong")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "API key") {
			t.Errorf("error %v, output %s", err, out)
		}
	})
	t.Run("all are tested", func(t *testing.T) {
		scripts, err := filepath.Glob("examples/*.sh")
		if err != nil || len(scripts) != 8 {
			t.Errorf("examples holds %q, and 8 are tested: %v", scripts, err)
		}
	})
}

// TestSameSeedSameText asks the same again while other requests, for other adapters, begin and end.
func TestSameSeedSameText(t *testing.T) {
	b := boot(t, "--adapter-dir", demoAdapters)
	bodies := []map[string]any{}
	for _, adapter := range []any{nil, "pirate", "shout", []any{map[string]any{"name": "json", "scale": 0.5}, "pirate"}} {
		for _, temperature := range []float64{0, 0.8} {
			bodies = append(bodies, question("Tell me a short story about a cat.", "adapter", adapter, "temperature", temperature, "seed", 7))
		}
	}
	alone := make([]string, len(bodies))
	for i, body := range bodies {
		alone[i] = b.mustAsk(body)
	}
	if alone[0] == alone[1] && alone[2] == alone[3] {
		t.Error("temperature 0.8 gives what 0 gives: nothing is sampled")
	}
	ctx, cancel := context.WithCancel(context.Background())
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	for i := range 6 {
		others.Go(func() {
			random := rand.New(rand.NewSource(int64(i)))
			for ctx.Err() == nil {
				body := question(fmt.Sprintf("What is %d plus %d?", random.Intn(20), random.Intn(20)),
					"adapter", []any{nil, "pirate", "json", "shout"}[random.Intn(4)], "temperature", 1, "max_tokens", 1+random.Intn(30))
				if _, err := b.ask(body); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for round := range 2 {
		for i, body := range bodies {
			if round == 1 {
				body["cache_prompt"] = false
			}
			if text := b.mustAsk(body); text != alone[i] {
				t.Errorf("round %d, %v: got\n%q\nbeside other requests, and alone\n%q", round, body["adapter"], text, alone[i])
			}
		}
	}
}

// TestNothingIsReusedAcrossAdapters asks the same question of one adapter after the other: each answer must
// be that of a server that never saw another adapter.
func TestNothingIsReusedAcrossAdapters(t *testing.T) {
	const text = "What is the capital of France?"
	names := []any{"pirate", "json", nil, "shout", "pirate", nil}
	cold := map[any]string{}
	for _, name := range names {
		if _, known := cold[name]; !known {
			b := boot(t, "--adapter-dir", demoAdapters)
			cold[name] = b.mustAsk(question(text, "adapter", name))
			b.stop()
		}
	}
	if cold["pirate"] == cold[nil] || cold["json"] == cold[nil] {
		t.Fatalf("the adapters change nothing: %q", cold)
	}
	warm := boot(t, "--adapter-dir", demoAdapters)
	for range 2 {
		for _, name := range names {
			if got := warm.mustAsk(question(text, "adapter", name)); got != cold[name] {
				t.Errorf("%v: got %q, and %q from a cold server", name, got, cold[name])
			}
		}
	}
}

// upload registers a folder of demo/adapters under a name.
func (b *booted) upload(name, folder string) {
	b.t.Helper()
	if status, _, errs := command(b.t, nil, "adapter", "add", name, filepath.Join(demoAdapters, folder), "--server", b.url()); status != 0 {
		b.t.Fatalf("upload of %s: %s", folder, errs)
	}
}

// TestSameNameOtherWeights puts another adapter under a name in use.
func TestSameNameOtherWeights(t *testing.T) {
	const text = "What is the capital of France?"
	b := boot(t, "--adapter-dir", demoAdapters)
	b.upload("mine", "pirate")
	for _, folder := range []string{"json", "pirate", "shout", "json"} {
		before := b.mustAsk(question(text, "adapter", "mine"))
		b.upload("mine", folder)
		got := b.mustAsk(question(text, "adapter", "mine"))
		if want := b.mustAsk(question(text, "adapter", folder)); got != want {
			t.Errorf("after uploading %s: got %q, want %q", folder, got, want)
		}
		if got == before {
			t.Errorf("after uploading %s the answer is still %q", folder, got)
		}
	}
}

// longAnswer is a streaming request that runs into its limit.
func longAnswer(tokens int) map[string]any {
	return question("Tell me a short story about a cat.", "stream", true, "ignore_eos", true, "max_tokens", tokens, "temperature", 1)
}

// openStream starts a stream and returns its lines once the first piece of text is there.
func openStream(ctx context.Context, url string, body map[string]any) (*http.Response, *bufio.Reader, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", bytes.NewReader(raw))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	lines := bufio.NewReader(resp.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil || resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return nil, nil, fmt.Errorf("%s: %w: %s", resp.Status, err, line)
		}
		if strings.Contains(line, `"content":"`) && !strings.Contains(line, `"content":""`) {
			return resp, lines, nil
		}
	}
}

// TestClientsThatLeave opens more streams than run at once and drops them all after the first token.
func TestClientsThatLeave(t *testing.T) {
	const clients, tokens = 24, 450
	b := boot(t, "--parallel", "8", "--ctx", "8192", "--threads", "1")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started := make(chan error, clients)
	for range clients {
		go func() {
			resp, _, err := openStream(ctx, b.url(), longAnswer(tokens))
			if err == nil {
				t.Cleanup(func() { resp.Body.Close() })
			}
			started <- err
		}()
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if b.metric("lorikeet_requests_running") == 0 {
		t.Fatal("no request runs")
	}
	cancel()
	left := time.Now()
	for b.metric("lorikeet_requests_running")+b.metric("lorikeet_requests_waiting") > 0 {
		if time.Since(left) > time.Second {
			t.Fatalf("after a second %v requests run and %v wait", b.metric("lorikeet_requests_running"), b.metric("lorikeet_requests_waiting"))
		}
		time.Sleep(5 * time.Millisecond)
	}
	if made := b.metric("lorikeet_completion_tokens_total"); made > clients*tokens/2 {
		t.Errorf("%v tokens were made for clients that had left", made)
	}
	if text := b.mustAsk(question("What is the capital of France?")); text != "The capital of France is Paris." {
		t.Errorf("afterwards the server answers %q", text)
	}
}
