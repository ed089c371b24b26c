package adapters

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file reads adapters outside of an open Store.

// FindStored finds a version in a Store's folder, without opening the Store: a server may have it open. It
// returns what is known of the version and the folder that holds it, which a server removes when the adapter is
// deleted. The error is an UnknownError, or wraps ErrName, ErrReference or ErrDamaged.
func FindStored(dir string, ref Ref) (Info, string, error) {
	s := newStore(Options{Dir: dir, Facts: &runtime.Facts{}, Warn: func(string) {}})
	if _, err := os.Stat(s.path("versions")); err != nil {
		return Info{}, "", fmt.Errorf("%s is not a folder that adapters are stored in: %w", dir, err)
	}
	for _, part := range []struct {
		folder  string
		records map[string]*nameRecord
	}{{"names", s.names}, {"checkpoints", s.steps}} {
		if err := s.readNames(part.folder, part.records); err != nil {
			return Info{}, "", err
		}
	}
	for _, records := range []map[string]*nameRecord{s.names, s.steps} {
		for _, r := range records {
			for _, p := range r.Versions {
				s.versions[p.Digest] = &version{}
			}
		}
	}
	_, p, err := s.find(ref)
	if err != nil {
		return Info{}, "", s.suggest(err)
	}
	folder := s.path("versions", p.Digest)
	v := s.versions[p.Digest]
	if v.manifest, err = readManifest(folder); err != nil {
		return Info{}, "", fmt.Errorf("adapter %q: %w: version %s: %w", ref.Name, ErrDamaged, p.Digest, err)
	}
	r, p, _ := s.find(ref)
	return s.info(r, p), folder, nil
}

// readNames reads the files of a folder of names, without those that another process is removing or has damaged.
func (s *Store) readNames(folder string, into map[string]*nameRecord) error {
	entries, err := os.ReadDir(s.path(folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if r, err := readName(s.path(folder, e.Name())); err == nil {
			into[r.Name] = r
		}
	}
	return nil
}

// OpenPath opens the adapter folder, GGUF LoRA file or archive at path and checks it against the base. The error
// wraps peft.ErrFormat, peft.ErrUnsupported, ErrTooLarge or runtime.ErrAdapter where the adapter is at fault. The
// caller closes the adapter.
func OpenPath(base *runtime.Facts, path string) (*peft.Adapter, error) {
	scratch, err := os.MkdirTemp("", "lorikeet-adapter-")
	if err != nil {
		return nil, err
	}
	a, err := openPath(base, path, scratch)
	if err != nil {
		os.RemoveAll(scratch)
	}
	return a, err
}

func openPath(base *runtime.Facts, path, scratch string) (*peft.Adapter, error) {
	f, err := openPlainPath(path)
	if err != nil {
		return nil, err
	}
	o := &opener{ctx: context.Background(), fs: osFiles{}, facts: base, maxBytes: 16 << 30, scratch: scratch}
	src, err := o.open(f, func(name string) (*os.File, error) { return openPlainPath(filepath.Join(path, name)) })
	if err != nil {
		return nil, err
	}
	src.OnClose(func() { os.RemoveAll(scratch) })
	a, err := src.Fit(base)
	if err != nil {
		src.Close()
	}
	return a, err
}
