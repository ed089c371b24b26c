package program

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lorikeet-ai/lorikeet/batches"
	"github.com/lorikeet-ai/lorikeet/graders"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file is what graders may use: models of this server and those that the operator allowed, endpoints, a sandbox.

// graderTools returns the tools of an owner's graders. They may be asked for before the server is open: they then wait.
func (p *Program) graderTools(owner string) graders.Tools {
	t := graders.Tools{
		CheckModel: func(model string) error {
			if p.judges.find(model) != nil {
				return nil
			}
			select {
			case <-p.opened:
				return p.server.CheckGraderModel(owner, model)
			default:
				return nil // for a job that goes on: its grader was checked when it was made
			}
		},
		Ask:   func(ctx context.Context, q graders.Question) (graders.Reply, error) { return p.askJudge(ctx, owner, q) },
		Embed: func(ctx context.Context, texts []string) ([][]float32, error) { return p.embed(ctx, owner, texts) },
	}
	if len(p.config.GraderEndpoints) > 0 {
		t.CheckURL = func(url string) error { return checkEndpoint(p.config.GraderEndpoints, url) }
		t.Post = p.judges.client.post
	}
	if p.config.GraderSandbox != "" {
		t.Run = sandbox{command: strings.Fields(p.config.GraderSandbox), slots: p.judges.sandboxes}.run
	}
	return t
}

// judges are the models that score and are not this server's.
type judges struct {
	client    graderClient
	models    []judge
	sandboxes chan struct{} // holds one for each sandbox that runs
}

// judge is a model behind an OpenAI API that the operator allowed.
type judge struct{ name, url, key string }

// newJudges reads --grader-model, whose values are name=URL.
func newJudges(c *Config) (*judges, error) {
	j := &judges{client: newGraderClient(), sandboxes: make(chan struct{}, maxSandboxes)}
	for _, value := range c.GraderModels {
		name, url, found := strings.Cut(value, "=")
		if !found || name == "" {
			return nil, fmt.Errorf("--grader-model %q: want name=URL, such as gpt-4.1-mini=https://api.example.com/v1", value)
		}
		if _, err := endpointURL(url); err != nil {
			return nil, fmt.Errorf("--grader-model %q: the URL %w", value, err)
		}
		j.models = append(j.models, judge{name, strings.TrimRight(url, "/"), c.GraderKey})
	}
	for _, url := range c.GraderEndpoints {
		if _, err := endpointURL(url); err != nil {
			return nil, fmt.Errorf("--grader-endpoint %q: the URL %w", url, err)
		}
	}
	return j, nil
}

func (j *judges) find(model string) *judge {
	if i := slices.IndexFunc(j.models, func(x judge) bool { return x.name == model }); i >= 0 {
		return &j.models[i]
	}
	return nil
}

// scoreTokens is how many tokens a model that scores may answer with where the grader does not say.
const scoreTokens = 256

// askJudge asks a model to score, by the chat API of this server or of another.
func (p *Program) askJudge(ctx context.Context, owner string, q graders.Question) (graders.Reply, error) {
	tokens := q.MaxTokens
	if tokens == 0 {
		tokens = scoreTokens
	}
	body := map[string]any{
		"model": q.Model, "messages": q.Messages, "max_completion_tokens": tokens,
		"response_format": map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "score", "strict": true, "schema": q.Schema}},
	}
	for name, value := range map[string]any{"temperature": q.Temperature, "top_p": q.TopP, "seed": q.Seed} {
		switch v := value.(type) {
		case *float64:
			if v != nil {
				body[name] = *v
			}
		case *int64:
			if v != nil {
				body[name] = *v
			}
		}
	}
	if q.ReasoningEffort != "" {
		body["reasoning_effort"] = q.ReasoningEffort
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return graders.Reply{}, err
	}
	if other := p.judges.find(q.Model); other != nil {
		raw, err = p.judges.client.post(ctx, other.url+"/chat/completions", other.header(), raw)
	} else {
		raw, err = p.perform(ctx, owner, "/v1/chat/completions", raw)
	}
	if err != nil {
		return graders.Reply{}, err
	}
	return readReply(raw)
}

func (j *judge) header() map[string]string {
	if j.key == "" {
		return nil
	}
	return map[string]string{"Authorization": "Bearer " + j.key}
}

// readReply reads the answer of a chat completion.
func readReply(raw []byte) (graders.Reply, error) {
	var answer struct {
		Choices []struct {
			Message struct {
				Content string `json:"content"`
				Refusal string `json:"refusal"`
			} `json:"message"`
		} `json:"choices"`
		Usage struct {
			Total int `json:"total_tokens"`
		} `json:"usage"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil || len(answer.Choices) == 0 {
		return graders.Reply{}, fmt.Errorf("it answered something that is no chat completion")
	}
	m := answer.Choices[0].Message
	return graders.Reply{Text: m.Content, Refusal: m.Refusal, Tokens: answer.Usage.Total}, nil
}

// embed returns the base model's embeddings of texts.
func (p *Program) embed(ctx context.Context, owner string, texts []string) ([][]float32, error) {
	raw, err := json.Marshal(map[string]any{"model": p.name(), "input": texts})
	if err == nil {
		raw, err = p.perform(ctx, owner, "/v1/embeddings", raw)
	}
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data []struct {
			Embedding []float32 `json:"embedding"`
		} `json:"data"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, err
	}
	var list [][]float32
	for _, d := range answer.Data {
		list = append(list, d.Embedding)
	}
	return list, nil
}

// perform asks this server on behalf of an owner, below the priority of all clients. It waits until the server is open, and
// asks again where the server has no room.
func (p *Program) perform(ctx context.Context, owner, endpoint string, body []byte) ([]byte, error) {
	select {
	case <-p.opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		a := p.server.Perform(ctx, batches.Request{Owner: owner, Endpoint: endpoint, Body: body})
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case a.Status == http.StatusOK:
			return a.Body, nil
		case a.Again && a.Status == http.StatusTooManyRequests:
			select {
			case <-time.After(max(a.After, 50*time.Millisecond)):
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		case a.Status == http.StatusServiceUnavailable:
			return nil, runtime.ErrDraining
		}
		var refused struct {
			Error struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		_ = json.Unmarshal(a.Body, &refused) // without a message the status says it
		return nil, fmt.Errorf("status %d: %s", a.Status, refused.Error.Message)
	}
}
