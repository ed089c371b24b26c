// Package adapters keeps adapters: it stores them as immutable versions, finds them by name, and lends them, packed,
// to the engine. Package peft below it reads them and checks them against the base, package merge puts them together.
//
// The words used here:
//
//   - adapter: a LoRA that a user knows by a name.
//   - version: one immutable content, named by its digest (sha256). A name points at one version and
//     remembers the ones before it.
//   - registered and resident: every adapter in the Store is registered; those in the Cache's memory are
//     resident. The two sets are apart: 500 registered adapters may share the memory of 8.
//   - storage: where versions and names are kept: a folder, or what several servers share (storage.go).
//   - selection: the weighted sum of versions that one request asked for.
//
// The way of an adapter: an upload or a folder is opened (upload.go, archive.go, scan.go), read and matched with the
// base (package peft), written (put.go, files.go, folder.go), found by name (store.go, selection.go), loaded and packed once
// (load.go, room.go), pinned by a runtime.Mix for as long as a stream uses it (cache.go), and evicted when room is
// needed. It leaves by export.go; merge.go makes one out of others. Weights that are still being trained are lent from
// memory, without being stored (unstored.go).
//
// The package is pure Go. Nothing in it panics or allocates without bound on hostile input.
package adapters
