package adapters

import (
	"context"
	"time"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Options are the Store's settings.
type Options struct {
	Dir      string         // made where it does not exist
	Facts    *runtime.Facts // of the base that adapters are checked against
	MaxBytes int64          // largest adapter that is stored, unpacked; 0: 4 GiB
	Warn     func(string)   // hears what an operator should know (another base, leftovers); may be nil
}

// Store is durable. Every method may be called from any goroutine.
type Store struct{}

func Open(o Options) (*Store, error)                                       { return nil, ErrClosed }
func (s *Store) Close() error                                              { return nil }
func (s *Store) PutUpload(name string, parts []Part, n Note) (Info, error) { return Info{}, ErrClosed }
func (s *Store) PutPath(name, path string, n Note) (Info, error)           { return Info{}, ErrClosed }
func (s *Store) PutLoRA(name string, a *runtime.LoRA, n Note) (Info, error) {
	return Info{}, ErrClosed
}
func (s *Store) List() []Info                         { return nil }
func (s *Store) Get(ref Ref) (Info, error)            { return Info{}, ErrClosed }
func (s *Store) Versions(name string) ([]Info, error) { return nil, ErrClosed }
func (s *Store) Delete(name string) error             { return ErrClosed }
func (s *Store) Damaged() []Damage                    { return nil }

// CacheOptions are the Cache's settings.
type CacheOptions struct {
	Store    *Store
	Budget   int64                                       // bytes of packed adapters
	Pack     func(*runtime.LoRA) (runtime.Packed, error) // runtime.Model.Pack
	Estimate func(Info) int64                            // bytes after packing; nil: 4 per parameter
	Loaders  int                                         // loads at a time; 0: 2
	Observe  func(Load)                                  // hears of every load that ended; may be nil
}

// Load is one load that ended.
type Load struct {
	Digest string
	Bytes  int64
	Took   time.Duration
	Err    error
}

// CacheStats is a snapshot of the Cache.
type CacheStats struct {
	Resident    int   // adapters in memory
	Bytes       int64 // that they hold, loads in progress included
	Budget      int64
	Loads       uint64 // since start
	Failures    uint64 // of the loads
	Evictions   uint64
	LoadSeconds float64 // summed over Loads
	Waiting     int     // acquires that wait for room
}

// Cache lends packed adapters.
type Cache struct{}

func NewCache(o CacheOptions) *Cache                   { return nil }
func (c *Cache) Select(refs []Ref) (*Selection, error) { return nil, ErrClosed }
func (c *Cache) Stats() CacheStats                     { return CacheStats{} }
func (c *Cache) Close() error                          { return nil }

// Selection implements runtime.Adapters. The zero terms are the base.
type Selection struct{}

// SelectedTerm is one adapter of a Selection, as a response names it.
type SelectedTerm struct {
	Name    string
	Version string
	Scale   float32
}

func (s *Selection) Key() string                     { return "" }
func (s *Selection) Flow() string                    { return "" }
func (s *Selection) Label() string                   { return "" } // "pirate@1a2b3c4d5e6f", "" for the base
func (s *Selection) Terms() []SelectedTerm           { return nil }
func (s *Selection) TryAcquire() (runtime.Mix, bool) { return runtime.Mix{}, false }
func (s *Selection) Acquire(ctx context.Context) (runtime.Mix, error) {
	return runtime.Mix{}, ErrClosed
}
func (s *Selection) Release() {} // when the request has ended; twice is safe

var _ runtime.Adapters = (*Selection)(nil)

// FoldersOptions are the settings of Folders.
type FoldersOptions struct {
	Store *Store
	Dirs  []string
	Quiet time.Duration // how long a folder must be left alone before it is read; 0: 300 ms
	Event func(FolderEvent)
}

// FolderEvent is something that happened to an adapter in a watched folder.
type FolderEvent struct {
	Action string // "registered", "unchanged", "removed", "failed"
	Name   string
	Path   string
	Info   Info
	Err    error
}

// Folders watches adapter folders.
type Folders struct{}

func WatchFolders(o FoldersOptions) (*Folders, error)         { return nil, ErrClosed } // scans before it returns
func (f *Folders) ImportPath(name, path string) (Info, error) { return Info{}, ErrPath }
func (f *Folders) Close() error                               { return nil }
