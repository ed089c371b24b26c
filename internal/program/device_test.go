//go:build cgo && linux

package program

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/devicetest"
)

// serve runs a program until the test ends.
func serve(t *testing.T, c Config) *Program {
	t.Helper()
	p, err := New(c, io.Discard, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	waitUntilReady(t, p)
	return p
}

// With --deterministic, requests on a device have the bits that they have alone.
func TestDeterministicOnADevice(t *testing.T) {
	c := testConfig(t, "127.0.0.1:0")
	c.Device, c.GPULayers, c.Deterministic, c.Parallel, c.Context = devicetest.Register(t), llama.AllLayers, true, 4, 1024
	p := serve(t, c)
	ask := func(i int) string {
		body := fmt.Sprintf(`{"prompt": "Number %d is the best of all numbers, because", "max_tokens": 8, "temperature": 1, "seed": %d, "logprobs": 3}`, i, i)
		resp, err := http.Post(p.URL()+"/v1/completions", "application/json", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return ""
		}
		defer resp.Body.Close()
		var answer struct{ Choices json.RawMessage }
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s, %v", resp.Status, err)
		}
		return string(answer.Choices)
	}
	alone := make([]string, 8)
	for i := range alone {
		alone[i] = ask(i)
	}
	var all sync.WaitGroup
	for i := range alone {
		all.Go(func() {
			if got := ask(i); got != alone[i] {
				t.Errorf("request %d is answered\n%s\nand alone\n%s", i, got, alone[i])
			}
		})
	}
	all.Wait()
}

// askForJob asks for an adapter named mine.
func askForJob(t *testing.T, p *Program) (*http.Response, error) {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	lines := strings.Repeat(`{"messages": [{"role": "user", "content": "What do you sell?"}, {"role": "assistant", "content": "Boots."}]}`+"\n", 8)
	for name, value := range map[string]string{"name": "mine", "max_steps": "2", "r": "4", "max_length": "64"} {
		if err := form.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	file, err := form.CreateFormFile("file", "lines.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(file, lines); err != nil {
		t.Fatal(err)
	}
	form.Close()
	return http.Post(p.URL()+"/adapters/train", form.FormDataContentType(), &body)
}

// A model of which a part lies on a device answers; a job is refused, with what lies where and what to do.
func TestPartlyOffloadedModelIsServedAndNotTrained(t *testing.T) {
	c := testConfig(t, "127.0.0.1:0")
	c.Device, c.GPULayers = devicetest.Register(t), 3
	c.TrainMemory, c.AdapterBytes, c.MaxJobs, c.MaxJobData, c.MaxFiles, c.MaxFileData = 256<<20, 64<<20, 4, 1<<20, 4, 1<<20
	p := serve(t, c)
	resp, err := http.Post(p.URL()+"/v1/completions", "application/json", strings.NewReader(`{"prompt": "a", "max_tokens": 2}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a completion: %s", resp.Status)
	}
	if resp, err = askForJob(t, p); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Error struct{ Message, Code string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusBadRequest || answer.Error.Code != "training_unsupported" {
		t.Errorf("a job: %s, %+v, %v", resp.Status, answer, err)
	}
	for _, part := range []string{"needs all layers and the output head on one device", "lies on " + c.Device, "--gpu-layers all"} {
		if !strings.Contains(answer.Error.Message, part) {
			t.Errorf("the message %q does not say %q", answer.Error.Message, part)
		}
	}
}

// With all layers on a device, a job trains there, and its adapter answers.
func TestTrainingOnADevice(t *testing.T) {
	c := testConfig(t, "127.0.0.1:0")
	c.Device, c.GPULayers, c.FlashAttention = devicetest.Register(t), llama.AllLayers, "off"
	c.TrainMemory, c.AdapterBytes, c.MaxJobs, c.MaxJobData, c.MaxFiles, c.MaxFileData = 256<<20, 64<<20, 4, 1<<20, 4, 1<<20
	p := serve(t, c)
	if p.training.weights == nil || !p.training.weights.OnDevice() {
		t.Fatalf("the device does not train: %v", p.training.refused)
	}

	resp, err := askForJob(t, p)
	var job struct{ ID, Status string }
	var failed any
	for deadline := time.Now().Add(time.Minute); ; resp, err = http.Get(p.URL() + "/adapters/train/" + job.ID) {
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode >= 300 || json.Unmarshal(text, &job) != nil || json.Unmarshal(text, &failed) != nil {
			t.Fatalf("%s %s %v", resp.Status, text, err)
		}
		if job.Status == "succeeded" {
			break
		}
		if job.Status == "failed" || time.Now().After(deadline) {
			t.Fatalf("the job: %v", failed)
		}
		time.Sleep(20 * time.Millisecond)
	}
	resp, err = http.Post(p.URL()+"/v1/completions", "application/json", strings.NewReader(`{"adapter": "mine", "prompt": "a", "max_tokens": 2}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the adapter answers %s", resp.Status)
	}
}
