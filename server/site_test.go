package server

import (
	"net/http"
	"strings"
	"testing"
)

// ask sends a request with headers; Host is one of them.
func (h *testServer) ask(t *testing.T, method, path, body string, headers map[string]string) response {
	t.Helper()
	req, err := http.NewRequest(method, h.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	return h.send(req)
}

func TestForeignSites(t *testing.T) {
	h := open(t, func(p *setup) {
		p.options.Hosts, p.options.Origins = []string{"Models.Example.org"}, []string{"http://localhost:3000"}
	})
	body := completion("a", `"max_tokens":1`)
	for _, c := range []struct {
		host, origin, site string
		code               string // "": answered
	}{
		{"", "", "", ""},
		{"localhost:8080", "", "", ""},
		{"LOCALHOST", "", "", ""},
		{"[::1]:8080", "", "", ""},
		{"10.1.2.3:8080", "", "", ""},
		{"lorikeet:8080", "", "", ""},
		{"app.localhost", "", "", ""},
		{"models.example.ORG:8080", "", "", ""},
		{"evil.example:8080", "", "", codeForeignHost},
		{"evil.example.", "", "", codeForeignHost},
		{"127.0.0.1.evil.example", "", "", codeForeignHost},
		{"localhost.evil.example", "", "", codeForeignHost},
		{"xlocalhost.com", "", "", codeForeignHost},
		{"evil.example:8080", "http://evil.example:8080", "same-origin", codeForeignHost},
		{"127.0.0.1:8080", "http://127.0.0.1:8080", "same-origin", ""},
		{"127.0.0.1:8080", "http://localhost:3000", "cross-site", ""},
		{"127.0.0.1:8080", "http://evil.example", "cross-site", codeForeignOrigin},
		{"127.0.0.1:8080", "http://127.0.0.1:9090", "same-site", codeForeignOrigin},
		{"127.0.0.1:8080", "null", "cross-site", codeForeignOrigin},
		{"127.0.0.1:8080", "", "cross-site", codeForeignOrigin},
		{"127.0.0.1:8080", "", "none", ""},
	} {
		headers := map[string]string{"Content-Type": "text/plain"}
		for name, value := range map[string]string{"Host": c.host, "Origin": c.origin, "Sec-Fetch-Site": c.site} {
			if value != "" {
				headers[name] = value
			}
		}
		r := h.ask(t, "POST", "/v1/completions", body, headers)
		if c.code == "" && r.status != http.StatusOK {
			t.Errorf("%+v: %d %s", c, r.status, r.body)
		}
		if c.code != "" {
			refused(t, r, http.StatusForbidden, c.code, "", "--")
		}
	}
	if r := h.ask(t, "GET", "/v1/models", "", map[string]string{"Sec-Fetch-Site": "cross-site"}); r.status != 200 {
		t.Errorf("following a link: %d", r.status)
	}
	if r := h.ask(t, "GET", "/healthz", "", map[string]string{"Host": "probe.example"}); r.status != 200 {
		t.Errorf("health: %d", r.status)
	}
	r := h.ask(t, "OPTIONS", "/v1/chat/completions", "", map[string]string{"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"})
	if r.status != http.StatusNoContent || r.header.Get("Access-Control-Allow-Origin") != "http://localhost:3000" {
		t.Errorf("a preflight of an allowed page: %d %v", r.status, r.header)
	}
}

// With a key no page can ask, whatever the name of the server is.
func TestKeysNeedNoSites(t *testing.T) {
	h := open(t, func(p *setup) { p.options.Keys = []string{"k"} })
	headers := map[string]string{"Host": "models.example.org", "Origin": "http://page.example", "Authorization": "Bearer k"}
	if r := h.ask(t, "POST", "/v1/completions", completion("a", `"max_tokens":1`), headers); r.status != 200 {
		t.Errorf("with a key: %d %s", r.status, r.body)
	}
	delete(headers, "Authorization")
	if r := h.ask(t, "POST", "/v1/completions", completion("a"), headers); r.status != http.StatusUnauthorized {
		t.Errorf("without: %d", r.status)
	}
}

func TestAnySite(t *testing.T) {
	h := open(t, func(p *setup) { p.options.Hosts, p.options.Origins = []string{"*"}, []string{"*"} })
	r := h.ask(t, "POST", "/v1/completions", completion("a", `"max_tokens":1`), map[string]string{"Host": "a.example", "Origin": "http://b.example"})
	if r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
}
