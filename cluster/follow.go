package cluster

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lorikeet-ai/lorikeet/adapters"
)

// This file tells the Store of this node what other nodes change.

// follow tells of what changes until Close. Where the watcher falls behind what is stored, which a broken connection may
// leave it in, it is made anew and tells everything again.
func (a *Adapters) follow(watcher jetstream.KeyWatcher, told uint64) {
	behind := newLag(a, told)
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		again := false
		select {
		case <-a.run.Done():
			_ = watcher.Stop() // the connection is closed soon after
			return
		case entry, open := <-watcher.Updates():
			if again = !open; open && entry != nil {
				behind.told(entry.Revision())
				a.tell(entry)
			}
		case <-ticker.C:
			again = behind.stuck()
		}
		if !again {
			continue
		}
		_ = watcher.Stop() // it is replaced
		next, err := a.records.WatchAll(a.run)
		for err != nil {
			select {
			case <-a.run.Done():
				return
			case <-time.After(watchRetry):
			}
			next, err = a.records.WatchAll(a.run)
		}
		a.node.o.Log.Info().Str("bucket", a.records.Bucket()).Msg("the adapters of the cluster are followed again")
		watcher, behind = next, newLag(a, 0)
	}
}

// lag finds out whether a watcher has stopped telling.
type lag struct {
	a     *Adapters
	last  uint64      // revision told
	reply chan uint64 // the last revision that is stored, of the question under way
	asked bool
	want  uint64 // stored when the last answer came; not told yet
	since time.Time
}

func newLag(a *Adapters, told uint64) *lag {
	l := &lag{a: a, reply: make(chan uint64, 1)}
	l.told(told)
	return l
}

func (l *lag) told(revision uint64) { l.last = max(l.last, revision) }

// stuck reports whether a revision is stored that should have been told long ago. It does not wait: the answer to its
// question is there when it is called again.
func (l *lag) stuck() bool {
	if !l.asked {
		l.asked = true
		l.a.tasks.Go(func() {
			ctx, cancel := context.WithTimeout(l.a.run, requestTime)
			defer cancel()
			stored, err := l.a.lastRevision(ctx)
			if err != nil {
				stored = 0
			}
			l.reply <- stored
		})
		return false
	}
	select {
	case stored := <-l.reply:
		l.asked = false
		if stored > l.last && (l.want == 0 || l.want <= l.last) {
			l.want, l.since = stored, time.Now()
		}
	default:
	}
	return l.want > l.last && time.Since(l.since) > lagTime
}

// tell hands a change to the Store, unless this node has written something newer.
func (a *Adapters) tell(entry jetstream.KeyValueEntry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := entry.Key()
	if entry.Revision() < a.written[key] {
		return
	}
	delete(a.written, key)
	if digest, is := strings.CutPrefix(key, versionPrefix); is {
		a.tellVersion(digest, entry)
		return
	}
	r, ok := recordOf(key)
	if !ok {
		return // of a later version of this program
	}
	if r.Revision = entry.Revision(); entry.Operation() == jetstream.KeyValuePut {
		r.Data = entry.Value()
	}
	a.to.Record(r)
}

// tellVersion is tell of a version. a.mu is held.
func (a *Adapters) tellVersion(digest string, entry jetstream.KeyValueEntry) {
	v := adapters.StoredVersion{Digest: digest}
	delete(a.unused, digest)
	if entry.Operation() != jetstream.KeyValuePut {
		delete(a.versions, digest)
		a.to.Version(v)
		a.tasks.Go(func() { a.local.remove(digest) })
		return
	}
	var r versionRecord
	if v.Err = json.Unmarshal(entry.Value(), &r); v.Err == nil {
		v.Manifest = r.Manifest
		a.versions[digest] = knownVersion{r.placement, entry.Revision(), entry.Created()}
	}
	a.to.Version(v)
}
