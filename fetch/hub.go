package fetch

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// This file uses the API of the Hugging Face Hub: a repository's listing at a revision, and its files at a
// commit. Large files (LFS) come from another host that the hub redirects to.

// listing is what a repository holds at a commit.
type listing struct {
	Commit string  `json:"commit"` // 40 hexadecimal digits
	Files  []entry `json:"files"`
}

// maxListing bounds what is read of a listing.
const maxListing = 64 << 20

var (
	sha256Name = regexp.MustCompile(`^[0-9a-f]{64}$`)
	sha1Name   = commitName
)

// list asks the hub which commit a revision is and what is in it. tries bounds how often.
func (f *Fetcher) list(ctx context.Context, src Source, tries int) (listing, error) {
	u := joinURL(f.api, "api", "models", src.Repo)
	u = u.JoinPath("revision", url.PathEscape(src.Revision))
	u.RawQuery = "blobs=true"
	var l listing
	err := f.retry(ctx, tries, func() (bool, error) {
		a, err := f.hub.do(ctx, http.MethodGet, u, nil, true)
		if err != nil {
			return false, err
		}
		defer a.Body.Close()
		if a.StatusCode != http.StatusOK {
			return false, f.hub.status(a, repoOf(src))
		}
		body, err := io.ReadAll(io.LimitReader(a.Body, maxListing+1))
		if err != nil {
			return false, f.hub.failed(ctx, u, err)
		}
		l, err = parseListing(body)
		if err != nil {
			return false, fmt.Errorf("%w: %s is no hub of models: %w", ErrUnreachable, u.Host, err)
		}
		return false, nil
	})
	return l, err
}

// parseListing reads the hub's answer. Files whose names lead out of a folder are left out.
func parseListing(body []byte) (listing, error) {
	var raw struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name   string `json:"rfilename"`
			Size   *int64 `json:"size"`
			BlobID string `json:"blobId"`
			LFS    *struct {
				SHA256 string `json:"sha256"`
				Size   *int64 `json:"size"`
			} `json:"lfs"`
		} `json:"siblings"`
	}
	if len(body) > maxListing {
		return listing{}, fmt.Errorf("its listing has more than %d bytes", maxListing)
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return listing{}, fmt.Errorf("its listing: %w", err)
	}
	if !commitName.MatchString(raw.SHA) {
		return listing{}, fmt.Errorf("its listing has no commit: sha is %q", clean(raw.SHA))
	}
	l := listing{Commit: raw.SHA}
	for _, s := range raw.Siblings {
		e := entry{Path: s.Name, Size: -1}
		if s.Size != nil {
			e.Size = *s.Size
		}
		if s.LFS != nil {
			e.SHA256 = s.LFS.SHA256
			if s.LFS.Size != nil {
				e.Size = *s.LFS.Size
			}
		} else {
			e.Blob = s.BlobID
		}
		if !safePath(e.Path) {
			continue
		}
		if e.Size < -1 || e.SHA256 != "" && !sha256Name.MatchString(e.SHA256) || e.Blob != "" && !sha1Name.MatchString(e.Blob) {
			return listing{}, fmt.Errorf("its listing has an invalid size or checksum of %q", clean(e.Path))
		}
		l.Files = append(l.Files, e)
	}
	return l, nil
}

// joinURL is base with further elements in its path, each of which may hold slashes and needs no escapes.
func joinURL(base *url.URL, parts ...string) *url.URL {
	u := *base
	for _, part := range parts {
		for s := range strings.SplitSeq(part, "/") {
			u = *u.JoinPath(url.PathEscape(s))
		}
	}
	return &u
}

// fillSizesAndSums asks for the sizes and sums that are missing in a listing: not all mirrors give them.
func (f *Fetcher) fillSizesAndSums(ctx context.Context, repo, commit string, files []entry) error {
	for i := range files {
		e := &files[i]
		if e.Size >= 0 && sumOf(*e).kind != "" {
			continue
		}
		err := f.retry(ctx, f.o.Tries, func() (bool, error) { return false, f.head(ctx, repo, commit, e) })
		if err != nil {
			return err
		}
	}
	return nil
}

// head reads what the hub's headers say of a file.
func (f *Fetcher) head(ctx context.Context, repo, commit string, e *entry) error {
	a, err := f.hub.do(ctx, http.MethodHead, joinURL(f.api, repo, "resolve", commit, e.Path), nil, true)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode >= 400 {
		return f.hub.status(a, e.Path)
	}
	size, tag := a.home.Get("X-Linked-Size"), a.home.Get("X-Linked-Etag")
	if size == "" && a.StatusCode == http.StatusOK {
		size = a.home.Get("Content-Length")
	}
	if tag == "" && a.StatusCode == http.StatusOK {
		tag = a.home.Get("Etag")
	}
	n, err := strconv.ParseInt(size, 10, 64)
	if e.Size < 0 && (err != nil || n < 0) {
		return fmt.Errorf("%w: %s does not say how large %s is", ErrUnreachable, f.api.Host, e.Path)
	}
	if e.Size < 0 {
		e.Size = n
	}
	switch tag = strings.Trim(strings.TrimPrefix(tag, "W/"), `"`); {
	case sha256Name.MatchString(tag):
		e.SHA256 = tag
	case sha1Name.MatchString(tag):
		e.Blob = tag
	default:
		f.o.Note(fmt.Sprintf("%s gives no checksum of %s: only its size is checked", f.api.Host, e.Path))
	}
	return nil
}

// openFile opens a file of a repository at a commit.
func (f *Fetcher) openFile(repo, commit string, e entry) opener {
	u := joinURL(f.api, repo, "resolve", commit, e.Path)
	return func(ctx context.Context, offset int64, tag string) (*transfer, error) {
		header := http.Header{}
		if offset > 0 {
			header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
			if tag != "" {
				header.Set("If-Range", tag)
			}
		}
		a, err := f.hub.do(ctx, http.MethodGet, u, header, false)
		if err != nil {
			return nil, err
		}
		t, err := f.accept(a, commit, e, offset)
		if err != nil {
			a.Body.Close()
		}
		return t, err
	}
}

// accept checks that an answer is the file that was asked for.
func (f *Fetcher) accept(a *answer, commit string, e entry, offset int64) (*transfer, error) {
	if c := a.home.Get("X-Repo-Commit"); c != "" && c != commit {
		return nil, fmt.Errorf("%w: %s: %s gives commit %q, not %s", ErrChecksum, e.Path, f.api.Host, clean(c), commit)
	}
	if tag := strings.Trim(a.home.Get("X-Linked-Etag"), `"`); e.SHA256 != "" && sha256Name.MatchString(tag) && tag != e.SHA256 {
		return nil, fmt.Errorf("%w: %s: %s gives sha256 %s, its listing %s", ErrChecksum, e.Path, f.api.Host, tag, e.SHA256)
	}
	t := &transfer{body: a.Body}
	if tag := a.Header.Get("Etag"); strings.HasPrefix(tag, `"`) {
		t.tag = tag
	}
	total := a.ContentLength
	switch a.StatusCode {
	case http.StatusOK:
	case http.StatusPartialContent:
		var ok bool
		if t.offset, total, ok = contentRange(a.Header.Get("Content-Range")); !ok {
			return nil, retryable(fmt.Errorf("%w: %s: the range in its answer is %q, which has no position", ErrCut, e.Path, clean(a.Header.Get("Content-Range"))))
		}
	case http.StatusRequestedRangeNotSatisfiable:
		if offset > 0 {
			return nil, retryable(fmt.Errorf("%w: %s: %w", ErrCut, e.Path, errRange))
		}
		return nil, f.hub.status(a, e.Path)
	default:
		return nil, f.hub.status(a, e.Path)
	}
	if total >= 0 && total != e.Size {
		return nil, fmt.Errorf("%w: %s has %d bytes at %s, not %d", ErrChecksum, e.Path, total, a.Request.URL.Host, e.Size)
	}
	return t, nil
}

// contentRange reads "bytes 5-9/10"; total is -1 where it is not known.
func contentRange(text string) (offset, total int64, ok bool) {
	place, found := strings.CutPrefix(text, "bytes ")
	span, size, cut := strings.Cut(place, "/")
	first, _, dash := strings.Cut(span, "-")
	offset, err := strconv.ParseInt(first, 10, 64)
	if !found || !cut || !dash || err != nil || offset < 0 {
		return 0, 0, false
	}
	if size == "*" {
		return offset, -1, true
	}
	total, err = strconv.ParseInt(size, 10, 64)
	return offset, total, err == nil && total >= 0
}
