package stress

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// client sends requests to the server.
type client struct{ url string }

// ask returns the answer to a question, which is always the same: nothing is drawn at random.
func (c client) ask(ctx context.Context, q Question) (string, error) {
	var answer struct {
		Choices []struct {
			Message struct{ Content string }
		}
	}
	_, err := c.call(ctx, http.MethodPost, "/v1/chat/completions", map[string]any{
		"adapter": q.Adapter, "messages": []any{map[string]any{"role": "user", "content": q.Text}}, "temperature": 0, "max_tokens": 60,
	}, &answer)
	if err != nil || len(answer.Choices) != 1 {
		return "", fmt.Errorf("%d answers: %w", len(answer.Choices), err)
	}
	return answer.Choices[0].Message.Content, nil
}

// call sends body, where there is one, as JSON and reads the answer into into. A status of 300 or more is an error.
func (c client) call(ctx context.Context, method, path string, body, into any) (status int, err error) {
	raw := []byte(nil)
	if body != nil {
		if raw, err = json.Marshal(body); err != nil {
			return 0, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(raw))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, err
	}
	if resp.StatusCode >= 300 {
		return resp.StatusCode, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return resp.StatusCode, json.Unmarshal(text, into)
}
