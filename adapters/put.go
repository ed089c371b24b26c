package adapters

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// PutUpload stores what a user sent and points name at it: one GGUF LoRA file, one .zip, .tar or .tar.gz, or
// PEFT's two files. The error wraps ErrName, peft.ErrFormat, peft.ErrUnsupported, ErrTooLarge or runtime.ErrAdapter
// where the user is at fault, disk.ErrNoSpace where the disk is full, or is the cause of ctx; then nothing has changed.
// It waits while others write as much as Options.MaxBytes allows. Content that is stored already makes no second version.
func (s *Store) PutUpload(ctx context.Context, name string, parts []Part, n Note) (Info, error) {
	return s.put(ctx, name, n, func(o *opener) (*peft.Source, error) { return o.upload(parts) })
}

// PutPath stores the adapter folder, GGUF LoRA file or archive at path, which the caller trusts the user to read.
// Errors are those of PutUpload.
func (s *Store) PutPath(ctx context.Context, name, path string, n Note) (Info, error) {
	return s.put(ctx, name, n, func(o *opener) (*peft.Source, error) {
		f, err := openPlainPath(path)
		if err != nil {
			return nil, err
		}
		return o.open(f, func(name string) (*os.File, error) { return openPlainPath(filepath.Join(path, name)) })
	})
}

func openPlainPath(path string) (*os.File, error) {
	return openPlain(func(flag int) (*os.File, error) { return os.OpenFile(path, flag, 0) })
}

// openPlain opens a file or a folder to read it, by open with the flags that it is given. Anything else, such as a pipe,
// which to open might take for ever, is refused.
func openPlain(open func(flag int) (*os.File, error)) (*os.File, error) {
	f, err := open(os.O_RDONLY | syscall.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = fmt.Errorf("%w: %s is neither a file nor a folder", peft.ErrFormat, info.Name())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// PutLoRA stores an adapter that is in memory, with the configuration that gives its ranks and scales. Its values are written from
// where they lie, in pieces, so it must not change meanwhile. It does not wait for other puts, and Close waits for it.
func (s *Store) PutLoRA(name string, a runtime.LoRASource, n Note) (Info, error) {
	return s.build(context.Background(), name, n, openLoRA(a), s.publisher(name, n))
}

// openLoRA is the open of an adapter that is in memory.
func openLoRA(a runtime.LoRASource) func(*opener) (*peft.Source, error) {
	return func(o *opener) (*peft.Source, error) {
		o.reserved = true // it takes part in no waiting, and takes no memory
		return peft.FromLoRA(o.facts, a)
	}
}

// open opens a folder through inside, or the file f itself, which it closes.
func (o *opener) open(f *os.File, inside func(name string) (*os.File, error)) (*peft.Source, error) {
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		f.Close()
		return o.folder(inside)
	}
	var p Part
	var src *peft.Source
	if err == nil {
		p, err = filePart(f, f.Name())
	}
	if err == nil {
		src, err = o.upload([]Part{p})
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	src.OnClose(func() { f.Close() })
	return src, nil
}

// put stores what open gives. open may unpack into the opener's scratch folder. It ends with the cause of ctx, or with
// ErrClosed when the Store is closed.
func (s *Store) put(ctx context.Context, name string, n Note, open func(*opener) (*peft.Source, error)) (Info, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.closing, func() { cancel(ErrClosed) })()
	return s.build(ctx, name, n, open, s.publisher(name, n))
}

// publisher returns the publish of a version that name will point at.
func (s *Store) publisher(name string, n Note) func(string, string, *manifest) (Info, error) {
	return func(dir, uploaded string, m *manifest) (Info, error) { return s.publish(name, dir, uploaded, m, n) }
}

// build writes what open gives into a folder of its own and hands it to publish, which moves it to its place.
func (s *Store) build(ctx context.Context, name string, n Note, open func(*opener) (*peft.Source, error),
	publish func(dir, uploaded string, m *manifest) (Info, error)) (_ Info, err error) {
	if err := CheckName(name); err != nil {
		return Info{}, err
	}
	if slices.Contains(s.o.Reserved, name) {
		return Info{}, fmt.Errorf("%w: the name %q stands for something else here", ErrName, name)
	}
	s.lifecycle.RLock()
	defer s.lifecycle.RUnlock()
	if s.closed {
		return Info{}, ErrClosed
	}
	defer func() { err = disk.NoSpace(err) }()
	scratch, err := s.fs.MkdirTemp(s.path("tmp"), "put-")
	if err != nil {
		return Info{}, err
	}
	defer os.RemoveAll(scratch)
	o := &opener{ctx: ctx, fs: s.fs, facts: s.o.Facts, maxBytes: s.o.MaxBytes, scratch: scratch, share: s.work.Share()}
	defer o.share.Release()
	src, err := open(o)
	if err != nil {
		return Info{}, err
	}
	defer src.Close()
	dir := filepath.Join(scratch, "version")
	m, err := s.write(o, dir, src, n)
	if err != nil {
		return Info{}, err
	}
	if ctx.Err() != nil {
		return Info{}, context.Cause(ctx)
	}
	uploaded, err := s.storage.Upload(ctx, m.Digest, dir, s.has(m.Digest))
	if err != nil {
		return Info{}, err
	}
	info, err := publish(dir, uploaded, m)
	if err != nil {
		return Info{}, err
	}
	return s.withUse([]Info{info})[0], nil
}

// write checks the adapter against the base and writes it to dir.
func (s *Store) write(o *opener, dir string, src *peft.Source, n Note) (*manifest, error) {
	a, err := src.Fit(s.o.Facts)
	if err != nil {
		return nil, err
	}
	if src.Bytes() > s.o.MaxBytes {
		return nil, fmt.Errorf("%w: its tensors have more than %d bytes", ErrTooLarge, s.o.MaxBytes)
	}
	if err := s.checkMemory(&a.Summary, n); err != nil {
		return nil, err
	}
	if err := o.reserve(src.Bytes()); err != nil {
		return nil, err
	}
	if err := disk.CheckSpace(s.o.Dir, src.Bytes()); err != nil {
		return nil, err
	}
	m := &manifest{Base: s.o.Facts.Fingerprint, Summary: a.Summary, Created: time.Now().UTC().Round(time.Millisecond),
		Origin: n.Origin, Metrics: n.Metrics}
	if err := s.checkTemplates(o.templates()); err != nil {
		return nil, err
	}
	return m, s.writer(o.ctx).version(dir, a, o.templates(), m)
}

// checkMemory refuses an adapter that could never be loaded when it is stored, so that its sender is told. What a training
// job made is kept: it can still be exported or merged.
func (s *Store) checkMemory(x *peft.Summary, n Note) error {
	least := x.MinBytes()
	if s.o.Memory == 0 || least <= s.o.Memory || n.Origin.Kind == FromJob {
		return nil
	}
	whole := ""
	if x.Whole > 0 {
		whole = fmt.Sprintf(", of them %d in whole rows of embed_tokens and lm_head (modules_to_save, trainable_token_indices),", x.Whole)
	}
	return fmt.Errorf("%w: its %d parameters%s take at least %d bytes of memory, adapters may take %d", ErrTooLarge, x.Parameters, whole,
		least, s.o.Memory)
}

// publish puts the version into its place, unless it is there, and points name at it.
func (s *Store) publish(name, dir, uploaded string, m *manifest, n Note) (Info, error) {
	s.commit.Lock()
	defer s.done()
	if err := s.place(dir, uploaded, m); err != nil {
		return Info{}, err
	}
	defer s.sweep()
	var expired []Change
	old, next, err := s.rewrite(NameRecords, name, func(old *nameRecord) (*nameRecord, error) {
		next := old.pointedAt(name, pointing{Digest: m.Digest, Created: m.Created, Origin: n.Origin, Metrics: n.Metrics, Pinned: n.Pin})
		expired = nil
		s.mu.Lock()
		for _, digest := range s.trim(next, s.o.Keep) {
			expired = append(expired, Change{Action: Expired, Name: name, Version: shortDigest(digest), Bytes: s.bytesOf(digest), By: n.Origin})
		}
		s.mu.Unlock()
		if old != nil && reflect.DeepEqual(old.Versions, next.Versions) {
			return old, nil
		}
		return next, nil
	})
	if err != nil {
		return Info{}, err
	}
	s.mu.RLock()
	info := s.info(next, next.current())
	s.mu.RUnlock()
	if next != old {
		s.reportChange(Change{Action: Added, Name: name, Version: info.Version, Bytes: info.Bytes, By: n.Origin})
		for _, c := range expired {
			s.reportChange(c)
		}
	}
	return info, nil
}

// pointedAt returns a record that points at p, with the versions of r, which may be nil, before it. A version
// that the name has pointed at before keeps its date and whether it is pinned, and its metrics where p has none.
func (r *nameRecord) pointedAt(name string, p pointing) *nameRecord {
	next := &nameRecord{Name: name}
	if r != nil {
		next.Versions = slices.Clone(r.Versions)
	}
	if i := slices.IndexFunc(next.Versions, func(v pointing) bool { return v.Digest == p.Digest }); i >= 0 {
		p.Created, p.Pinned = next.Versions[i].Created, p.Pinned || next.Versions[i].Pinned
		if p.Metrics == nil {
			p.Metrics = next.Versions[i].Metrics
		}
		next.Versions = slices.Delete(next.Versions, i, i+1)
	}
	next.Versions = append(next.Versions, p)
	return next
}

// has reports whether a version is stored and undamaged.
func (s *Store) has(digest string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.versions[digest]
	return v != nil && v.err == nil
}

// place brings the version that was written to dir to its place. s.commit is held.
func (s *Store) place(dir, uploaded string, m *manifest) error {
	there := s.has(m.Digest)
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := s.storage.Place(StoredVersion{Digest: m.Digest, Manifest: data}, dir, uploaded, there); err != nil {
		return err
	}
	if there {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.versions[m.Digest]
	if v == nil {
		v = &version{}
		s.versions[m.Digest] = v
	}
	v.manifest, v.err, v.verified = m, nil, true
	return nil
}

// Delete removes a name and the versions that no other name refers to, also pinned ones. Requests that have selected one
// of them still get it. The error is an UnknownError where there is no such name.
func (s *Store) Delete(name string, by Origin) error {
	s.lifecycle.RLock()
	defer s.lifecycle.RUnlock()
	if s.closed {
		return ErrClosed
	}
	s.commit.Lock()
	defer s.done()
	return s.deleteName(name, by)
}

// deleteName is Delete. s.commit is held.
func (s *Store) deleteName(name string, by Origin) error {
	s.mu.RLock()
	old, ok := s.names[name]
	_, damaged := s.damaged[name]
	_, trained := s.steps[name]
	bytes := s.allBytes(old)
	s.mu.RUnlock()
	if !ok && !damaged && !trained {
		return s.unknown(name)
	}
	remove := func(*nameRecord) (*nameRecord, error) { return &nameRecord{Name: name}, nil }
	if trained {
		if _, _, err := s.rewrite(CheckpointRecords, name, remove); err != nil {
			return err
		}
	}
	if !ok && !damaged {
		s.sweep()
		return nil
	}
	if _, _, err := s.rewrite(NameRecords, name, remove); err != nil {
		return err
	}
	s.sweep()
	s.reportChange(Change{Action: Deleted, Name: name, Bytes: bytes, By: by})
	return nil
}

// sweep removes the versions that no name refers to and no selection holds. s.commit is held, or the Store not
// shared. It does nothing while a damaged name may refer to any of them; what it cannot remove, Open will. A shared
// Storage is only told, and tells when a version is gone.
func (s *Store) sweep() {
	s.mu.Lock()
	var gone []string
	for digest, v := range s.versions {
		if v.refs == 0 && v.holds == 0 && len(s.damaged) == 0 {
			gone = append(gone, digest)
			if !s.storage.Shared() {
				delete(s.versions, digest)
			}
		}
	}
	s.mu.Unlock()
	for _, digest := range gone {
		if err := s.storage.Remove(digest); err != nil {
			s.o.Warn(fmt.Sprintf("adapter store: removing version %s: %v", shortDigest(digest), err))
		}
	}
}
