package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// Codes of JetStream's errors that the client library has no name for.
const (
	codeReplicasNotSupported = 10074 // several replicas are asked of a single server
	codeMaxBytes             = 10077 // a stream, which this package bounds in bytes, refuses a message
	codeNotAvailable         = 10008 // there is no leader
	codeStorageExceeded      = 10047 // the disk of the server is full, or what it may use of it
)

// apiCode returns the code of an error of JetStream, 0 where it is none.
func apiCode(err error) jetstream.ErrorCode {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode
	}
	return 0
}

// explain turns an error of NATS into one of ours: disk.ErrNoSpace, the end of ctx, or adapters.ErrUnavailable.
func explain(ctx context.Context, err error) error {
	switch code := apiCode(err); {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return context.Cause(ctx)
	case code == codeMaxBytes || code == codeStorageExceeded:
		return fmt.Errorf("%w of the cluster: %w", disk.ErrNoSpace, err)
	case errors.Is(err, adapters.ErrUnavailable):
		return err
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: the record is larger than a message of the cluster may be: %w", adapters.ErrTooLarge, err)
	}
	return fmt.Errorf("%w: %w", adapters.ErrUnavailable, err)
}

// patiently tries again while nobody answers: when a node is lost, its streams choose other leaders, for some seconds. A write
// that was not acknowledged may have been done: what compares revisions then finds its own.
func patiently(ctx context.Context, each time.Duration, try func(context.Context) error) error {
	for {
		limit, cancel := context.WithTimeout(ctx, each)
		err := try(limit)
		late := limit.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil || !late && !unanswered(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryPause):
		}
	}
}

// unanswered reports whether an error means that a stream has no leader at this moment.
func unanswered(err error) bool {
	return apiCode(err) == codeNotAvailable || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout)
}
