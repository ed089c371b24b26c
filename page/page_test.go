package page

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
)

// maxBytes bounds all built files together, as docs/page.md states.
const maxBytes = 300_000

func TestSize(t *testing.T) {
	total := 0
	err := fs.WalkDir(dist, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		total += int(info.Size())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if total > maxBytes {
		t.Errorf("the page has %d bytes; %d are allowed", total, maxBytes)
	}
	t.Logf("%d of %d bytes", total, maxBytes)
}

// The page's HTML refers to files that there are, of this server alone, and has nothing that its policy forbids.
func TestIndex(t *testing.T) {
	index, found, err := Find(Index)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	html := string(index.Content)
	refs := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(html, -1)
	if len(refs) < 3 {
		t.Fatalf("it refers to %d files only: %s", len(refs), html)
	}
	for _, ref := range refs {
		name, ours := strings.CutPrefix(ref[1], "/page/")
		if _, found, err := Find(name); ours && (!found || err != nil) {
			t.Errorf("there is no %s: %v", ref[1], err)
		} else if !ours && ref[1] != "/docs" {
			t.Errorf("it refers to %s, which is not the page's", ref[1])
		}
	}
	for _, inline := range []string{"<style", " style=", " onload=", "javascript:"} {
		if strings.Contains(html, inline) {
			t.Errorf("it has %q, which the policy forbids", inline)
		}
	}
	for _, script := range regexp.MustCompile(`<script[^>]*>([^<]*)<`).FindAllStringSubmatch(html, -1) {
		if script[1] != "" {
			t.Errorf("it has an inline script: %s", script[1])
		}
	}
}

func TestFiles(t *testing.T) {
	all, err := files()
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range all {
		zr, err := gzip.NewReader(bytes.NewReader(f.Gzip))
		if err != nil {
			t.Fatal(err)
		}
		unzipped, err := io.ReadAll(zr)
		if err != nil || !bytes.Equal(unzipped, f.Content) {
			t.Errorf("%s: gzip gives other bytes: %v", name, err)
		}
		unbrotlied, err := io.ReadAll(brotli.NewReader(bytes.NewReader(f.Brotli)))
		if err != nil || !bytes.Equal(unbrotlied, f.Content) {
			t.Errorf("%s: brotli gives other bytes: %v", name, err)
		}
	}
	if _, found, _ := Find("page.go"); found {
		t.Error("a file outside of dist is found")
	}
}
