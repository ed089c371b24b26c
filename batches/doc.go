// Package batches answers files of requests: a queue on disk of batches, whose lines are asked one by one, some at once,
// beside the requests of clients. It knows nothing of what the requests are: a function that the server gives it answers
// them.
//
// The words used here:
//
//   - batch: a file of requests, one in each line, for one endpoint, and what has become of it.
//   - line: one request of the file. It has a custom_id, which is unique in its batch.
//   - result: what a line was answered with, one line of the output file, or of the error file where the status was no
//     success or the line was not asked in time.
//
// A result is on the disk before it is counted, and written once: after a crash the lines without a result are asked
// again, and only those. A batch at which the server ends again and again without a result in between fails.
package batches

import "errors"

// The errors of this package; others are wrapped around them with the details.
var (
	ErrUnknown  = errors.New("there is no such batch")
	ErrState    = errors.New("the batch has ended")
	ErrTooMany  = errors.New("there are as many batches as are kept, and none of them has ended")
	ErrTooLarge = errors.New("the file of requests is too large")
	ErrClosed   = errors.New("the batches are closed")
	ErrDamaged  = errors.New("the batch is damaged")
)
