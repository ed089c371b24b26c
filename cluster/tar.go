package cluster

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lorikeet-ai/lorikeet/adapters"
)

// This file writes the files of a version one behind the other, as a tar, and reads them again.

const maxFiles = 8 // of a version

// sizeOf sums the files of a folder.
func sizeOf(dir string) (sum int64, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return 0, err
		}
		sum += info.Size()
	}
	return sum, err
}

// writeTar writes the files of a folder.
func writeTar(w io.Writer, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, e := range entries {
		if err := writeFile(t, filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return t.Close()
}

func writeFile(t *tar.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: info.Name(), Size: info.Size(), Mode: 0o600}); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}

// readTar writes the files of a tar into a folder. Their names stay in it, and they have so many bytes at most.
func readTar(r io.Reader, dir string, size int64) error {
	t := tar.NewReader(r)
	for files := 0; ; files++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if size -= h.Size; size < 0 || files == maxFiles || h.Typeflag != tar.TypeReg || !fs.ValidPath(h.Name) || h.Name == "." || filepath.Base(h.Name) != h.Name {
			return fmt.Errorf("%w: file %q does not belong to a version", adapters.ErrDamaged, h.Name)
		}
		if err := extract(t, filepath.Join(dir, h.Name)); err != nil {
			return err
		}
	}
}

func extract(from io.Reader, to string) error {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}
