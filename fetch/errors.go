package fetch

import (
	"context"
	"errors"
	"net/url"
	"time"
)

// The errors of this package; others are wrapped around them with the details a user may see: sources, files,
// hosts and numbers, no secrets and no signed addresses.
var (
	ErrSource      = errors.New("not a source")
	ErrNotFound    = errors.New("the source does not exist")
	ErrDenied      = errors.New("the source may not be read")
	ErrContent     = errors.New("the source does not hold what is asked for")
	ErrTooLarge    = errors.New("the source is too large")
	ErrChecksum    = errors.New("the checksum does not match")
	ErrCut         = errors.New("the transfer was cut off")
	ErrUnreachable = errors.New("the other end does not answer")
	ErrBusy        = errors.New("the other end wants fewer requests")
	ErrOffline     = errors.New("not on this disk, and HF_HUB_OFFLINE is set")
)

// temporary is an error that another try may not have.
type temporary struct {
	error
	after time.Duration // what the other end asks to wait
}

func (t *temporary) Unwrap() error { return t.error }

// again marks err as worth another try.
func again(err error) error { return &temporary{error: err} }

// waitFor says whether another try is worth its while, and how long the other end asks to wait before it.
func waitFor(err error) (time.Duration, bool) {
	var t *temporary
	if !errors.As(err, &t) || t.after > patience {
		return 0, false
	}
	return t.after, true
}

// plain returns the cause of an error of net/http without the address, whose query may be a signature.
func plain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
