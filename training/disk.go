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
	"syscall"
)

// This file is how the package writes: whole or not at all, and on the disk before anything is told.

// disk writes files under one folder. Names are relative to it.
type disk struct {
	dir string
	// at is called before each change with what it does. Tests end the process there; nil otherwise.
	at func(op string)
}

// openDisk makes the folder and what it holds, and keeps other processes out until the returned file is closed.
func openDisk(dir string, at func(string), folders ...string) (disk, *os.File, error) {
	d := disk{dir, at}
	for _, f := range folders {
		if err := os.MkdirAll(d.path(f), 0o755); err != nil {
			return d, nil, err
		}
	}
	lock, err := os.OpenFile(d.path("lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return d, nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return d, nil, fmt.Errorf("%s is in use by another process: %w", dir, err)
	}
	return d, lock, d.empty("tmp")
}

func (d disk) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

func (d disk) step(op string) {
	if d.at != nil {
		d.at(op)
	}
}

// empty removes all that a folder holds.
func (d disk) empty(folder string) error {
	entries, err := os.ReadDir(d.path(folder))
	for _, e := range entries {
		d.step("remove " + e.Name())
		err = errors.Join(err, os.RemoveAll(d.path(folder, e.Name())))
	}
	return err
}

// put writes a file under tmp, puts it on the disk, and renames it to its place.
func (d disk) put(name string, write func(io.Writer) error) (err error) {
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
func (d disk) rename(from, name string) error {
	d.step("rename " + name)
	if err := os.Rename(from, d.path(name)); err != nil {
		return err
	}
	d.step("renamed " + name)
	return syncDir(filepath.Dir(d.path(name)))
}

func (d disk) putJSON(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return d.put(name, func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
}

func (d disk) putBytes(name string, data []byte) error {
	return d.put(name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// remove takes a file or folder out of its place, then deletes it.
func (d disk) remove(name string) error {
	tmp := d.path("tmp", "gone-"+newID(""))
	d.step("remove " + name)
	if err := os.Rename(d.path(name), tmp); err != nil {
		return err
	}
	d.step("removed " + name)
	return os.RemoveAll(tmp)
}

func (d disk) readJSON(name string, v any) error {
	data, err := os.ReadFile(d.path(name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

// syncDir puts a folder's entries on the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
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
