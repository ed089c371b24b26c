package runtime

import "errors"

// The errors of this package; others are wrapped around them with the details a user may see.
var (
	ErrQueueFull     = errors.New("the request queue is full")
	ErrContextLength = errors.New("the prompt does not fit the context")
	ErrSampling      = errors.New("invalid sampling parameter")
	ErrAdapter       = errors.New("the adapter does not fit the base model")
	ErrTemplate      = errors.New("the chat template cannot be rendered")
	ErrDeadline      = errors.New("the request took longer than its deadline")
	ErrDraining      = errors.New("the server is shutting down")
	ErrNoRoom        = errors.New("the KV cache has no room")
	ErrDecode        = errors.New("decoding failed")
	ErrClosed        = errors.New("closed")
)
