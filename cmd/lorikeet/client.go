package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// client sends requests to a running server.
type client struct {
	url  string
	keys []string
}

func (c *client) check() error {
	u, err := url.Parse(c.url)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%w: --server %q: want an address such as http://127.0.0.1:8080", errUsage, c.url)
	}
	return nil
}

func (c *client) get(ctx context.Context, answer any, path ...string) error {
	return c.do(ctx, http.MethodGet, "", nil, answer, path...)
}

func (c *client) delete(ctx context.Context, path ...string) error {
	return c.do(ctx, http.MethodDelete, "", nil, nil, path...)
}

// post sends a JSON body.
func (c *client) post(ctx context.Context, body, answer any, path ...string) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, "application/json", bytes.NewReader(raw), answer, path...)
}

// upload sends the files as a form, reading them as they go out.
func (c *client) upload(ctx context.Context, answer any, name string, files []string) error {
	r, w := io.Pipe()
	defer r.Close() // ends the writer where the server answers before it has read all
	form := multipart.NewWriter(w)
	go func() { w.CloseWithError(writeForm(form, name, files)) }()
	return c.do(ctx, http.MethodPost, form.FormDataContentType(), r, answer, "adapters")
}

func writeForm(form *multipart.Writer, name string, files []string) error {
	if err := form.WriteField("name", name); err != nil {
		return err
	}
	for _, path := range files {
		if err := writeFile(form, path); err != nil {
			return err
		}
	}
	return form.Close()
}

func writeFile(form *multipart.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	part, err := form.CreateFormFile("file", filepath.Base(path))
	if err != nil {
		return err
	}
	_, err = io.Copy(part, f)
	return err
}

// do sends a request and decodes the answer, or returns the server's message.
func (c *client) do(ctx context.Context, method, contentType string, body io.Reader, answer any, path ...string) error {
	for i := range path {
		path[i] = url.PathEscape(path[i])
	}
	address := strings.TrimRight(c.url, "/") + "/" + strings.Join(path, "/")
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	c.authorize(req)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no answer from the server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return refused(resp)
	}
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("%s is not a lorikeet server: %w", c.url, err)
	}
	return nil
}

// authorize sends the key along.
func (c *client) authorize(req *http.Request) {
	if len(c.keys) > 0 {
		req.Header.Set("Authorization", "Bearer "+c.keys[0])
	}
}

// refused is the error in the body of resp.
func refused(resp *http.Response) error {
	var e struct {
		Error refusal `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&e); err != nil || e.Error.Message == "" {
		return fmt.Errorf("the server answered %s", resp.Status)
	}
	e.Error.status = resp.Status
	return &e.Error
}

// refusal is what a server says of a request that it refuses.
type refusal struct {
	Message string `json:"message"`
	Param   string `json:"param"` // the field at fault; "": none
	status  string
}

// Error is the server's message, with the status.
func (r *refusal) Error() string { return fmt.Sprintf("%s (%s)", r.Message, r.status) }
