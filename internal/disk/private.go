package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// MakePrivate takes the rights of the group and of other users away from the named entries of dir and from all that is
// in them. It follows no symbolic links and skips what is not there. It returns how many entries it changed, and the
// errors of those that it could not change.
func MakePrivate(dir string, names ...string) (changed int, err error) {
	visit := func(path string, d fs.DirEntry, failed error) error {
		if errors.Is(failed, fs.ErrNotExist) {
			return nil
		}
		if failed != nil {
			err = errors.Join(err, failed)
			return nil
		}
		info, failed := d.Info()
		if failed != nil || !d.IsDir() && !d.Type().IsRegular() || info.Mode().Perm()&0o077 == 0 {
			return nil //nolint:nilerr // it went meanwhile
		}
		if failed := os.Chmod(path, info.Mode().Perm()&0o700); failed != nil {
			err = errors.Join(err, failed)
			return nil
		}
		changed++
		return nil
	}
	for _, name := range names {
		_ = filepath.WalkDir(filepath.Join(dir, name), visit) // visit returns no errors
	}
	return changed, err
}
