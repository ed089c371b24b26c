// Package tinker keeps the state of Tinker's API: sessions, the models that clients train in them step by step, the futures that
// answer their calls, sampling sessions, and checkpoints. It knows nothing of HTTP and of protobuf: package server reads
// requests and writes answers.
//
// A model is one runtime.Trainer. Its calls carry numbers and are done in their order by one goroutine, whatever order they
// came in; a number that comes again gets the future that it got the first time. Sessions, models and futures live in
// memory and end with the process. Checkpoints are on the disk: the adapter in the adapters' store, the optimizer's state
// and what is known of it in a folder of this package.
package tinker
