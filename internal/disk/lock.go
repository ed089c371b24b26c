package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrLocked means that another process, or another part of this one, holds the lock.
var ErrLocked = errors.New("in use by another process")

// lockName is the file in a locked folder that carries the lock. It is never removed: removing it would let two
// processes hold locks on two files of one name.
const lockName = "lock"

// pollInterval is the time between two tries of LockWait.
const pollInterval = 100 * time.Millisecond

// Lock takes the exclusive lock of a folder, which must exist. It returns an error that wraps ErrLocked where the lock
// is held. The lock is released when the file is closed and when the process ends, however it ends.
func Lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, NoSpace(err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s is %w", dir, ErrLocked)
	}
	return nil, fmt.Errorf("lock %s: %w", dir, err)
}

// LockWait is Lock, but where the lock is held it calls waiting once and tries again until it gets the lock or ctx
// ends. Then it returns the context's cause.
func LockWait(ctx context.Context, dir string, waiting func()) (*os.File, error) {
	for first := true; ; first = false {
		f, err := Lock(dir)
		if !errors.Is(err, ErrLocked) {
			return f, err
		}
		if first {
			waiting()
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
