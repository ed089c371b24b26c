package disk

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMakePrivate(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
	for path, mode := range map[string]os.FileMode{"ours/open/run": 0o755, "ours/closed": 0o600, "theirs/file": 0o644} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(outside, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "ours", "link")); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{3, 0} {
		if n, err := MakePrivate(dir, "ours", "none"); n != want || err != nil {
			t.Errorf("call %d changed %d entries, want %d (%v)", i+1, n, want, err)
		}
	}
	for path, want := range map[string]os.FileMode{"ours": 0o700, "ours/open": 0o700, "ours/open/run": 0o700, "ours/closed": 0o600,
		"theirs": 0o755, "theirs/file": 0o644, outside: 0o644} {
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has the mode %v, want %v (%v)", path, info.Mode().Perm(), want, err)
		}
	}
}
