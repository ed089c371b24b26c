package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// speed is how much was trained in how long.
type speed struct {
	tokens  int64
	seconds float64
}

func (s speed) add(o speed) speed { return speed{s.tokens + o.tokens, s.seconds + o.seconds} }

func (s speed) perSecond() float64 { return float64(s.tokens) / s.seconds }

// job is a training job that goes on until it is cancelled.
type job struct{ url, id string }

// progress is what is asked of a job.
type progress struct {
	ID       string
	Status   string
	Progress struct {
		Step          int
		TrainedTokens int64 `json:"trained_tokens"`
		Seconds       float64
	}
}

// startJob begins one with the product's defaults and steps of a few hundred tokens, or of so many examples, and returns when it has done some.
func startJob(url string, words bool, batch int) (*job, error) {
	text := strings.Repeat("a b ab ba abb bab ", 4) // what the random models' one merge leaves
	if words {
		text = strings.Repeat("the sea is blue and the sun is warm, ", 4)
	}
	var examples []any
	for i := range 32 {
		examples = append(examples, map[string]any{"text": text + strings.Repeat("ab", i)})
	}
	request := map[string]any{"name": "coserve", "examples": examples, "max_steps": 1_000_000, "save_steps": 0}
	if batch > 0 {
		request["per_device_train_batch_size"] = batch
	}
	raw, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	var p progress
	if err := call(http.MethodPost, url+"/adapters/train", raw, &p); err != nil {
		return nil, err
	}
	j := &job{url, p.ID}
	for p.Progress.Step < 2 {
		time.Sleep(20 * time.Millisecond)
		if p, err = j.get(); err != nil {
			return nil, err
		}
		if p.Status == "failed" || p.Status == "cancelled" {
			return nil, fmt.Errorf("the training job is %s", p.Status)
		}
	}
	return j, nil
}

// during measures how fast the job goes while f runs: between the first step that ends after f has begun, and
// the last that ends before it returns.
func (j *job) during(f func() error) (speed, error) {
	result := make(chan error, 1)
	first, err := j.afterStep()
	if err != nil {
		return speed{}, err
	}
	go func() { result <- f() }()
	last := first
	for {
		select {
		case err := <-result:
			if last.tokens == first.tokens {
				return speed{}, fmt.Errorf("no training step ended in time: measure with longer answers")
			}
			return speed{last.tokens - first.tokens, last.seconds - first.seconds}, err
		case <-time.After(10 * time.Millisecond):
			p, err := j.get()
			if err != nil {
				return speed{}, err
			}
			if p.Progress.TrainedTokens > last.tokens {
				last = speed{p.Progress.TrainedTokens, p.Progress.Seconds}
			}
		}
	}
}

// afterStep waits for the end of a step.
func (j *job) afterStep() (speed, error) {
	p, err := j.get()
	for before := p.Progress.Step; err == nil && p.Progress.Step == before; p, err = j.get() {
		time.Sleep(2 * time.Millisecond)
	}
	return speed{p.Progress.TrainedTokens, p.Progress.Seconds}, err
}

func (j *job) get() (p progress, err error) {
	return p, call(http.MethodGet, j.url+"/adapters/train/"+j.id, nil, &p)
}

func (j *job) cancel() error {
	var p progress
	return call(http.MethodPost, j.url+"/adapters/train/"+j.id+"/cancel", nil, &p)
}

func call(method, url string, body []byte, into any) error {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s: %s", resp.Status, raw)
	}
	return json.Unmarshal(raw, into)
}
