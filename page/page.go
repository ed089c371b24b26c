// Package page holds the web page of the server: a chat, a comparison of adapters and what else page/src shows. It is
// built from there with `make page`; the built files are in the repository, so that a Go compiler is enough for a binary.
package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"path"
	"sync"

	"github.com/andybalholm/brotli"
)

//go:embed dist
var dist embed.FS

// Index is the name of the page's HTML, which refers to the other files as /page/NAME.
const Index = "index.html"

// Policy is the Content-Security-Policy of the page: scripts, styles and requests of this server alone, nothing inline.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// types are the media types by the ends of the files' names; a file of another end is not served.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// File is a built file with its compressed forms, whose bytes nobody may change.
type File struct {
	Type    string // its media type
	ETag    string // in quotes, without W/; it changes with the content, and is the same for its compressed forms
	Content []byte
	Gzip    []byte
	Brotli  []byte
}

var files = sync.OnceValues(load)

// Find returns the file of a name, without a folder. The first call compresses all files, which takes some milliseconds.
// It may be called by several goroutines at once.
func Find(name string) (f *File, found bool, err error) {
	all, err := files()
	f, found = all[name]
	return f, found, err
}

func load() (map[string]*File, error) {
	entries, err := dist.ReadDir("dist")
	if err != nil {
		return nil, err
	}
	all := make(map[string]*File, len(entries))
	for _, e := range entries {
		kind, served := types[path.Ext(e.Name())]
		if !served {
			continue
		}
		content, err := dist.ReadFile("dist/" + e.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		f := &File{Type: kind, ETag: `"` + hex.EncodeToString(sum[:8]) + `"`, Content: content}
		if f.Gzip, f.Brotli, err = compress(content); err != nil {
			return nil, err
		}
		all[e.Name()] = f
	}
	return all, nil
}

func compress(content []byte) (zipped, brotlied []byte, err error) {
	var z, b bytes.Buffer
	zw, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
	if err != nil {
		return nil, nil, err
	}
	bw := brotli.NewWriterLevel(&b, 6)
	for _, step := range []func() error{
		func() error { _, err := zw.Write(content); return err }, zw.Close,
		func() error { _, err := bw.Write(content); return err }, bw.Close,
	} {
		if err := step(); err != nil {
			return nil, nil, err
		}
	}
	return z.Bytes(), b.Bytes(), nil
}
