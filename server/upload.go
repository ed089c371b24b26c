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
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/openapi"
	"github.com/lorikeet-ai/lorikeet/runtime"
	"github.com/lorikeet-ai/lorikeet/training"
)

const (
	// maxParts bounds the parts of an upload; two files and a name are the usual.
	maxParts = 16
	// formOverhead is what the form around the files may take.
	formOverhead = 64 << 10
	// maxFormField bounds a form's field.
	maxFormField = 1 << 10
	// uploadIdleTimeout is how long an upload may pause.
	uploadIdleTimeout = 30 * time.Second
)

// CreateAdapter registers an adapter from a path, a source or an upload.
func (s *Server) CreateAdapter(c *fiber.Ctx) error {
	kind, params, err := mime.ParseMediaType(c.Get(fiber.HeaderContentType))
	if err != nil || kind != fiber.MIMEMultipartForm {
		return s.createFromPath(c)
	}
	if s.draining.Load() {
		return errDraining()
	}
	if int64(c.Request().Header.ContentLength()) > s.maxUpload+formOverhead {
		return tooLarge(c, c.Context().RequestBodyStream(), s.maxUpload)
	}
	u, body, err := s.newUpload(c, s.maxUpload)
	if err != nil {
		return err
	}
	defer u.close()
	if err := u.receive(multipart.NewReader(body, params["boundary"])); err != nil {
		return refuseUpload(c, body, err, s.maxUpload)
	}
	note := adapters.Note{Origin: adapters.Origin{Kind: adapters.FromUpload, Detail: strings.Join(u.names(), ", ")}}
	u.name = s.owned(callerOf(c), u.name)
	if err := errors.Join(s.checkName(u.name, "name"), s.checkStored(callerOf(c), s.maxUpload-u.left)); err != nil {
		return err
	}
	if err := readRest(body); err != nil {
		return err
	}
	ctx, stop := s.work(c)
	defer stop()
	info, err := s.store.PutUpload(ctx, u.name, u.parts, note)
	if err != nil {
		param := "file"
		if errors.Is(err, adapters.ErrName) {
			param = "name"
		}
		return withParam(param, err)
	}
	return sendJSON(c, http.StatusCreated, adapterOf(info))
}

func (s *Server) createFromPath(c *fiber.Ctx) error {
	var req openapi.AdapterPath
	if err := s.decodeBody(c, &req); err != nil {
		return err
	}
	from, param := text(req.Path), "path"
	if source := text(req.Source); source != "" && from != "" {
		return refuse(codeValue, "source", "is given beside path; one of them says where the adapter is")
	} else if source != "" {
		from, param = source, "source"
	}
	info, err := s.importPath(c, req.Name, from, "name", param)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusCreated, adapterOf(info))
}

// errDraining is what a server that shuts down says to new work.
func errDraining() error { return fmt.Errorf("%w", runtime.ErrDraining) }

// errUploadSize ends an upload that is larger than it may be.
var errUploadSize = errors.New("the upload is too large")

// idleTimeoutReader reads a body for as long as it keeps coming, where fasthttp's own deadline is for all of it.
type idleTimeoutReader struct {
	r io.Reader
	c *fiber.Ctx
}

func (p *idleTimeoutReader) Read(b []byte) (int, error) {
	if p.r == nil {
		return 0, io.EOF
	}
	if conn := p.c.Context().Conn(); conn != nil {
		_ = conn.SetReadDeadline(time.Now().Add(uploadIdleTimeout)) // a connection that cannot will fail in Read
	}
	return p.r.Read(b)
}

// newUpload begins to receive a form of at most limit bytes of files. It refuses one whose stated length does not fit
// beside the other uploads, or on the disk, before its body is read.
func (s *Server) newUpload(c *fiber.Ctx, limit int64) (*upload, *idleTimeoutReader, error) {
	body := &idleTimeoutReader{r: c.Context().RequestBodyStream(), c: c}
	if encoding, err := contentEncoding(c); err != nil || encoding != "" {
		discard(c, body, maxDrain, drainTime)
		return nil, nil, &refusal{
			status: http.StatusBadRequest, code: codeUnsupported,
			message: fmt.Sprintf("an upload comes as it is, not with Content-Encoding %q: only JSON bodies may be compressed", c.Get(fiber.HeaderContentEncoding)),
		}
	}
	if n := int64(c.Request().Header.ContentLength()); n > 0 {
		if !s.uploads.Fits(min(n, limit)) {
			return nil, nil, refuseUpload(c, body, disk.ErrBusy, limit)
		}
		if err := disk.CheckSpace(cmp.Or(s.tempDir, os.TempDir()), min(n, limit)); err != nil {
			return nil, nil, refuseUpload(c, body, err, limit)
		}
	}
	return &upload{dir: s.tempDir, left: limit, share: s.uploads.Share()}, body, nil
}

// refuseUpload returns the error of an upload. Where more of its body is to come, the connection is closed after some
// of that has been read, so that the client comes to read the answer.
func refuseUpload(c *fiber.Ctx, body *idleTimeoutReader, err error, limit int64) error {
	switch {
	case errors.Is(err, errUploadSize):
		return tooLarge(c, body, limit)
	case errors.Is(err, disk.ErrBusy), errors.Is(err, disk.ErrNoSpace), errors.Is(err, training.ErrFilesFull):
		_ = tooLarge(c, body, limit)
	}
	return err
}

// readRest reads what follows a form's last part: the connection is watched from then on.
func readRest(body io.Reader) error {
	n, err := io.CopyN(io.Discard, body, formOverhead)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return formError(err)
	}
	return refuse(codeValue, "file", "is followed by %d bytes and more that belong to no part", n)
}

// upload is a form that is being received: its files go to temporary ones.
type upload struct {
	dir   string
	left  int64       // bytes that the files may still have
	share *disk.Share // of what all uploads hold together
	name  string
	parts []adapters.Part
	files []*os.File
}

// receive reads all parts.
func (u *upload) receive(form *multipart.Reader) error {
	for n := 0; ; n++ {
		p, err := form.NextPart()
		switch {
		case errors.Is(err, io.EOF):
			return u.check()
		case err != nil:
			return formError(err)
		case n == maxParts:
			return refuse(codeValue, "file", "has more than %d parts", maxParts)
		case p.FileName() != "":
			err = u.file(p)
		default:
			err = u.field(p)
		}
		if err != nil {
			return err
		}
	}
}

// check returns what is missing in the form.
func (u *upload) check() error {
	switch {
	case u.name == "":
		return refuse(codeMissing, "name", "is missing: a form field with the adapter's name")
	case len(u.parts) == 0:
		return refuse(codeMissing, "file", "is missing: a part with a filename")
	}
	return nil
}

// field reads a part without a filename.
func (u *upload) field(p *multipart.Part) error {
	text, err := io.ReadAll(io.LimitReader(p, maxFormField+1))
	if err != nil {
		return formError(err)
	}
	if len(text) > maxFormField {
		return refuse(codeValue, p.FormName(), "is longer than %d bytes", maxFormField)
	}
	if p.FormName() == "name" {
		u.name = string(text)
	}
	return nil
}

// file writes a part to a temporary file.
func (u *upload) file(p *multipart.Part) error {
	f, err := os.CreateTemp(u.dir, "upload-*")
	if err != nil {
		return disk.NoSpace(err)
	}
	u.files = append(u.files, f)
	n, err := io.Copy(&diskWriter{f, u.share}, io.LimitReader(p, u.left+1))
	var failed *diskError
	switch {
	case errors.As(err, &failed):
		return disk.NoSpace(err)
	case err != nil:
		return formError(err)
	case n > u.left:
		return errUploadSize
	}
	u.left -= n
	u.parts = append(u.parts, adapters.Part{Name: p.FileName(), Body: f, Size: n, Done: func() { removeTemporary(f) }})
	return nil
}

func (u *upload) names() []string {
	var names []string
	for _, p := range u.parts {
		names = append(names, p.Name)
	}
	return names
}

// close removes the temporary files.
func (u *upload) close() {
	defer u.share.Release()
	for _, f := range u.files {
		removeTemporary(f)
	}
}

// removeTemporary removes a temporary file. It may be called twice.
func removeTemporary(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name()) // the next start empties the folder where this fails
}

// formError is the error of a form that ends early or is none.
func formError(err error) error {
	return &refusal{
		status: http.StatusBadRequest, code: "invalid_form", message: "the form cannot be read: " + err.Error(),
	}
}

// diskWriter takes bytes of the budget before it writes them. It tells its errors, which are the server's fault, from
// those of the upload.
type diskWriter struct {
	w     io.Writer
	share *disk.Share
}

type diskError struct{ error }

func (e *diskError) Unwrap() error { return e.error }

func (d *diskWriter) Write(b []byte) (int, error) {
	if err := d.share.Take(int64(len(b))); err != nil {
		return 0, &diskError{err}
	}
	n, err := d.w.Write(b)
	if err != nil {
		err = &diskError{err}
	}
	return n, err
}
