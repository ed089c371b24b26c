package adapters

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file reads adapters outside of an open Store.

// FindStored finds a version in a Store's folder, without opening the Store: a server may have it open. It
// returns what is known of the version and the folder that holds it, which a server removes when the adapter is
// deleted. The error is an UnknownError, or wraps ErrName, ErrReference or ErrDamaged.
func FindStored(dir string, ref Ref) (Info, string, error) {
	s := &Store{o: Options{Dir: dir, Facts: &runtime.Facts{}, Warn: func(string) {}}, names: make(map[string]*nameRecord),
		steps: make(map[string]*nameRecord), versions: make(map[string]*version), damaged: make(map[string]error)}
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
		return Info{}, "", err
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

// Adapter is an adapter outside of a Store that fits a base. Its values are read when they are asked for.
type Adapter struct {
	Summary Summary
	source  *source
	fitted  *fitted
	scratch string
}

// OpenPath opens the adapter folder, GGUF LoRA file or archive at path and checks it against the base. The error
// wraps ErrFormat, ErrUnsupported, ErrTooLarge or runtime.ErrAdapter where the adapter is at fault. The caller
// closes it.
func OpenPath(base *runtime.Facts, path string) (_ *Adapter, err error) {
	a := &Adapter{}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	if a.scratch, err = os.MkdirTemp("", "lorikeet-adapter-"); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	o := &opener{facts: base, maxBytes: 16 << 30, scratch: a.scratch}
	a.source, err = o.open(f, func(name string) (*os.File, error) { return os.Open(filepath.Join(path, name)) })
	if err != nil {
		return nil, err
	}
	if a.fitted, err = a.source.fit(base); err != nil {
		return nil, err
	}
	a.Summary = a.fitted.summary
	return a, nil
}

// Tensors returns the base tensors that the adapter changes.
func (a *Adapter) Tensors() []string {
	list := make([]string, len(a.fitted.modules))
	for i := range a.fitted.modules {
		list[i] = a.fitted.modules[i].tensor
	}
	return list
}

// Module reads what the adapter does to a base tensor; ok is false where it does nothing. The error wraps
// ErrUnsupported where a value is not finite.
func (a *Adapter) Module(tensor string) (m runtime.LoRAModule, ok bool, err error) {
	for i := range a.fitted.modules {
		if a.fitted.modules[i].tensor == tensor {
			m, err = a.fitted.modules[i].load()
			return m, true, err
		}
	}
	return runtime.LoRAModule{}, false, nil
}

// Close closes the adapter's files. It may be called twice.
func (a *Adapter) Close() error {
	if a.source != nil {
		a.source.close()
		a.source = nil
	}
	if a.scratch == "" {
		return nil
	}
	return os.RemoveAll(a.scratch)
}
