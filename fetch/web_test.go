package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestAnswersOfTheHub checks what a user is told of each refusal, and how often it is asked again.
func TestAnswersOfTheHub(t *testing.T) {
	for _, test := range []struct {
		name       string
		token      string
		status     int
		code, says string
		header     string // "Name: value"
		want       error
		message    string
		tries      int
	}{
		{"no such repository, or a private one", "", 401, "RepoNotFound", "Repository not found", "", ErrNotFound, "set HF_TOKEN", 1},
		{"no such repository, nothing said", "", 401, "", "Invalid username or password.", "", ErrNotFound, "set HF_TOKEN", 1},
		{"no such repository, with a token", secretToken, 404, "RepoNotFound", "Repository not found", "", ErrNotFound, "Repository not found", 1},
		{"no such revision", "", 404, "RevisionNotFound", "Invalid rev id: x", "", ErrNotFound, "Invalid rev id: x", 1},
		{"gated, without a token", "", 401, "GatedRepo", "Access to model org/repo is restricted", "", ErrDenied, "accept its terms on the hub and set HF_TOKEN", 1},
		{"gated, with a token", secretToken, 403, "GatedRepo", "Access to model org/repo is restricted", "", ErrDenied, "with the account of HF_TOKEN", 1},
		{"a token that is none", secretToken, 401, "", "Invalid credentials in Authorization header", "", ErrDenied, "does not accept HF_TOKEN", 1},
		{"forbidden", "", 403, "", "", "", ErrDenied, "set HF_TOKEN", 1},
		{"too many, now", "", 429, "", "slow down", "Retry-After: 0", ErrBusy, "slow down", 5},
		{"too many, for an hour", "", 429, "", "", "Retry-After: 3600", ErrBusy, "429", 1},
		{"too many, as the hub says it", "", 429, "", "", `RateLimit: "api";r=0;t=212`, ErrBusy, "429", 1},
		{"broken", "", 500, "", "", "", ErrUnreachable, "500", 5},
		{"closed for a while", "", 503, "", "", "Retry-After: 0", ErrUnreachable, "503", 5},
		{"a teapot", "", 418, "", "", "", ErrUnreachable, "418", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newTestHub(t, oneModel(8<<10))
			h.before = func(w http.ResponseWriter, _ *http.Request) bool {
				if name, value, ok := strings.Cut(test.header, ": "); ok {
					w.Header().Set(name, value)
				}
				refuse(w, test.status, test.code, test.says)
				return true
			}
			f, _ := h.fetcher(t.TempDir(), func(o *Options) { o.Hub.Token = test.token })
			_, err := f.Model(t.Context(), "hf://org/repo")
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.message) || !strings.Contains(err.Error(), "hf://org/repo@main") {
				t.Errorf("%v", err)
			}
			noSecrets(t, fmt.Sprint(err))
			if h.count() != test.tries {
				t.Errorf("%d requests, want %d", h.count(), test.tries)
			}
		})
	}
}

func TestNoHub(t *testing.T) {
	for _, body := range []string{"<html>hello</html>", `{"sha": "main"}`, `[]`, "", `{"sha": "` + hex40("x") + `", "siblings": [{"rfilename": "a", "size": -7}]}`,
		`{"sha": "` + hex40("x") + `", "siblings": [{"rfilename": "a", "lfs": {"sha256": "../x"}}]}`} {
		h := newTestHub(t, nil)
		h.before = func(w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, body); return true }
		f, _ := h.fetcher(t.TempDir())
		if _, err := f.Model(t.Context(), "hf://org/repo"); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "is no hub of models") {
			t.Errorf("%.40q: %v", body, err)
		}
	}
}

// TestExpiredSignature asks the hub for a new address where the old one has run out.
func TestExpiredSignature(t *testing.T) {
	h := newTestHub(t, oneModel(8<<10))
	refusals := 2
	h.beforeLarge = func(w http.ResponseWriter, _ *http.Request) bool {
		if refusals--; refusals < 0 {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	f, said := h.fetcher(t.TempDir())
	if _, err := f.Model(t.Context(), "hf://org/repo"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.all(), "answers 403") {
		t.Errorf("said %q", said.all())
	}
}

// TestRedirects checks where the token goes and where nothing goes. The files' host of testHub looks for the token
// in every other test.
func TestRedirects(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token went to another host")
		}
		fmt.Fprint(w, "{}")
	}))
	defer plain.Close()
	var to string
	hub := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer "+secretToken:
			t.Error("the hub does not get the token")
		case strings.Contains(r.URL.Path, "/org/renamed/"):
			fmt.Fprintf(w, `{"sha": %q, "siblings": []}`, hex40("x"))
			return
		}
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
	}))
	defer hub.Close()
	f, err := New(Options{Hub: Hub{Endpoint: hub.URL, Token: secretToken}, Dir: t.TempDir(), Pause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	f.hub.client.Transport = hub.Client().Transport
	u := joinURL(f.api, "org/repo/resolve/x")
	for _, test := range []struct{ to, want string }{
		{plain.URL, "without encryption"},
		{"file:///etc/passwd", "to an invalid address"},
		{"http://", "to an invalid address"},
		{hub.URL, "more than 10 times"},
	} {
		to = test.to
		a, err := f.hub.do(t.Context(), http.MethodGet, u, nil, false)
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(fmt.Sprint(err), test.want) {
			t.Errorf("to %q: %v, %v", test.to, a, err)
		}
	}
	to = "/api/models/org/renamed/revision/main"
	l, err := f.list(t.Context(), Source{Repo: "org/repo", Revision: "main"}, 1)
	if err != nil || l.Commit != hex40("x") {
		t.Errorf("a repository with a new name: %v, %v", l, err)
	}
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"https://hub", "https://hub:443/x", true}, {"http://hub:80", "http://HUB", true}, {"https://hub", "http://hub", false},
		{"https://hub", "https://cdn.hub", false}, {"https://hub", "https://hub:8443", false},
	} {
		a, errA := endpoint(test.a)
		b, errB := endpoint(test.b)
		if errA != nil || errB != nil || sameOrigin(a, b) != test.same {
			t.Errorf("%s and %s: %v", test.a, test.b, !test.same)
		}
	}
}

func TestEndpoints(t *testing.T) {
	for _, bad := range []string{"hub", "ftp://hub", "https://", "https://user:pass@hub", "https://hub?x=y", "://"} {
		if _, err := New(Options{Hub: Hub{Endpoint: bad}}); err == nil || !strings.Contains(err.Error(), "HF_ENDPOINT") {
			t.Errorf("%q: %v", bad, err)
		}
		if _, err := New(Options{Bucket: Bucket{Endpoint: bad}}); err == nil || !strings.Contains(err.Error(), "AWS_ENDPOINT_URL") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	f, err := New(Options{})
	if err != nil || f.api.String() != DefaultHub {
		t.Errorf("%v, %v", f.api, err)
	}
	// A mirror may be below a path.
	f, err = New(Options{Hub: Hub{Endpoint: "https://mirror/hf/"}})
	if got := joinURL(f.api, "api", "models", "org/repo"); err != nil || got.String() != "https://mirror/hf/api/models/org/repo" {
		t.Errorf("%v, %v", got, err)
	}
}

// FuzzContentRange: a range that is understood is one.
func FuzzContentRange(f *testing.F) {
	f.Add("bytes 5-9/10")
	f.Add("bytes 0-0/*")
	f.Fuzz(func(t *testing.T, text string) {
		if offset, total, ok := contentRange(text); ok && (offset < 0 || total < -1) {
			t.Errorf("%q is %d of %d", text, offset, total)
		}
	})
}

func TestContentRange(t *testing.T) {
	for _, test := range []struct {
		text          string
		offset, total int64
		ok            bool
	}{
		{"bytes 5-9/10", 5, 10, true}, {"bytes 0-0/*", 0, -1, true}, {"bytes 5-9", 0, 0, false}, {"5-9/10", 0, 0, false},
		{"bytes -9/10", 0, 0, false}, {"bytes 5/10", 0, 0, false}, {"bytes 5-9/ten", 0, 0, false}, {"", 0, 0, false},
	} {
		offset, total, ok := contentRange(test.text)
		if ok != test.ok || ok && (offset != test.offset || total != test.total) {
			t.Errorf("%q: %d, %d, %v", test.text, offset, total, ok)
		}
	}
}
