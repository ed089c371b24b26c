// Package training makes adapters: it turns datasets into tokens, keeps a queue of jobs on disk, and trains one
// job at a time on the resident weights while the engine serves.
//
// The words used here, besides those of package dataset, which turns a file of training data into examples:
//
//   - step: one update of the weights, on per_device_train_batch_size * gradient_accumulation_steps units. They
//     are computed in micro-batches.
//   - job: one run that makes one adapter. Its folder holds all that is needed to go on after a kill.
//   - checkpoint: the state of a run on disk, and the adapter as it stood, which is served as "name@step-100".
//
// The life of a job: Queue.Create checks the request and copies the dataset (validating_files); the preparer, a
// goroutine, turns it into examples (queued); the worker, another, runs it (running): it makes a Trainer, plans
// each step, runs its slices through Options.Work between the engine's decodes, reports events, and saves
// checkpoints; at the end it publishes the adapter and its name moves (succeeded). Every change of state is
// durable before it is reported. A job that was running when the process ended is queued again by Open, goes on from
// its last checkpoint, and ends with the adapter that it would have had.
//
// What a run does next depends on its examples, its configuration and its step alone, never on a clock or on
// how often it was interrupted: order, packing, rates and splits are pure functions.
//
// The package is pure Go. It renders conversations with the chat.Template that serves.
package training
