package adapters

import (
	"time"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
)

// Kinds of Origin.
const (
	FromUpload = "upload" // Detail: the file names
	FromPath   = "path"   // Detail: the path, asked for by a user
	FromFolder = "folder" // Detail: the path, found in a watched folder
	FromSource = "source" // Detail: the source it was fetched from, with its commit
	FromJob    = "job"    // Detail: the id of the training job
	FromMerge  = "merge"  // Merge: what it was made of
	FromTinker = "tinker" // Detail: the path of the checkpoint, tinker://RUN/KIND/NAME

	ByRequest = "request" // of a Change that was asked for: a deletion, a pin
)

// Origin says where an adapter came from.
type Origin struct {
	Kind   string `json:"kind"`
	Detail string `json:"detail,omitempty"`
	// Stamp tells whether the files at Detail have changed since: sizes and times. FromFolder only.
	Stamp string `json:"stamp,omitempty"`
	// Merge says what adapters it was made of. FromMerge only.
	Merge *Recipe `json:"merge,omitempty"`
}

// Note is what the caller of a put says about the adapter.
type Note struct {
	Origin  Origin
	Metrics map[string]float64 // of the training job; nil otherwise
	Pin     bool               // the version is kept however many come after it; of a checkpoint, also when another job begins
}

// Info describes one version of a registered adapter.
type Info struct {
	Name    string
	Version string // the first 12 hexadecimal digits of Digest
	Digest  string
	peft.Summary
	Bytes   int64  // of the stored files
	Base    string // fingerprint of the base it was checked against when it was stored
	Created time.Time
	Origin  Origin
	Metrics map[string]float64
	Use
	Current bool   // the name points at this version
	Label   string // of a checkpoint: "step-100"
	Pinned  bool   // it is kept however many versions come after it
}

// Use is what a Cache knows of a version.
type Use struct {
	Loaded   bool  // it is in memory
	Memory   int64 // bytes that it holds there; 0 where it is not loaded
	Leases   int   // streams that use it, and wait for it
	Requests int64 // requests that have used it since the Cache was made
}

// Damage is a version or a name that Open found unusable. It stays on disk until it is put or deleted again.
type Damage struct {
	What string // "version DIGEST" or "name NAME"
	Err  error
}
