package training

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// This file is how the package writes: whole or not at all, and on the disk before anything is told.

// folder writes files under one folder. Names are relative to it.
type folder struct {
	dir string
	// at is called before each change with what it does. Tests end the process there; nil otherwise.
	at func(op string)
}

// openFolder makes the folder and the named folders in it, and keeps other processes out until the returned file is closed.
func openFolder(dir string, at func(string), names ...string) (folder, *os.File, error) {
	d := folder{dir, at}
	for _, name := range names {
		if err := os.MkdirAll(d.path(name), 0o755); err != nil {
			return d, nil, err
		}
	}
	lock, err := disk.Lock(dir)
	if err != nil {
		return d, nil, err
	}
	return d, lock, d.empty("tmp")
}

func (d folder) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

func (d folder) step(op string) {
	if d.at != nil {
		d.at(op)
	}
}

// empty removes everything in the named folder.
func (d folder) empty(name string) error {
	entries, err := os.ReadDir(d.path(name))
	for _, e := range entries {
		d.step("remove " + e.Name())
		err = errors.Join(err, os.RemoveAll(d.path(name, e.Name())))
	}
	return err
}

// put writes a file under tmp, puts it on the disk, and renames it to its place.
func (d folder) put(name string, write func(io.Writer) error) (err error) {
	tmp := d.path("tmp", strings.ReplaceAll(name, string(filepath.Separator), "-"))
	d.step("write " + name)
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(tmp)
		return err
	}
	return d.rename(tmp, name)
}

// rename moves a finished file or folder to its place, from a path.
func (d folder) rename(from, name string) error {
	d.step("rename " + name)
	if err := os.Rename(from, d.path(name)); err != nil {
		return err
	}
	d.step("renamed " + name)
	return disk.SyncDir(filepath.Dir(d.path(name)))
}

func (d folder) putJSON(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return d.put(name, func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
}

func (d folder) putBytes(name string, data []byte) error {
	return d.put(name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// remove takes a file or folder out of its place, then deletes it.
func (d folder) remove(name string) error {
	tmp := d.path("tmp", "gone-"+newID(""))
	d.step("remove " + name)
	if err := os.Rename(d.path(name), tmp); err != nil {
		return err
	}
	d.step("removed " + name)
	return os.RemoveAll(tmp)
}

func (d folder) readJSON(name string, v any) error {
	data, err := os.ReadFile(d.path(name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

// copyBounded copies at most limit bytes into a new file at path and puts it on the disk. It returns an error
// wrapping ErrTooLarge where there are more.
func copyBounded(path string, r io.Reader, limit int64) (n int64, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if n, err = io.Copy(f, io.LimitReader(r, limit+1)); err != nil {
		return n, err
	}
	if n > limit {
		return n, fmt.Errorf("%w: the file has more than %d bytes", ErrTooLarge, limit)
	}
	return n, f.Sync()
}

// newID returns prefix and 24 random letters and digits.
func newID(prefix string) string {
	return prefix + strings.ToLower(rand.Text()[:24])
}

// isID reports whether id is one that newID made with the prefix. It then is safe as a file's name.
func isID(id, prefix string) bool {
	rest, ok := strings.CutPrefix(id, prefix)
	return ok && len(rest) == 24 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}
