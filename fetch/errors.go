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
	ErrUnreachable = errors.New("the remote server does not answer as it should")
	ErrBusy        = errors.New("the remote server asks for fewer requests")
	ErrOffline     = errors.New("not on this disk, and HF_HUB_OFFLINE is set")
)

// retryableError is an error that may not occur again when the request is repeated.
type retryableError struct {
	error
	after time.Duration // how long the server asks to wait
}

func (t *retryableError) Unwrap() error { return t.error }

// retryable marks err as one after which the request is repeated.
func retryable(err error) error { return &retryableError{error: err} }

// retryDelay returns whether the request should be repeated after err, and how long the server asks to wait before.
func retryDelay(err error) (time.Duration, bool) {
	var t *retryableError
	if !errors.As(err, &t) || t.after > maxRetryAfter {
		return 0, false
	}
	return t.after, true
}

// withoutURL returns the cause of an error of net/http without the address, whose query may be a signature.
func withoutURL(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
