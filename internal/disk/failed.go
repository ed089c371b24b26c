package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FailedError means that the disk or its file system failed: an operation on a file ended with an I/O error, or the file
// system can only be read.
type FailedError struct {
	Op   string        // what was done: "write", "sync", "rename"
	File string        // the last element of the file's path, "" where the error does not say
	Why  syscall.Errno // EIO, EROFS, ...
	err  error
}

// Error has no path but the file's name, so that it may be sent to clients.
func (e *FailedError) Error() string {
	if e.File == "" {
		return "the server's disk failed: " + e.Why.Error()
	}
	return fmt.Sprintf("the server's disk failed: %s %s: %v", e.Op, e.File, e.Why)
}

// Unwrap returns the error that it was made of, which has the whole path.
func (e *FailedError) Unwrap() error { return e.err }

// failures are the system's errors that a broken disk causes, and no request.
var failures = []syscall.Errno{syscall.EIO, syscall.EROFS, syscall.ENXIO, syscall.ENODEV, syscall.EUCLEAN, syscall.ESTALE}

// Failed returns the FailedError of an error whose cause is a broken disk, nil for others.
func Failed(err error) *FailedError {
	for _, why := range failures {
		if !errors.Is(err, why) {
			continue
		}
		failed := &FailedError{Why: why, err: err}
		var path *fs.PathError
		var link *os.LinkError
		switch {
		case errors.As(err, &path):
			failed.Op, failed.File = path.Op, filepath.Base(path.Path)
		case errors.As(err, &link):
			failed.Op, failed.File = link.Op, filepath.Base(link.New)
		}
		return failed
	}
	return nil
}
