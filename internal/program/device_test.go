//go:build cgo && linux

package program

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime/llama"
	"github.com/lorikeet-ai/lorikeet/runtime/llama/devicetest"
)

// With all layers on a device, a job trains there, and its adapter answers.
func TestTrainingOnADevice(t *testing.T) {
	c := testConfig(t, "127.0.0.1:0")
	c.Device, c.GPULayers, c.FlashAttention = devicetest.Register(t), llama.AllLayers, "off"
	c.TrainMemory, c.AdapterBytes, c.MaxJobs, c.MaxJobData, c.MaxFiles, c.MaxFileData = 256<<20, 64<<20, 4, 1<<20, 4, 1<<20
	p, err := New(c, io.Discard, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	if p.training.weights == nil || !p.training.weights.OnDevice() {
		t.Fatalf("the device does not train: %v", p.training.refused)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
	waitUntilReady(t, p)

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
	resp, err := http.Post(p.URL()+"/adapters/train", form.FormDataContentType(), &body)
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
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
