package training

import (
	"bufio"
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

// This file has the package's writes to disk. A file is written whole or not at all, and is durable before any call
// returns or event reports it.

// folder writes files under one folder. Names are relative to it.
type folder struct {
	dir string
	// at is called before each change with what it does, and its error is that of the change. Tests end the process or have
	// the disk fail there; nil otherwise.
	at func(op string) error
}

// openFolder makes the folder and the named folders in it, and keeps other processes out until the returned file is closed.
func openFolder(dir string, at func(string) error, names ...string) (folder, *os.File, error) {
	d := folder{dir, at}
	for _, name := range names {
		if err := os.MkdirAll(d.path(name), 0o700); err != nil {
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

func (d folder) step(op string) error {
	if d.at == nil {
		return nil
	}
	return d.at(op)
}

// empty removes everything in the named folder.
func (d folder) empty(name string) error {
	entries, err := os.ReadDir(d.path(name))
	for _, e := range entries {
		err = errors.Join(err, d.step("remove "+e.Name()), os.RemoveAll(d.path(name, e.Name())))
	}
	return err
}

// put writes a file under tmp, puts it on the disk, and renames it to its place. After an error the place has the old file
// or the whole new one, and nothing is left under tmp. A full disk is reported as disk.ErrNoSpace.
func (d folder) put(name string, write func(io.Writer) error) (err error) {
	defer func() { err = disk.NoSpace(err) }()
	tmp := d.path("tmp", strings.ReplaceAll(name, string(filepath.Separator), "-"))
	if err := d.step("write " + name); err != nil {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	buf := bufio.NewWriter(f)
	if err = write(buf); err == nil {
		err = buf.Flush()
	}
	if err == nil {
		err = d.step("written " + name)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.rename(tmp, name)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// mkdir makes a new folder at a path.
func (d folder) mkdir(path string) error {
	err := d.step("mkdir " + filepath.Base(path))
	if err == nil {
		err = os.Mkdir(path, 0o700)
	}
	return disk.NoSpace(err)
}

// rename moves a finished file or folder to its place, from a path. After an error it may be in its place.
func (d folder) rename(from, name string) error {
	err := d.step("rename " + name)
	if err == nil {
		err = os.Rename(from, d.path(name))
	}
	if err == nil {
		err = d.step("renamed " + name)
	}
	if err == nil {
		err = disk.SyncDir(filepath.Dir(d.path(name)))
	}
	return disk.NoSpace(err)
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

// enter is rename for a new folder, which after an error is gone.
func (d folder) enter(from, name string) error {
	err := d.rename(from, name)
	if err != nil {
		err = errors.Join(err, os.RemoveAll(d.path(name)))
	}
	return err
}

// remove takes a file or folder out of its place, then deletes it.
func (d folder) remove(name string) error {
	tmp := d.path("tmp", "gone-"+newID(""))
	err := d.step("remove " + name)
	if err == nil {
		err = os.Rename(d.path(name), tmp)
	}
	if err == nil {
		err = d.step("removed " + name)
	}
	if err == nil {
		err = os.RemoveAll(tmp)
	}
	return disk.NoSpace(err)
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
// wrapping ErrTooLarge where there are more, and disk.ErrNoSpace where the disk is full.
func copyBounded(path string, r io.Reader, limit int64) (n int64, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, disk.NoSpace(err)
	}
	defer func() { err = disk.NoSpace(errors.Join(err, f.Close())) }()
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
