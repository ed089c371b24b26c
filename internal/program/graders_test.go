package program

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lorikeet-ai/lorikeet/graders"
)

func TestEndpointsAreThoseAllowed(t *testing.T) {
	allowed := []string{"https://grade.example/v1", "http://10.0.0.7:9000", "https://one.example/score?key=1"}
	for url, ok := range map[string]bool{
		"https://grade.example/v1": true, "https://grade.example/v1/": true, "https://grade.example/v1/shape": true, "HTTPS://Grade.Example/v1/x": true,
		"http://10.0.0.7:9000/": true, "http://10.0.0.7:9000/any?x=1": true,
		"https://grade.example/v10": false, "https://grade.example/": false, "http://grade.example/v1": false, "https://grade.example:444/v1": false,
		"https://grade.example/v1/../admin": false, "https://grade.example/v1/%2e%2e/admin": false, "https://grade.example/v1%2f..%2fadmin": false,
		"https://grade.example@evil.example/v1": false, "https://user:pass@grade.example/v1": false, "https://evil.example/https://grade.example/v1": false,
		"file:///etc/passwd": false, "http://169.254.169.254/latest": false, "//grade.example/v1": false, "": false, "https://grade.example/v1#x": false,
		"http://10.0.0.70:9000/": false, "https://grade.example.evil.example/v1": false,
	} {
		if err := checkEndpoint(allowed, url); (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
	}
	for _, bad := range []Config{
		{GraderModels: []string{"gpt"}}, {GraderModels: []string{"=http://x"}}, {GraderModels: []string{"gpt=ftp://x/v1"}}, {GraderEndpoints: []string{"grade.example"}},
	} {
		if _, err := New(bad, nil, nil); err == nil || !strings.Contains(err.Error(), "--grader-") {
			t.Errorf("%+v: %v", bad.GraderModels, err)
		}
	}
}

// TestGraderClient asks a server that tries to send it elsewhere, to keep it waiting and to fill its memory.
func TestGraderClient(t *testing.T) {
	stranger := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stranger++ }))
	defer other.Close()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		case "/large":
			fmt.Fprint(w, strings.Repeat("x", maxGraderAnswer+10))
		case "/slow":
			<-release
		case "/drips":
			for r.Context().Err() == nil {
				fmt.Fprint(w, " ")
				w.(http.Flusher).Flush()
				time.Sleep(time.Millisecond)
			}
		case "/bomb": // a few kilobytes that become many megabytes
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(make([]byte, 32<<20))
			_ = z.Close()
		case "/headers":
			for i := range 100 {
				w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 1000))
			}
		case "/breaks":
			panic(http.ErrAbortHandler)
		case "/broken":
			w.WriteHeader(http.StatusTeapot)
		default:
			fmt.Fprintf(w, `{"score": 0.5, "key": %q, "type": %q}`, r.Header.Get("X-Key"), r.Header.Get("Content-Type"))
		}
	}))
	defer server.Close()
	defer close(release)
	c := newGraderClient()
	answer, err := c.post(t.Context(), server.URL+"/score", map[string]string{"X-Key": "secret", "Content-Type": "text/html"}, []byte("{}"))
	if want := `{"score": 0.5, "key": "secret", "type": "application/json"}`; err != nil || string(answer) != want {
		t.Errorf("%s, %v", answer, err)
	}
	for path, reason := range map[string]string{
		"/redirect": "redirects are not followed", "/large": "more than", "/broken": "status 418", "/bomb": "more than", "/headers": "header", "/breaks": "EOF",
	} {
		if _, err := c.post(t.Context(), server.URL+path, map[string]string{"X-Key": "secret"}, nil); err == nil || !strings.Contains(err.Error(), reason) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if stranger > 0 {
		t.Error("a redirect was followed")
	}
	for _, path := range []string{"/slow", "/drips"} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := c.post(ctx, server.URL+path, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestSandbox(t *testing.T) {
	script := func(text string) sandbox {
		path := filepath.Join(t.TempDir(), "sandbox.sh")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
		return sandbox{command: []string{path, "an argument"}, slots: make(chan struct{}, 1)}
	}
	t.Setenv("LORIKEET_API_KEYS", "secret")
	out, err := script(`read line; echo "$line/$1/$LORIKEET_API_KEYS"`).run(t.Context(), []byte("input\n"))
	if err != nil || string(out) != "input/an argument/\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := script("echo broken >&2; exit 3").run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("a command that fails: %v", err)
	}
	if out, err := script("yes").run(withTime(t, 50*time.Millisecond), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command without end: %d bytes, %v", len(out), err)
	}
	if out, err := script("head -c 1000000 /dev/zero").run(t.Context(), nil); err != nil || len(out) != 64<<10 {
		t.Errorf("a command that prints much: %d bytes, %v", len(out), err)
	}
}

func withTime(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestJudgeElsewhere has a model behind another server's OpenAI API score.
func TestJudgeElsewhere(t *testing.T) {
	var path, key, body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw := make([]byte, r.ContentLength)
		_, _ = r.Body.Read(raw)
		path, key, body = r.URL.Path, r.Header.Get("Authorization"), string(raw)
		fmt.Fprint(w, `{"choices":[{"message":{"content":"{\"result\": 0.7}"}}],"usage":{"total_tokens":42}}`)
	}))
	defer server.Close()
	p, err := New(Config{GraderModels: []string{"judge=" + server.URL + "/v1/"}, GraderKey: "k"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	g, err := graders.Parse([]byte(`{"type":"score_model","model":"judge","input":[{"role":"user","content":"{{sample.output_text}}"}],"sampling_params":{"temperature":0,"seed":3}}`), "grader", p.graderTools(""))
	if err != nil {
		t.Fatal(err)
	}
	r, err := g.Grade(t.Context(), &graders.Sample{Text: "hello"})
	if err != nil || r.Reward != 0.7 || r.Tokens["judge"] != 42 {
		t.Errorf("%+v, %v", r, err)
	}
	if path != "/v1/chat/completions" || key != "Bearer k" || !strings.Contains(body, `"json_schema"`) || !strings.Contains(body, `"temperature":0`) || !strings.Contains(body, "hello") {
		t.Errorf("asked %s with %q: %s", path, key, body)
	}
	if _, err := graders.Parse([]byte(`{"type":"endpoint","url":"http://x"}`), "grader", p.graderTools("")); err == nil {
		t.Error("an endpoint is accepted without --grader-endpoint")
	}
}
