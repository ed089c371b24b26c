package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// keyring holds the digests of the API keys: digests have one length, so that comparing them tells nothing
// of a key, its length included.
type keyring [][sha256.Size]byte

func newKeyring(keys []string) keyring {
	var ring keyring
	for _, k := range keys {
		ring = append(ring, sha256.Sum256([]byte(k)))
	}
	return ring
}

// holds reports whether key is one of the ring's, in a time that does not depend on which.
func (r keyring) holds(key string) bool {
	sum := sha256.Sum256([]byte(key))
	found := 0
	for i := range r {
		found |= subtle.ConstantTimeCompare(r[i][:], sum[:])
	}
	return found == 1
}

// isOpen reports whether a path is answered without a key: the health of the process, what describes the API, and the web
// page, which holds no data and sends the key with what it asks for.
func isOpen(path string) bool {
	return isHealth(path) || path == "/" || path == "/docs" || path == "/openapi.yaml" || strings.HasPrefix(path, pagePath) ||
		path == tinkerPath+"healthz" || strings.HasPrefix(path, tinkerDownloads)
}

// authorize asks for a key on everything but what is open, and admits its tenant.
func (s *Server) authorize(c *fiber.Ctx) error {
	if who, ok := c.Locals(performerKey{}).(caller); ok {
		if err := s.admit(c, who); err != nil {
			return err
		}
		return c.Next()
	}
	if len(s.keys) == 0 && s.tenants == nil {
		return c.Next()
	}
	if isOpen(c.Path()) {
		return c.Next()
	}
	scheme, key, _ := strings.Cut(c.Get(fiber.HeaderAuthorization), " ")
	key = strings.TrimSpace(key)
	if scheme == "" { // Anthropic's clients send the key so
		scheme, key = "Bearer", c.Get("X-Api-Key")
	}
	if who, known := s.identify(key); known && strings.EqualFold(scheme, "Bearer") {
		if err := s.admit(c, who); err != nil {
			return err
		}
		return c.Next()
	}
	message := "an API key is needed: Authorization: Bearer KEY, or X-Api-Key: KEY"
	if key != "" {
		message = "the API key is not one of this server's"
	}
	c.Set(fiber.HeaderWWWAuthenticate, "Bearer")
	return &refusal{status: http.StatusUnauthorized, code: "invalid_api_key", message: message}
}

// identify returns who a key belongs to. The keys of --api-key are nobody's in particular, and may do everything.
func (s *Server) identify(key string) (who caller, known bool) {
	if s.keys.holds(key) {
		return caller{}, true
	}
	if s.tenants == nil {
		return caller{}, false
	}
	who.tenant, who.usage, known = s.tenants.Find(key)
	return who, known
}
