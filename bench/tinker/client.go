package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lorikeet-ai/lorikeet/tinker/wire"
)

// api is a session of Tinker's API.
type api struct {
	ctx     context.Context
	url     string
	base    string
	session string
	samples int // sampling sessions so far
	lock    chan struct{}
}

// open opens a session.
func open(ctx context.Context, url string) (*api, error) {
	a := &api{ctx: ctx, url: url + "/api/v1/", lock: make(chan struct{}, 1)}
	var models struct {
		Supported []struct {
			Name string `json:"model_name"`
		} `json:"supported_models"`
	}
	if err := a.do("GET", "get_server_capabilities", "", nil, &models); err != nil {
		return nil, err
	}
	if len(models.Supported) == 0 {
		return nil, fmt.Errorf("the server has no models")
	}
	a.base = models.Supported[0].Name
	var made struct {
		ID string `json:"session_id"`
	}
	err := a.post("create_session", map[string]any{"tags": []string{}, "sdk_version": "bench"}, &made)
	a.session = made.ID
	return a, err
}

// do sends a request and decodes the answer: a *[]byte gets it as it is.
func (a *api) do(method, path, kind string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(a.ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, r.Status, b)
	}
	if raw, is := out.(*[]byte); is {
		*raw = b
		return nil
	}
	return json.Unmarshal(b, out)
}

func (a *api) post(path string, body, out any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return a.do("POST", path, "application/json", b, out)
}

// call sends a call and returns its future.
func (a *api) call(path string, body any) (string, error) {
	var f struct {
		ID string `json:"request_id"`
	}
	err := a.post(path, body, &f)
	return f.ID, err
}

// result waits for the result of a future.
func (a *api) result(id string) ([]byte, error) {
	for {
		var b []byte
		if err := a.post("retrieve_future", map[string]any{"request_id": id}, &b); err != nil {
			return nil, err
		}
		switch {
		case bytes.HasPrefix(b, []byte(`{"type":"try_again"`)):
		case bytes.HasPrefix(b, []byte(`{"error"`)) || strings.Contains(string(b[:min(len(b), 200)]), `"category"`):
			return nil, fmt.Errorf("call %s failed: %s", id, b)
		default:
			return b, nil
		}
	}
}

// sampling is the number of a new sampling session.
func (a *api) sampling() int {
	a.lock <- struct{}{}
	defer func() { <-a.lock }()
	a.samples++
	return a.samples
}

// client trains one adapter.
type client struct {
	*api
	model  string
	seq    int
	random *rand.Rand
}

func (a *api) create(n, rank int) (*client, error) {
	id, err := a.call("create_model", map[string]any{"session_id": a.session, "model_seq_id": n, "base_model": a.base, "lora_config": map[string]any{"rank": rank, "seed": n}})
	if err != nil {
		return nil, err
	}
	b, err := a.result(id)
	var made struct {
		ID string `json:"model_id"`
	}
	if err == nil {
		err = json.Unmarshal(b, &made)
	}
	return &client{api: a, model: made.ID, random: rand.New(rand.NewPCG(1, uint64(n)))}, err
}

func (c *client) next() int { c.seq++; return c.seq }

// forward sends the data of a step: texts of random letters.
func (c *client) forward(s settings) (string, error) {
	m := &wire.ForwardBackwardRequest{ModelId: c.model, SeqId: int32(c.next()), LossFn: "cross_entropy"}
	for range s.data {
		var tokens, targets []byte
		for range s.tokens {
			t := 97 + c.random.Uint32N(26)
			tokens = binary.LittleEndian.AppendUint32(tokens, t)
			targets = binary.LittleEndian.AppendUint64(targets, uint64(t))
		}
		m.Data = append(m.Data, &wire.Datum{
			ModelInput:   []*wire.Chunk{{Chunk: &wire.Chunk_EncodedText{EncodedText: &wire.EncodedText{Tokens: tokens}}}},
			LossFnInputs: map[string]*wire.Tensor{"target_tokens": {Encoding: &wire.Tensor_Dense{Dense: targets}, Dtype: wire.DType_DTYPE_INT64}},
		})
	}
	b, err := proto.Marshal(m)
	if err != nil {
		return "", err
	}
	var f struct {
		ID string `json:"request_id"`
	}
	err = c.do("POST", "forward_backward", "application/x-protobuf", b, &f)
	return f.ID, err
}

// step sends a whole step, with the placing of the weights, before it waits for anything. It returns the sampling session and
// when the optimizer's step had ended.
func (c *client) step(s settings) (sampler string, ended time.Time, err error) {
	forward, err := c.forward(s)
	if err != nil {
		return "", ended, err
	}
	update, err := c.call("optim_step", map[string]any{"model_id": c.model, "seq_id": c.next(), "adam_params": map[string]any{"learning_rate": 1e-4}})
	if err != nil {
		return "", ended, err
	}
	place, err := c.call("save_weights_for_sampler", map[string]any{"model_id": c.model, "seq_id": c.next(), "sampling_session_seq_id": c.sampling()})
	if err != nil {
		return "", ended, err
	}
	for _, id := range []string{forward, update} {
		if _, err := c.result(id); err != nil {
			return "", ended, err
		}
	}
	ended = time.Now()
	b, err := c.result(place)
	var placed struct {
		ID string `json:"sampling_session_id"`
	}
	if err == nil {
		err = json.Unmarshal(b, &placed)
	}
	return placed.ID, ended, err
}

// sample samples sequences and returns how many tokens they have.
func (c *client) sample(sampler string, n, tokens int) (int, error) {
	id, err := c.call("asample", map[string]any{
		"sampling_session_id": sampler, "seq_id": 1, "num_samples": n, "prompt": map[string]any{"chunks": []any{map[string]any{"type": "encoded_text", "tokens": []int{72, 101, 108, 108, 111}}}},
		"sampling_params": map[string]any{"max_tokens": tokens, "temperature": 1, "seed": 1, "stop": []string{}},
	})
	if err != nil {
		return 0, err
	}
	b, err := c.result(id)
	if err != nil {
		return 0, err
	}
	var out wire.SampleResponse
	if err := proto.Unmarshal(b, &out); err != nil {
		return 0, err
	}
	count := 0
	for _, q := range out.GetSequences() {
		count += len(q.GetTokens()) / 4
	}
	return count, nil
}

// work does the steps of a round and returns how many tokens were trained and sampled.
func (c *client) work(s settings) (int, error) {
	tokens := 0
	for range s.steps {
		sampler, _, err := c.step(s)
		if err != nil {
			return 0, err
		}
		n, err := c.sample(sampler, s.samples, s.answer)
		if err != nil {
			return 0, err
		}
		tokens += s.data*s.tokens + n
	}
	return tokens, nil
}

// firstToken measures the time from the end of a step to the first token of the new weights.
func (c *client) firstToken(s settings) (time.Duration, error) {
	sampler, ended, err := c.step(s)
	if err != nil {
		return 0, err
	}
	_, err = c.sample(sampler, 1, 1)
	return time.Since(ended), err
}
