package server

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/training"
)

// fineTune is what files of examples are uploaded for.
const fineTune = "fine-tune"

// ListFiles lists the uploaded files.
func (s *Server) ListFiles(c *fiber.Ctx, params openapi.ListFilesParams) error {
	if _, err := s.queue(); err != nil {
		return err
	}
	var check checker
	n := check.integer("limit", params.Limit, 10000, 1, 10000)
	order := text(params.Order)
	if order != "" && order != "asc" && order != "desc" {
		check.refuse(codeValue, "order", "is %q, it must be asc or desc", order)
	}
	if check.err != nil {
		return check.err
	}
	who, purpose := callerOf(c), text(params.Purpose)
	list, more, err := s.files.ListWhere(func(f *training.File) bool {
		return who.tenant.Owns(f.Owner) && (purpose == "" || f.Purpose == purpose)
	}, order == "asc", text(params.After), n)
	if err != nil {
		return withParam("after", err)
	}
	out := openapi.FileList{Object: "list", Data: make([]openapi.File, len(list)), HasMore: more}
	for i, f := range list {
		out.Data[i] = fileOf(f)
	}
	if n := len(list); n > 0 {
		out.FirstId, out.LastId = &list[0].ID, &list[n-1].ID
	}
	return sendJSON(c, http.StatusOK, out)
}

func fileOf(f training.File) openapi.File {
	return openapi.File{
		Id: f.ID, Object: "file", Bytes: f.Bytes, CreatedAt: f.Created.Unix(), ExpiresAt: unix(f.Expires), Filename: f.Name,
		Purpose: f.Purpose, Status: "processed",
	}
}

// GetFile describes a file.
func (s *Server) GetFile(c *fiber.Ctx, id string) error {
	if _, err := s.queue(); err != nil {
		return err
	}
	f, err := s.getFile(callerOf(c), id)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, fileOf(f))
}

// getFile returns one of the caller's files.
func (s *Server) getFile(who caller, id string) (training.File, error) {
	f, err := s.files.Get(id)
	if err == nil && !who.tenant.Owns(f.Owner) {
		return training.File{}, fmt.Errorf("%w: %q", training.ErrFile, id)
	}
	return f, err
}

// openFile opens one of the caller's files.
func (s *Server) openFile(who caller, id string) (*os.File, training.File, error) {
	if _, err := s.getFile(who, id); err != nil {
		return nil, training.File{}, err
	}
	return s.files.Open(id)
}

// GetFileContent gives a file's bytes.
func (s *Server) GetFileContent(c *fiber.Ctx, id string) error {
	if _, err := s.queue(); err != nil {
		return err
	}
	content, f, err := s.openFile(callerOf(c), id)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, fiber.MIMEOctetStream)
	return c.SendStream(content, int(f.Bytes)) // which closes it
}

// DeleteFile deletes a file.
func (s *Server) DeleteFile(c *fiber.Ctx, id string) error {
	if _, err := s.queue(); err != nil {
		return err
	}
	if _, err := s.getFile(callerOf(c), id); err != nil {
		return err
	}
	if err := s.files.Delete(id); err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, openapi.FileDeleted{Id: id, Object: "file", Deleted: true})
}

// CreateFile receives a file. The form's fields may come in any order, before the file and after it.
func (s *Server) CreateFile(c *fiber.Ctx) error {
	if _, err := s.queue(); err != nil {
		return err
	}
	kind, params, err := mime.ParseMediaType(c.Get(fiber.HeaderContentType))
	if err != nil || kind != fiber.MIMEMultipartForm {
		return refuse(codeType, "file", "must come as multipart/form-data")
	}
	if s.draining.Load() {
		return errDraining()
	}
	if err := s.checkStored(callerOf(c), max(0, int64(c.Request().Header.ContentLength()))); err != nil {
		return err
	}
	u, body, err := s.newUpload(c, s.maxDataset)
	if err != nil {
		return err
	}
	defer u.close()
	f, err := s.receiveFile(callerOf(c), &fileForm{parts: multipart.NewReader(body, params["boundary"])}, u.share)
	if err != nil {
		if errors.Is(err, training.ErrTooLarge) {
			err = errUploadSize
		}
		return refuseUpload(c, body, err, s.maxDataset)
	}
	s.log.Info().Str("file", f.ID).Int64("bytes", f.Bytes).Msg("file uploaded")
	return sendJSON(c, http.StatusOK, fileOf(f))
}

// receiveFile reads the form and stores the file in it.
func (s *Server) receiveFile(who caller, form *fileForm, share *disk.Share) (training.File, error) {
	p, err := form.file()
	if err == nil && p == nil {
		err = cmp.Or(form.describe(&training.File{}), refuse(codeMissing, "file", "is missing"))
	}
	if err != nil {
		return training.File{}, err
	}
	in := &source{r: p, share: share}
	f, err := s.files.Put(s.serving, in, p.FileName(), who.tenant.Owner(), func(f *training.File) error {
		if second, err := form.file(); err != nil {
			return err
		} else if second != nil {
			return refuse(codeValue, "file", "is given twice")
		}
		return form.describe(f)
	})
	if in.err != nil {
		return f, formError(in.err)
	}
	if err != nil && s.serving.Err() != nil {
		err = errDraining()
	}
	return f, err
}

// fileForm is the form of an upload: a file and the fields that describe it.
type fileForm struct {
	parts                    *multipart.Reader
	seen                     int
	purpose, anchor, seconds string
}

// file reads the form up to the next file, nil at its end, and keeps the fields on the way.
func (f *fileForm) file() (*multipart.Part, error) {
	for ; ; f.seen++ {
		p, err := f.parts.NextPart()
		switch {
		case errors.Is(err, io.EOF):
			return nil, nil
		case err != nil:
			return nil, formError(err)
		case f.seen == maxParts:
			return nil, refuse(codeValue, "file", "comes in a form of more than %d parts", maxParts)
		case p.FormName() == "file":
			return p, nil
		}
		field := map[string]*string{"purpose": &f.purpose, "expires_after[anchor]": &f.anchor, "expires_after[seconds]": &f.seconds}[p.FormName()]
		if field == nil {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(p, maxFormField))
		if err != nil {
			return nil, formError(err)
		}
		*field = string(text)
	}
}

// Bounds of the time that a file is kept for, in seconds.
const (
	leastExpiry = 3600
	mostExpiry  = 2592000
)

// describe sets what the fields say of a file, or returns what is wrong with them.
func (f *fileForm) describe(file *training.File) error {
	switch {
	case f.purpose == "":
		return refuse(codeMissing, "purpose", "is missing: files are uploaded for %s or %s", fineTune, batchPurpose)
	case f.purpose != fineTune && f.purpose != batchPurpose:
		return refuse(codeUnsupported, "purpose", "is %q: files are uploaded for %s or %s", f.purpose, fineTune, batchPurpose)
	}
	file.Purpose = f.purpose
	if f.anchor == "" && f.seconds == "" {
		return nil
	}
	if f.anchor != "created_at" {
		return refuse(codeValue, "expires_after[anchor]", "is %q, it must be created_at", f.anchor)
	}
	seconds, err := strconv.Atoi(f.seconds)
	if err != nil || seconds < leastExpiry || seconds > mostExpiry {
		return refuse(codeValue, "expires_after[seconds]", "is %q, it must be a number between %d and %d", f.seconds, leastExpiry, mostExpiry)
	}
	file.Expires = file.Created.Add(time.Duration(seconds) * time.Second)
	return nil
}

// source takes the bytes of an upload from the budget as they come. It tells an upload that fails, which is the
// client's fault, from a disk that does.
type source struct {
	r     io.Reader
	share *disk.Share
	err   error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
		return n, err
	}
	if busy := s.share.Take(int64(n)); busy != nil {
		return 0, busy
	}
	return n, err
}
