package server

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/page"
)

// pagePath is where the files of the web page are.
const pagePath = "/page/"

// Root returns the web page to browsers, which ask for text/html, and leads all others to the description.
func (s *Server) Root(c *fiber.Ctx) error {
	c.Vary(fiber.HeaderAccept)
	if !strings.Contains(c.Get(fiber.HeaderAccept), fiber.MIMETextHTML) {
		return c.Redirect("/docs", http.StatusFound)
	}
	return s.PageFile(c, page.Index)
}

// PageFile returns a file of the web page. Its name stays the same when it changes, so that browsers ask each time
// whether theirs is the same still.
func (s *Server) PageFile(c *fiber.Ctx, name string) error {
	f, found, err := page.Find(name)
	switch {
	case err != nil:
		return err
	case !found:
		return &refusal{status: http.StatusNotFound, code: "unknown_url", message: fmt.Sprintf("the page has no file %q", name)}
	}
	c.Vary(fiber.HeaderAcceptEncoding)
	c.Set(fiber.HeaderETag, "W/"+f.ETag) // weak: the compressed forms have it, too
	c.Set(fiber.HeaderCacheControl, "no-cache")
	c.Set(fiber.HeaderContentSecurityPolicy, page.Policy)
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderReferrerPolicy, "no-referrer")
	if matches(c.Get(fiber.HeaderIfNoneMatch), f.ETag) {
		return c.SendStatus(http.StatusNotModified)
	}
	c.Set(fiber.HeaderContentType, f.Type)
	content := f.Content
	if c.Get(fiber.HeaderAcceptEncoding) != "" {
		switch {
		case c.AcceptsEncodings("br") != "":
			content = f.Brotli
			c.Set(fiber.HeaderContentEncoding, "br")
		case c.AcceptsEncodings("gzip") != "":
			content = f.Gzip
			c.Set(fiber.HeaderContentEncoding, "gzip")
		}
	}
	return c.Send(content)
}
