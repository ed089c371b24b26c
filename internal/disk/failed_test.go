package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"
)

func TestFailed(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("saving: %w", &fs.PathError{Op: "write", Path: "/secret/job.json", Err: syscall.EIO}), "the server's disk failed: write job.json: input/output error"},
		{&os.LinkError{Op: "rename", Old: "/secret/a", New: "/secret/b", Err: syscall.EROFS}, "the server's disk failed: rename b: read-only file system"},
		{fmt.Errorf("flock: %w", syscall.EIO), "the server's disk failed: input/output error"},
		{&fs.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}, ""},
		{fs.ErrNotExist, ""},
		{nil, ""},
	} {
		got := Failed(c.err)
		if got == nil {
			if c.want != "" {
				t.Errorf("%v is no failure of the disk", c.err)
			}
			continue
		}
		if got.Error() != c.want || !errors.Is(got, c.err) {
			t.Errorf("%v is %q, want %q", c.err, got, c.want)
		}
	}
}
