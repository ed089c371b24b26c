package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path"
	"strings"
	"time"
)

// This file asks what is not this server for a grader: only what the operator named is asked, it cannot send us on to
// something else, and what it answers is bounded.

const (
	maxGraderAnswer   = 1 << 20 // bytes
	maxGraderRequests = 16      // at once
	maxSandboxes      = 4       // at once
	graderCallTime    = time.Minute
)

// endpointURL reads a URL that may be asked. The error continues "the URL".
func endpointURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("cannot be read")
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, errors.New("must begin with http:// or https:// and a host")
	case u.User != nil, u.Fragment != "":
		return nil, errors.New("must have no user, password or fragment")
	case u.Path != "" && path.Clean(u.Path) != strings.TrimRight(u.Path, "/") && u.Path != "/":
		return nil, errors.New("must have no . or .. or empty segments in its path")
	case u.RawPath != "":
		return nil, errors.New("must have no escaped slashes in its path")
	}
	return u, nil
}

// checkEndpoint returns an error, which continues "url", unless a URL is one of those allowed or lies below one.
func checkEndpoint(allowed []string, s string) error {
	u, err := endpointURL(s)
	if err != nil {
		return err
	}
	for _, a := range allowed {
		top, err := endpointURL(a)
		if err != nil || !strings.EqualFold(u.Scheme, top.Scheme) || !strings.EqualFold(u.Host, top.Host) {
			continue
		}
		if below := strings.TrimRight(top.Path, "/"); u.Path == top.Path || u.Path == below || strings.HasPrefix(u.Path, below+"/") {
			return nil
		}
	}
	return fmt.Errorf("is %q, which the operator has not allowed (--grader-endpoint)", s)
}

// graderClient posts JSON. Its methods may be called from any goroutine.
type graderClient struct {
	http  *http.Client
	slots chan struct{} // holds one for each request under way
}

func newGraderClient() graderClient {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.MaxConnsPerHost = maxGraderRequests
	return graderClient{
		http: &http.Client{
			Transport: transport, Timeout: graderCallTime,
			// Another address is another endpoint, which nobody has allowed.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		slots: make(chan struct{}, maxGraderRequests),
	}
}

// post returns the body of the answer. Errors do not repeat headers, which may hold keys.
func (c graderClient) post(ctx context.Context, address string, header map[string]string, body []byte) ([]byte, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxGraderAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, fmt.Errorf("it answered with status %d: redirects are not followed", resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("it answered with status %d", resp.StatusCode)
	case len(answer) > maxGraderAnswer:
		return nil, fmt.Errorf("its answer has more than %d bytes", maxGraderAnswer)
	}
	return answer, nil
}

// sandbox runs the operator's command for Python graders.
type sandbox struct {
	command []string
	slots   chan struct{}
}

// run starts the command, writes input to it and returns what it prints. Its environment is empty but for PATH.
func (s sandbox) run(ctx context.Context, input []byte) ([]byte, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, graderCallTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.command[0], s.command[1:]...)
	cmd.WaitDelay = time.Second
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin"}
	cmd.Stdin = bytes.NewReader(input)
	out, problems := &bounded{most: 64 << 10}, &bounded{most: 4 << 10}
	cmd.Stdout, cmd.Stderr = out, problems
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("the command took too long: %w", ctx.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(problems.kept))
	}
	return out.kept, nil
}

// bounded keeps the first bytes that are written to it.
type bounded struct {
	kept []byte
	most int
}

func (b *bounded) Write(p []byte) (int, error) {
	b.kept = append(b.kept, p[:min(len(p), b.most-len(b.kept))]...)
	return len(p), nil
}
