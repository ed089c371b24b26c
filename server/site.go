package server

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// A server without keys is safe where only its own user reaches it, with one exception: any web page that is open in a
// browser on the same machine. A page can send requests to http://127.0.0.1 without being able to read the answers, and
// where the name of its own site is made to resolve to 127.0.0.1 (DNS rebinding) it can read them, too. Browsers say
// who asks in Origin and whom they mean to ask in Host; neither can be forged by a page.

// guardSite refuses what a browser sends for another site's page. With keys there is no need: no page has one.
func (s *Server) guardSite(c *fiber.Ctx) error {
	if len(s.keys) > 0 || s.tenants != nil || isHealth(c.Path()) {
		return c.Next()
	}
	host := string(c.Request().Host())
	if !s.sites.allowsHost(host) {
		return &refusal{
			status: http.StatusForbidden, code: codeForeignHost,
			message: fmt.Sprintf("the Host %q is not this server's: without an API key it answers to addresses, names without a dot, and those given with --allowed-host", host),
		}
	}
	origin := c.Get(fiber.HeaderOrigin)
	foreign := origin != "" && !s.sites.allowsOrigin(origin, host)
	if origin == "" && c.Get("Sec-Fetch-Site") == "cross-site" { // a form or image of another page
		foreign = c.Method() != http.MethodGet && c.Method() != http.MethodHead
	}
	if foreign {
		return &refusal{
			status: http.StatusForbidden, code: codeForeignOrigin,
			message: fmt.Sprintf("the web page at %q may not ask this server: start it with --cors-origin for pages that may, or with an API key", origin),
		}
	}
	return c.Next()
}

// sites are whom a server without keys answers to.
type sites struct {
	hosts   map[string]bool // names in Host, in lower case; "*" for any
	origins map[string]bool // of pages; "*" for any
}

func newSites(hosts, origins []string) sites {
	set := func(list []string) map[string]bool {
		m := make(map[string]bool, len(list))
		for _, name := range list {
			m[strings.ToLower(strings.TrimSuffix(name, "."))] = true
		}
		return m
	}
	return sites{set(hosts), set(origins)}
}

// allowsHost reports whether a request may name the server so. An address is no name that anybody could make resolve
// to another one, and names without a dot are not given to sites.
func (s *sites) allowsHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if s.hosts["*"] || s.hosts[name] || net.ParseIP(name) != nil {
		return true
	}
	return !strings.Contains(name, ".") || strings.HasSuffix(name, ".localhost")
}

// allowsOrigin reports whether a page may ask: one of the server's own, or of an origin that was allowed.
func (s *sites) allowsOrigin(origin, host string) bool {
	if s.origins["*"] || s.origins[strings.ToLower(origin)] {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

func isHealth(path string) bool {
	return path == "/healthz" || path == "/health" || path == "/readyz"
}
