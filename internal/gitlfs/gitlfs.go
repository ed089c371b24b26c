// Package gitlfs recognises the small text files that Git LFS leaves in the place of large ones where a repository was
// cloned without it. Their layout is in the specification of Git LFS, docs/spec.md, "The Pointer".
package gitlfs

import (
	"bytes"
	"errors"
	"io"
)

// ErrPointer says what is the matter with such a file and what to do about it.
var ErrPointer = errors.New("this is a Git LFS pointer, which stands for the real file: " +
	`run "git lfs pull" in the repository it was cloned from, or download the file itself`)

const (
	prefix  = "version https://git-lfs"
	maxSize = 1024 // bytes; the specification has pointers below this size
)

// HeadSize is how many bytes of a file Check needs.
const HeadSize = len(prefix)

// Check returns ErrPointer where data, the beginning of a file or all of it, is that of a pointer.
func Check(data []byte) error {
	if bytes.HasPrefix(data, []byte(prefix)) {
		return ErrPointer
	}
	return nil
}

// CheckFile returns ErrPointer where r, of size bytes, is a pointer. Read errors count as no pointer.
func CheckFile(r io.ReaderAt, size int64) error {
	if size < int64(len(prefix)) || size > maxSize {
		return nil
	}
	data := make([]byte, len(prefix))
	if n, _ := r.ReadAt(data, 0); n < len(data) {
		return nil
	}
	return Check(data)
}
