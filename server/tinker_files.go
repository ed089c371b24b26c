package server

import (
	"archive/zip"
	"io"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/tinker"
)

// This file is the ways in which checkpoints leave a run: as files, and as copies.

// TinkerCheckpointArchive says where a checkpoint's adapter can be downloaded.
func (s *Server) TinkerCheckpointArchive(c *fiber.Ctx, id, kind, name string) error {
	t, err := s.tinkerService()
	if err != nil {
		return err
	}
	links, expires, err := t.Link(s.tinkerCaller(c), tinker.Path{Run: id, Kind: kind, Name: name}, "")
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderExpires, expires.UTC().Format(http.TimeFormat))
	return c.Redirect(c.BaseURL()+tinkerDownloads+links[0], http.StatusFound)
}

// TinkerExternalWeightsUrls says where the files of external weights can be downloaded one by one.
func (s *Server) TinkerExternalWeightsUrls(c *fiber.Ctx, id, kind, name string) error { //nolint:revive // the generated interface has this name
	t, err := s.tinkerService()
	if err != nil {
		return err
	}
	if kind != tinker.KindExternal {
		return refuse(codeValue, "checkpoint", "is of the kind %.40q: files are downloaded one by one of %s", kind, tinker.KindExternal)
	}
	who, path := s.tinkerCaller(c), tinker.Path{Run: id, Kind: kind, Name: name}
	ref, err := t.AdapterOf(who, "checkpoint", path.String())
	if err != nil {
		return err
	}
	names, err := s.exportedFiles(c, ref)
	if err != nil {
		return err
	}
	links, expires, err := t.Link(who, path, names...)
	if err != nil {
		return err
	}
	out := openapi.TinkerFiles{Urls: map[string]string{}, Expires: expires.UTC().Round(time.Millisecond)}
	for i := range names {
		out.Urls[names[i]] = c.BaseURL() + tinkerDownloads + links[i]
	}
	return sendJSON(c, http.StatusOK, out)
}

// exportedFiles names the files that an adapter has in PEFT's form.
func (s *Server) exportedFiles(c *fiber.Ctx, ref adapters.Ref) (names []string, err error) {
	e, archive, err := s.openExport(c, ref)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	for _, f := range archive.File {
		names = append(names, f.Name)
	}
	return names, nil
}

// openExport exports an adapter in PEFT's form, and opens the archive. The caller closes it.
func (s *Server) openExport(c *fiber.Ctx, ref adapters.Ref) (*adapters.Export, *zip.Reader, error) {
	ctx, stop := s.work(c)
	defer stop()
	e, err := s.store.Export(ctx, ref, adapters.PEFT)
	if err != nil {
		return nil, nil, err
	}
	archive, err := zip.NewReader(e, e.Size)
	if err != nil {
		e.Close()
		return nil, nil, err
	}
	return e, archive, nil
}

// TinkerDownload gives the file that a link is of.
func (s *Server) TinkerDownload(c *fiber.Ctx, link string) error {
	t, err := s.tinkerService()
	if err != nil {
		return err
	}
	of, err := t.Linked(link)
	if err != nil {
		return err
	}
	if of.File == "" {
		return s.sendExport(c, of.Adapter, adapters.PEFT)
	}
	e, archive, err := s.openExport(c, of.Adapter)
	if err != nil {
		return err
	}
	for _, f := range archive.File {
		if f.Name != of.File {
			continue
		}
		content, err := f.Open()
		if err != nil {
			e.Close()
			return err
		}
		c.Set(fiber.HeaderContentType, fiber.MIMEOctetStream)
		c.Attachment(of.File)
		return c.SendStream(&exportedFile{content, e}, int(f.UncompressedSize64)) // which closes it
	}
	e.Close()
	return &refusal{status: http.StatusNotFound, code: "not_found", message: "the adapter has no file " + clipName(of.File)}
}

// exportedFile is one file of an archive, which is closed with it.
type exportedFile struct {
	io.ReadCloser
	archive *adapters.Export
}

func (f *exportedFile) Close() error {
	err := f.ReadCloser.Close()
	if failed := f.archive.Close(); err == nil {
		err = failed
	}
	return err
}

// TinkerCopyWeights copies a checkpoint.
func (s *Server) TinkerCopyWeights(c *fiber.Ctx, params openapi.TinkerCopyWeightsParams) error {
	var body openapi.TinkerCopyRequest
	t, who, err := s.tinkerCall(c, &body)
	if err != nil {
		return err
	}
	if text(body.WeightsAccessToken) != "" || text(params.XTinkerWeightsAccessToken) != "" {
		return refuse(codeUnsupported, "weights_access_token", "is not read: a key sees its own checkpoints, and those that were published")
	}
	r := &tinker.Copy{Source: body.SourcePath, TTL: body.TtlSeconds, SessionID: text(body.SessionId), Key: text(params.XIdempotencyKey)}
	switch {
	case len(r.Key) > maxIdempotencyKey:
		return refuse(codeValue, "X-Idempotency-Key", "has %d bytes, at most %d are read", len(r.Key), maxIdempotencyKey)
	case (r.SessionID == "") != (body.ModelSeqId == nil):
		return refuse(codeMissing, "model_seq_id", "and session_id go together: one of them is missing")
	case r.SessionID == "" && text(body.DestinationProjectId) == "":
		return refuse(codeMissing, "destination_project_id", "is missing, or session_id with model_seq_id")
	case r.SessionID != "" && body.DestinationProjectId != nil:
		return refuse(codeValue, "destination_project_id", "and session_id are given: the copy belongs to one of them")
	}
	if body.ModelSeqId != nil {
		r.ModelSeq = *body.ModelSeqId
	}
	path, err := t.CopyCheckpoint(who, r)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.TinkerCopied{TinkerPath: path.String()})
}

// maxIdempotencyKey is how many bytes such a key may have.
const maxIdempotencyKey = 256
