package fetch

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// transfer is a running download of a file.
type transfer struct {
	body   io.ReadCloser
	offset int64  // in the file, of the first byte of body
	tag    string // strong ETag of this content, which the opener is given when the download is resumed; "": none
}

// opener begins a transfer at offset. It begins at 0 where the server cannot send ranges, or where the content no longer
// has the ETag tag. The transfer ends with ctx.
type opener func(ctx context.Context, offset int64, tag string) (*transfer, error)

// errRange is the error of an opener where the server has no bytes at offset.
var errRange = errors.New("there is nothing at this offset")

// minProgress is how many bytes a try must receive to count as progress, which resets the number of failures.
const minProgress = 1 << 20

// download downloads a file's bytes to the file at part, which may hold the first of them from an earlier attempt, and
// checks them. Where it fails, part keeps the bytes that can be used by the next attempt; bytes with a wrong checksum are
// removed. The caller makes sure that nobody else writes to part, and renames it afterwards.
func (f *Fetcher) download(ctx context.Context, want content, part string, open opener) (err error) {
	s, err := openSink(part, want, f.o.Progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return f.retry(ctx, f.o.Tries, func() (bool, error) {
		before := s.size
		err := s.fill(ctx, open, f.o.Stall)
		return s.size-before >= minProgress, err
	})
}

// sink writes a file as it is received and computes its checksum.
type sink struct {
	want       content
	path       string
	file       *os.File
	sum        hash.Hash
	size       int64 // bytes in file, all of them in sum
	transfers  int   // that the bytes came in
	mismatches int   // times that the checksum did not match
	tag        string
	progress   func(string, int64, int64)
	reported   time.Time // when progress was last reported
}

// openSink opens the file at path and computes the checksum of what it holds.
func openSink(path string, want content, progress func(string, int64, int64)) (*sink, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, disk.NoSpace(err)
	}
	s := &sink{want: want, path: path, file: file, sum: want.sum.hash(want.size), progress: progress}
	if s.size, err = io.Copy(s.sum, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if s.size > 0 {
		s.transfers = 1
	}
	tag, err := os.ReadFile(s.tagPath())
	if err == nil {
		s.tag = string(tag)
	}
	if s.size > want.size {
		err = s.restart()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, file.Close())
	}
	return s, nil
}

func (s *sink) tagPath() string { return s.path + ".tag" }

// restart removes the bytes that were received.
func (s *sink) restart() error {
	s.size, s.transfers, s.tag, s.sum = 0, 0, "", s.want.sum.hash(s.want.size)
	if err := s.file.Truncate(0); err != nil {
		return disk.NoSpace(err)
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return err
}

// fill receives the missing bytes and checks the whole file.
func (s *sink) fill(ctx context.Context, open opener, stall time.Duration) error {
	if s.size < s.want.size {
		if err := s.receive(ctx, open, stall); err != nil {
			return err
		}
	}
	if err := s.want.check(s.sum); err != nil {
		transfers := s.transfers
		if e := s.restart(); e != nil {
			return e
		}
		// The file may have changed between two transfers, so another try is worthwhile. What came in one transfer is
		// what the server has.
		if s.mismatches++; transfers > 1 && s.mismatches == 1 {
			return retryable(err)
		}
		return err
	}
	s.progress(s.want.name, s.size, s.want.size)
	return disk.NoSpace(s.file.Sync())
}

// receive resumes the download.
func (s *sink) receive(parent context.Context, open opener, stall time.Duration) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(context.Canceled)
	t, err := open(ctx, s.size, s.tag)
	if errors.Is(err, errRange) {
		if e := s.restart(); e != nil {
			return e
		}
	}
	if err != nil {
		return err
	}
	body := newStallReader(t.body, stall, cancel)
	defer body.Close()
	if err := s.begin(t); err != nil {
		return err
	}
	_, err = io.CopyBuffer(s, body, make([]byte, 256<<10))
	var own *sinkError
	switch {
	case errors.As(err, &own):
		return own.error
	case parent.Err() != nil:
		return context.Cause(parent)
	case err != nil:
		return retryable(fmt.Errorf("%w: %s, after %d of %d bytes: %w", ErrCut, s.want.name, s.size, s.want.size, withoutURL(ctx, err)))
	case s.size < s.want.size:
		return retryable(fmt.Errorf("%w: %s, after %d of %d bytes", ErrCut, s.want.name, s.size, s.want.size))
	}
	return nil
}

// begin prepares the file for the bytes of t.
func (s *sink) begin(t *transfer) error {
	if t.offset != s.size {
		if t.offset != 0 {
			return retryable(fmt.Errorf("%w: %s: bytes from %d came where those from %d were asked for", ErrCut, s.want.name, t.offset, s.size))
		}
		if err := s.restart(); err != nil {
			return err
		}
	}
	s.transfers++
	if t.tag == s.tag {
		return nil
	}
	s.tag = t.tag
	return disk.NoSpace(os.WriteFile(s.tagPath(), []byte(t.tag), 0o600))
}

// sinkError marks errors of writing, so that they are not taken for errors of the connection.
type sinkError struct{ error }

// Write appends bytes to the file. It is called by io.Copy.
func (s *sink) Write(b []byte) (int, error) {
	if s.size+int64(len(b)) > s.want.size {
		return 0, &sinkError{fmt.Errorf("%w: %s has more than its %d bytes", ErrChecksum, s.want.name, s.want.size)}
	}
	n, err := s.file.Write(b)
	s.sum.Write(b[:n])
	s.size += int64(n)
	if err != nil {
		return n, &sinkError{disk.NoSpace(err)}
	}
	if now := time.Now(); now.Sub(s.reported) > 100*time.Millisecond {
		s.reported = now
		s.progress(s.want.name, s.size, s.want.size)
	}
	return n, nil
}

// close closes the file, and removes it where nothing was received.
func (s *sink) close() error {
	err := s.file.Close()
	if s.size == 0 && s.want.size > 0 {
		err = errors.Join(err, os.Remove(s.path))
	}
	if s.size == 0 || s.size == s.want.size {
		if e := os.Remove(s.tagPath()); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
