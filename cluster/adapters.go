package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/singleflight"

	"github.com/lorikeet-ai/lorikeet/adapters"
)

// AdapterOptions are the settings of Adapters.
type AdapterOptions struct {
	Dir        string // of this node's copies of versions; made where it does not exist, and nothing else may be in it
	LocalBytes int64  // that the copies may have; those used last stay
	// Grace is how long a version stays after no node has a name for it: longer than any request that may still load it.
	Grace time.Duration
}

const (
	recordHistory  = 8                      // revisions of a record that JetStream keeps
	conflictPause  = 10 * time.Millisecond  // before a record that another node has written is read
	watchRetry     = 500 * time.Millisecond // between attempts to follow the records again
	lagTime        = 4 * time.Second        // for what is stored to be told
	versionPrefix  = "versions."
	leastFetchRate = 1 << 20 // bytes in a second that moving a version may be slow down to
)

// Adapters keeps adapters in the cluster's buckets. It implements adapters.Storage. Versions are objects, which this node
// has copies of; their manifests and the records are in a key-value bucket, which every node follows.
type Adapters struct {
	node    *Node
	o       AdapterOptions
	records jetstream.KeyValue
	objects jetstream.ObjectStore
	local   *localVersions
	flights singleflight.Group
	to      adapters.Follower

	run   context.Context // ends when Close begins
	stop  context.CancelFunc
	tasks sync.WaitGroup

	mu       sync.Mutex
	versions map[string]knownVersion // by digest: those that are stored
	written  map[string]uint64       // by key: revisions that this node has written and not yet been told of
	unused   map[string]time.Time    // by digest: since when this node's Store has had no use for it

	stats struct {
		fetches, failures, bytes, conflicts atomic.Uint64
		nanoseconds                         atomic.Int64
	}
}

var _ adapters.Storage = (*Adapters)(nil)

// placement says where the files of a version are: in so many objects, whose names begin with Object.
type placement struct {
	Object string `json:"object"`
	Parts  int    `json:"parts"`
	Bytes  int64  `json:"bytes"`
}

// versionRecord is the value of a version's key.
type versionRecord struct {
	placement
	Manifest json.RawMessage `json:"manifest"`
}

// knownVersion is a version as it was last told of.
type knownVersion struct {
	placement
	revision uint64
	written  time.Time // by the server's clock
}

// Adapters returns the storage of the node's prefix, which the node must have joined. The Store that is given it opens and
// closes it.
func (n *Node) Adapters(ctx context.Context, o AdapterOptions) (*Adapters, error) {
	ctx, cancel := context.WithTimeout(ctx, n.o.Wait)
	defer cancel()
	a := &Adapters{node: n, o: o, versions: make(map[string]knownVersion), written: make(map[string]uint64), unused: make(map[string]time.Time)}
	var err error
	records := max(n.o.MaxBytes/recordBytes, 1<<20)
	if a.records, err = n.keyValue(ctx, "adapters", recordHistory, records); err != nil {
		return nil, err
	}
	if a.objects, err = n.objects(ctx, "versions", max(n.o.MaxBytes-records, 1<<20)); err != nil {
		return nil, err
	}
	if a.local, err = openLocal(o.Dir, o.LocalBytes); err != nil {
		return nil, err
	}
	a.run, a.stop = context.WithCancel(context.Background())
	return a, nil
}

// Shared implements adapters.Storage.
func (a *Adapters) Shared() bool { return true }

// Open implements adapters.Storage.
func (a *Adapters) Open(to adapters.Follower) error {
	a.to = to
	ctx, cancel := context.WithTimeout(a.run, a.node.o.Wait)
	defer cancel()
	var watcher jetstream.KeyWatcher
	var stored uint64 // the last revision, which the replica that tells may not have yet
	err := a.node.until(ctx, "following "+a.records.Bucket(), func(ctx context.Context) (err error) {
		if stored, err = a.lastRevision(ctx); err == nil {
			watcher, err = a.records.WatchAll(a.run)
		}
		return err
	})
	if err != nil {
		return err
	}
	var told uint64
	for listed := false; !listed || told < stored; {
		select {
		case entry, open := <-watcher.Updates():
			switch {
			case !open:
				return fmt.Errorf("%w: following %s ended", adapters.ErrUnavailable, a.records.Bucket())
			case entry == nil:
				listed = true
			default:
				told = max(told, entry.Revision())
				a.tell(entry)
			}
		case <-ctx.Done():
			return fmt.Errorf("%w: reading %s took longer than %s: revision %d of %d was read", adapters.ErrUnavailable, a.records.Bucket(), a.node.o.Wait, told, stored)
		}
	}
	a.tasks.Go(func() { a.follow(watcher, told) })
	a.tasks.Go(a.collect)
	return nil
}

// lastRevision returns the last revision that a majority has. The bucket's last message is never removed.
func (a *Adapters) lastRevision(ctx context.Context) (uint64, error) {
	stream, err := a.node.js.Stream(ctx, "KV_"+a.records.Bucket())
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// Close implements adapters.Storage.
func (a *Adapters) Close() error {
	a.stop()
	a.tasks.Wait()
	return nil
}

// keyOf is where a record is. A key is divided by dots and may not end in one, so a name's dots are written otherwise.
func keyOf(r adapters.Record) string {
	return string(r.Kind) + "." + strings.ReplaceAll(r.Name, ".", "=")
}

// recordOf is the inverse of keyOf, without what the record holds.
func recordOf(key string) (r adapters.Record, ok bool) {
	kind, name, ok := strings.Cut(key, ".")
	r = adapters.Record{Kind: adapters.RecordKind(kind), Name: strings.ReplaceAll(name, "=", ".")}
	return r, ok && (r.Kind == adapters.NameRecords || r.Kind == adapters.CheckpointRecords)
}

// Write implements adapters.Storage.
func (a *Adapters) Write(r adapters.Record) (uint64, error) {
	if err := a.node.lost(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.node.writeTime())
	defer cancel()
	key := keyOf(r)
	var revision uint64
	err := patiently(ctx, requestTime, func(ctx context.Context) (err error) {
		switch {
		case r.Data == nil:
			revision = r.Revision + 1 // at least: nothing older counts from now on
			return a.records.Delete(ctx, key, jetstream.LastRevision(r.Revision))
		case r.Revision == 0:
			revision, err = a.records.Create(ctx, key, r.Data)
		default:
			revision, err = a.records.Update(ctx, key, r.Data, r.Revision)
		}
		return err
	})
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		a.stats.conflicts.Add(1)
		return 0, a.conflict(ctx, r)
	}
	if err != nil {
		return 0, explain(ctx, err)
	}
	a.wrote(key, revision)
	return revision, nil
}

// wrote notes that older revisions of a key are not told any more.
func (a *Adapters) wrote(key string, revision uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.written[key] = max(a.written[key], revision)
}

// get returns what a key has.
func (a *Adapters) get(ctx context.Context, key string) (entry jetstream.KeyValueEntry, err error) {
	err = patiently(ctx, requestTime, func(ctx context.Context) (err error) {
		entry, err = a.records.Get(ctx, key)
		return err
	})
	return entry, err
}

// conflict returns the ConflictError of a record, as it is now.
func (a *Adapters) conflict(ctx context.Context, r adapters.Record) error {
	time.Sleep(conflictPause) // a replica that answers may be behind
	entry, err := a.get(ctx, keyOf(r))
	switch {
	case err == nil:
		r.Data, r.Revision = entry.Value(), entry.Revision()
	case errors.Is(err, jetstream.ErrKeyNotFound): // also where it was deleted
		r.Data = nil
	default:
		return explain(ctx, err)
	}
	return &adapters.ConflictError{Current: r}
}

// Remove implements adapters.Storage: the version is removed when no node has had a use for it for a time.
func (a *Adapters) Remove(digest string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, noted := a.unused[digest]; !noted {
		a.unused[digest] = time.Now()
	}
	return nil
}

// AdapterStats is a snapshot of what this node's copies of versions cost.
type AdapterStats struct {
	Local        int   // versions of which this node has a copy
	LocalBytes   int64 // that the copies have
	LocalBudget  int64
	Fetches      uint64 // copies made, since the start
	Failures     uint64 // fetches that failed
	FetchedBytes uint64
	FetchSeconds float64 // summed over Fetches
	Conflicts    uint64  // writes that were made anew because another node was faster
}

// Stats returns a snapshot.
func (a *Adapters) Stats() AdapterStats {
	s := a.local.stats()
	s.Fetches, s.Failures = a.stats.fetches.Load(), a.stats.failures.Load()
	s.FetchedBytes, s.Conflicts = a.stats.bytes.Load(), a.stats.conflicts.Load()
	s.FetchSeconds = time.Duration(a.stats.nanoseconds.Load()).Seconds()
	return s
}
