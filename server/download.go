package server

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/openapi"
)

// DownloadAdapter gives an adapter as a file. The file is whole before the answer begins, so that its status and
// its length are right.
func (s *Server) DownloadAdapter(c *fiber.Ctx, name string, params openapi.DownloadAdapterParams) error {
	format := adapters.PEFT
	if params.Format != nil {
		format = adapters.Format(*params.Format)
	}
	if adapters.CheckFormat(format) != nil {
		return refuse(codeValue, "format", "is %q, it must be %s or %s", format, adapters.PEFT, adapters.GGUF)
	}
	ref, err := adapters.ParseRef(s.qualifiedRef(callerOf(c), name))
	if err != nil {
		return withParam("name", err)
	}
	info, err := s.store.Get(ref)
	if err != nil {
		return withParam("name", err)
	}
	return s.sendExport(c, adapters.Ref{Name: info.Name, Version: info.Digest, Scale: 1}, format)
}

// sendExport sends a version, whose whole digest ref has, in a format.
func (s *Server) sendExport(c *fiber.Ctx, ref adapters.Ref, format adapters.Format) error {
	info, err := s.store.Get(ref)
	if err != nil {
		return withParam("name", err)
	}
	tag := fmt.Sprintf(`"%s-%s"`, info.Digest, format)
	c.Set(fiber.HeaderETag, tag)
	if matches(c.Get(fiber.HeaderIfNoneMatch), tag) {
		return c.SendStatus(http.StatusNotModified)
	}
	// The name may have moved on meanwhile: what is written is what the tag says.
	ctx, stop := s.work(c)
	e, err := s.store.Export(ctx, ref, format)
	stop()
	if err != nil {
		c.Response().Header.Del(fiber.HeaderETag)
		return withParam("format", err)
	}
	for _, note := range e.Notes {
		c.Append(fiber.HeaderWarning, fmt.Sprintf(`199 lorikeet "%s"`, strings.ReplaceAll(note, `"`, "'")))
	}
	kind := "application/zip"
	if format == adapters.GGUF {
		kind = fiber.MIMEOctetStream
	}
	c.Set(fiber.HeaderContentType, kind)
	c.Set(fiber.HeaderContentDisposition, fmt.Sprintf(`attachment; filename="%s-%s%s"`, info.Name, info.Version, format.Ext()))
	return c.SendStream(e, int(e.Size)) // which closes it
}

// matches reports whether the tag is among those of an If-None-Match.
func matches(header, tag string) bool {
	for _, t := range strings.Split(header, ",") {
		if t = strings.TrimPrefix(strings.TrimSpace(t), "W/"); t == tag || t == "*" {
			return true
		}
	}
	return false
}
