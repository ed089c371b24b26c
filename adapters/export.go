package adapters

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Format is a form that an adapter can leave in.
type Format string

// The formats: a .zip of PEFT's two files, and llama.cpp's adapter file.
const (
	PEFT Format = "peft"
	GGUF Format = "gguf"
)

// CheckFormat returns an ErrFormat that names what formats there are.
func CheckFormat(f Format) error {
	if f != PEFT && f != GGUF {
		return fmt.Errorf("%w: format %q: %s and %s are written", peft.ErrFormat, f, PEFT, GGUF)
	}
	return nil
}

// Ext is the ending of the format's file names.
func (f Format) Ext() string {
	if f == PEFT {
		return ".zip"
	}
	return ".gguf"
}

// Export is an exported adapter: a whole file, read from its start, which is removed when it is closed.
type Export struct {
	*os.File
	Info  Info
	Size  int64
	Notes []string // what the format cannot say as it is, and how it was said

	share *disk.Share
}

// Close closes the file, which ends it. It may be called twice; the second call returns an error.
func (e *Export) Close() error {
	err := e.File.Close()
	if err == nil {
		e.share.Release()
	}
	return err
}

// exportRoom is what a file in either format has at most beside the values.
const exportRoom = 1 << 20

// Export writes a version in a format. The error wraps peft.ErrUnsupported, with the name of what it is, where the
// adapter holds something that the format has no place for, disk.ErrBusy where other exports that are still open hold
// as much as all of them may, disk.ErrNoSpace, or is the cause of ctx. The caller closes the file.
func (s *Store) Export(ctx context.Context, ref Ref, format Format) (_ *Export, err error) {
	defer func() { err = disk.NoSpace(err) }()
	if err := CheckFormat(format); err != nil {
		return nil, err
	}
	s.lifecycle.RLock()
	defer s.lifecycle.RUnlock()
	if s.closed {
		return nil, ErrClosed
	}
	info, err := s.take(ref)
	if err != nil {
		return nil, err
	}
	defer s.drop(info.Digest)
	e := &Export{Info: info, share: s.exports.Share()}
	if err := e.share.Take(min(max(info.Bytes, 4*info.Parameters)+exportRoom, workFactor*s.o.MaxBytes)); err != nil {
		return nil, err
	}
	if e.File, err = s.fs.CreateTemp(s.path("tmp"), "export-"); err != nil {
		e.share.Release()
		return nil, err
	}
	if err = os.Remove(e.Name()); err == nil { // the open file stays
		e.Notes, err = s.export(&countingWriter{ctx: ctx, fs: s.fs, f: e.File}, info, format)
	}
	if err == nil {
		e.Size, err = e.Seek(0, io.SeekCurrent)
	}
	if err == nil {
		_, err = e.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// export writes a version that is held to w.
func (s *Store) export(w io.Writer, info Info, format Format) (notes []string, err error) {
	if format == PEFT {
		_, dir, release, err := s.verified(info.Digest)
		if err != nil {
			return nil, err
		}
		defer release()
		return nil, zipPEFT(w, dir)
	}
	a, err := s.fit(info.Digest)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return a.WriteGGUF(w, s.o.Facts, info.Name, info.Digest)
}

// zipPEFT writes the files of the stored version in dir as an archive, not compressed: weights do not
// shrink. The tensors are the stored ones, byte by byte. Equal versions give equal bytes.
func zipPEFT(w io.Writer, dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, peft.ConfigFile))
	if err != nil {
		return err
	}
	configJSON, err := peft.CompleteConfig(raw)
	if err != nil {
		return err
	}
	z := zip.NewWriter(w)
	add := func(name string) (io.Writer, error) {
		return z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
	}
	out, err := add(peft.ConfigFile)
	if err != nil {
		return err
	}
	if _, err := out.Write(configJSON); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(dir, peft.TensorsFile))
	if err != nil {
		return err
	}
	defer f.Close()
	if out, err = add(peft.TensorsFile); err != nil {
		return err
	}
	if _, err := io.Copy(out, f); err != nil {
		return err
	}
	for _, name := range templateFiles(dir) {
		template, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if name == ToolTemplateFile {
			name = path.Join(templateFolder, name)
		}
		if out, err = add(name); err != nil {
			return err
		}
		if _, err := out.Write(template); err != nil {
			return err
		}
	}
	return z.Close()
}

// ExportStored writes an adapter of a Store's folder to w, also while a server has it open. base is needed for
// GGUF alone: the facts of the model that the adapter is for. Errors are those of Store.Export.
func ExportStored(w io.Writer, dir string, ref Ref, format Format, base *runtime.Facts) (Info, []string, error) {
	if err := CheckFormat(format); err != nil {
		return Info{}, nil, err
	}
	info, folder, err := FindStored(dir, ref)
	if err != nil {
		return Info{}, nil, err
	}
	got, err := DigestOf(folder)
	if err != nil {
		return info, nil, err
	}
	if got != info.Digest {
		return info, nil, fmt.Errorf("%w: version %s: its content has the digest %s", ErrDamaged, info.Digest, got)
	}
	if format == PEFT {
		return info, nil, zipPEFT(w, folder)
	}
	a, err := OpenPath(base, folder)
	if err != nil {
		return info, nil, err
	}
	defer a.Close()
	notes, err := a.WriteGGUF(w, base, info.Name, info.Digest)
	return info, notes, err
}
