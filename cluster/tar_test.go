package cluster

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters"
)

// What another node stored is unpacked into the folder that it belongs in and nowhere else, and no more than was said.
func TestHostileObjects(t *testing.T) {
	many := make([]tar.Header, maxFiles+1)
	for i := range many {
		many[i] = tar.Header{Name: string(rune('a' + i)), Typeflag: tar.TypeReg, Size: 1}
	}
	for name, headers := range map[string][]tar.Header{
		"a path upwards":   {{Name: "../outside", Typeflag: tar.TypeReg, Size: 1}},
		"an absolute path": {{Name: "/tmp/outside", Typeflag: tar.TypeReg, Size: 1}},
		"a folder":         {{Name: "folder/file", Typeflag: tar.TypeReg, Size: 1}},
		"no name":          {{Name: ".", Typeflag: tar.TypeReg, Size: 1}},
		"a link":           {{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc"}},
		"too much":         {{Name: "a", Typeflag: tar.TypeReg, Size: 60}, {Name: "b", Typeflag: tar.TypeReg, Size: 60}},
		"too many":         many,
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(make([]byte, h.Size)); err != nil {
				t.Fatal(err)
			}
		}
		w.Close()
		parent := t.TempDir()
		dir := filepath.Join(parent, "version")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := readTar(&b, dir, 100); !errors.Is(err, adapters.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(parent); len(left) != 1 {
			t.Errorf("%s: outside of the folder are %v", name, left)
		}
	}
}
