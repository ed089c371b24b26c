// Package disk holds what every package that writes files needs: replacing a file in one step, making a rename
// durable, keeping other processes out of a folder, and recognising a full disk. It imports no other package of
// the project.
package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// ErrNoSpace means that a write failed, or is bound to fail, because the file system or the user's quota is full.
var ErrNoSpace = errors.New("no space is left on the disk")

// NoSpace returns err wrapped in ErrNoSpace where its cause is a full file system (ENOSPC) or a full quota (EDQUOT).
// It returns every other error, and nil, unchanged. Calling it twice is the same as calling it once.
func NoSpace(err error) error {
	if errors.Is(err, ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNoSpace, err)
}

// CheckSpace returns an error that wraps ErrNoSpace and has both numbers where the file system of dir has fewer than
// need bytes free. Where the file system does not tell, it returns nil, and the write itself shows it.
func CheckSpace(dir string, need int64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return nil
	}
	if free := int64(st.Bavail) * int64(st.Bsize); need > free { //nolint:unconvert // the fields' types differ between architectures
		return fmt.Errorf("%w: %d bytes are needed and the file system of %s has %d free", ErrNoSpace, need, dir, free)
	}
	return nil
}

// SyncDir waits until the entries of a folder are on the disk, so that a rename or a new file in it survives a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// WriteFile replaces the file at path by what write writes. Readers see the whole new file or what was there
// before, also after a crash: the bytes go to a temporary file in the same folder, which is synced and then renamed.
// An error leaves path as it was and no temporary file behind, but for one that says that the new file may not survive a
// power cut: it is in its place, and the folder could not be synced. A killed process may leave the temporary file; its name
// begins with a dot and ends with ".tmp". A full disk is reported as ErrNoSpace.
func WriteFile(path string, perm os.FileMode, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return NoSpace(err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = NoSpace(err)
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(perm), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	if err := SyncDir(dir); err != nil {
		return fmt.Errorf("%s is written, but may not survive a power cut: %w", path, err)
	}
	return nil
}
