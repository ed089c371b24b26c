package server

import (
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/openapi"
)

// Health reports that the process is alive.
func (s *Server) Health(c *fiber.Ctx) error { return s.sendOK(c) }

// HealthAlias is Health.
func (s *Server) HealthAlias(c *fiber.Ctx) error { return s.Health(c) }

// Ready reports whether the server accepts requests. In a cluster that cannot be reached those for adapters that are on this
// node are still answered.
func (s *Server) Ready(c *fiber.Ctx) error {
	if s.draining.Load() {
		return errDraining()
	}
	if s.cluster != nil {
		if err := s.cluster().Err; err != nil {
			return err
		}
	}
	return s.sendOK(c)
}

func (s *Server) sendOK(c *fiber.Ctx) error {
	return sendJSON(c, http.StatusOK, openapi.Status{Status: "ok", Version: s.version})
}

// Metrics returns the metrics in the format of Prometheus.
func (s *Server) Metrics(c *fiber.Ctx) error { return s.metrics.serve(c) }

// Description returns openapi.yaml.
func (s *Server) Description(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentType, "application/yaml; charset=utf-8")
	return c.Send(openapi.YAML)
}

// Docs returns a web page made from openapi.yaml.
func (s *Server) Docs(c *fiber.Ctx) error {
	page, err := openapi.Page()
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, fiber.MIMETextHTMLCharsetUTF8)
	return c.Send(page)
}
