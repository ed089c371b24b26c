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

// transfer is a file on its way here.
type transfer struct {
	body   io.ReadCloser
	offset int64  // in the file, of the first byte of body
	tag    string // strong mark of this content, to be given to the opener that goes on; "": none
}

// opener begins a transfer at offset, or at 0 where the other end cannot or where the content is no longer the one
// that tag marks. The transfer ends with ctx.
type opener func(ctx context.Context, offset int64, tag string) (*transfer, error)

// errRange is an opener's answer where the other end has no bytes at offset.
var errRange = errors.New("there is nothing at this offset")

// enough is how many bytes a try must bring to count as getting further.
const enough = 1 << 20

// download brings a file's bytes to the file at part, which may hold the beginning of them from an earlier time,
// and checks them. Where it fails, part keeps what is good for the next time; bytes that turn out wrong are
// dropped. The caller sees to it that nobody else writes to part, and moves it to its name.
func (f *Fetcher) download(ctx context.Context, want content, part string, open opener) (err error) {
	s, err := openSink(part, want, f.o.Progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return f.retry(ctx, f.o.Tries, func() (bool, error) {
		before := s.size
		err := s.fill(ctx, open, f.o.Stall)
		return s.size-before >= enough, err
	})
}

// sink receives a file and sums it up as it comes.
type sink struct {
	want     content
	path     string
	file     *os.File
	sum      hash.Hash
	size     int64 // bytes in file, all of them in sum
	pieces   int   // transfers that they came in
	wrong    int   // times that the sum did not match
	tag      string
	progress func(string, int64, int64)
	told     time.Time // of progress
}

// openSink opens the file at path and sums up what it holds.
func openSink(path string, want content, progress func(string, int64, int64)) (*sink, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, disk.NoSpace(err)
	}
	s := &sink{want: want, path: path, file: file, sum: want.sum.hash(want.size), progress: progress}
	if s.size, err = io.Copy(s.sum, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if s.size > 0 {
		s.pieces = 1
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

// restart drops what came.
func (s *sink) restart() error {
	s.size, s.pieces, s.tag, s.sum = 0, 0, "", s.want.sum.hash(s.want.size)
	if err := s.file.Truncate(0); err != nil {
		return disk.NoSpace(err)
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return err
}

// fill receives what is missing and checks the whole.
func (s *sink) fill(ctx context.Context, open opener, stall time.Duration) error {
	if s.size < s.want.size {
		if err := s.receive(ctx, open, stall); err != nil {
			return err
		}
	}
	if err := s.want.check(s.sum); err != nil {
		pieces := s.pieces
		if e := s.restart(); e != nil {
			return e
		}
		// Pieces may be of different times. What came in one is what the other end has.
		if s.wrong++; pieces > 1 && s.wrong == 1 {
			return again(err)
		}
		return err
	}
	s.progress(s.want.name, s.size, s.want.size)
	return disk.NoSpace(s.file.Sync())
}

// receive goes on with the transfer.
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
	body := newPatient(t.body, stall, cancel)
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
		return again(fmt.Errorf("%w: %s, after %d of %d bytes: %w", ErrCut, s.want.name, s.size, s.want.size, plain(ctx, err)))
	case s.size < s.want.size:
		return again(fmt.Errorf("%w: %s, after %d of %d bytes", ErrCut, s.want.name, s.size, s.want.size))
	}
	return nil
}

// begin makes ready for the bytes of t.
func (s *sink) begin(t *transfer) error {
	if t.offset != s.size {
		if t.offset != 0 {
			return again(fmt.Errorf("%w: %s: bytes from %d came where those from %d were asked for", ErrCut, s.want.name, t.offset, s.size))
		}
		if err := s.restart(); err != nil {
			return err
		}
	}
	s.pieces++
	if t.tag == s.tag {
		return nil
	}
	s.tag = t.tag
	return disk.NoSpace(os.WriteFile(s.tagPath(), []byte(t.tag), 0o644))
}

// sinkError tells errors of the receiving end from those of the sending one.
type sinkError struct{ error }

// Write keeps bytes of the file. It is for io.Copy.
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
	if now := time.Now(); now.Sub(s.told) > 100*time.Millisecond {
		s.told = now
		s.progress(s.want.name, s.size, s.want.size)
	}
	return n, nil
}

// close closes the file; without its bytes it goes.
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
