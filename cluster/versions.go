package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/lorikeet-ai/lorikeet/adapters"
	"github.com/lorikeet-ai/lorikeet/internal/disk"
)

// This file moves the files of versions: into objects, and from objects into this node's copies. The files go one behind
// the other, as a tar, into objects of partBytes at most: what is on its way to the server and not yet acknowledged is
// bounded by that, and what is not acknowledged in time, because a stream chose another leader meanwhile, is sent again.

const (
	partBytes  = 8 << 20
	partTime   = 10 * time.Second // for an object to be there, until it is tried again
	chunkBytes = 256 << 10        // of a message
)

// writeTime bounds how long a record may take to be on a majority, which may have to choose another leader first.
func (n *Node) writeTime() time.Duration { return 2 * n.o.Patience }

// moveTime bounds how long moving so many bytes may take.
func (n *Node) moveTime(size int64) time.Duration {
	return n.writeTime() + time.Duration(size/leastFetchRate)*time.Second
}

// Upload implements adapters.Storage.
func (a *Adapters) Upload(ctx context.Context, digest, dir string, there bool) (string, error) {
	a.mu.Lock()
	_, known := a.versions[digest]
	a.mu.Unlock()
	if there && known {
		return "", nil
	}
	return a.upload(ctx, digest, dir)
}

func (a *Adapters) upload(ctx context.Context, digest, dir string) (string, error) {
	if err := a.node.lost(); err != nil {
		return "", err
	}
	size, err := sizeOf(dir)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, a.node.moveTime(size))
	defer cancel()
	p := placement{Object: digest + "/" + nuid.Next(), Bytes: size}
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeTar(w, dir)) }()
	defer r.Close()
	part := make([]byte, min(size+maxFiles*2048, partBytes))
	for {
		n, err := io.ReadFull(r, part)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			err = a.putPart(ctx, p.part(p.Parts), part[:n])
			p.Parts++
		}
		if err != nil {
			a.removeObjects(p)
			return "", explain(ctx, err)
		}
	}
	text, err := json.Marshal(p)
	return string(text), err
}

// chunk is the size of the messages that an object goes in.
func (a *Adapters) chunk() uint32 {
	return uint32(max(1, min(chunkBytes, a.node.conn.MaxPayload()-4096))) // some of a message is its headers
}

// part is the name of an object.
func (p placement) part(i int) string { return fmt.Sprint(p.Object, "/", i) }

// putPart puts an object, and again where that is not acknowledged in time.
func (a *Adapters) putPart(ctx context.Context, name string, data []byte) error {
	return patiently(ctx, partTime, func(ctx context.Context) error {
		if err := a.node.lost(); err != nil {
			return err
		}
		meta := jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: a.chunk()}}
		_, err := a.objects.Put(ctx, meta, bytes.NewReader(data))
		return err
	})
}

// removeObjects removes what holds a version's files. What cannot be removed now is found by collect.
func (a *Adapters) removeObjects(p placement) {
	ctx, cancel := context.WithTimeout(context.Background(), a.node.writeTime())
	defer cancel()
	for i := range p.Parts {
		if err := a.objects.Delete(ctx, p.part(i)); err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
			a.node.o.Log.Debug().Err(err).Str("object", p.part(i)).Msg("an object of the cluster is not removed yet")
		}
	}
}

// Place implements adapters.Storage.
func (a *Adapters) Place(v adapters.StoredVersion, dir, uploaded string, there bool) error {
	if err := a.node.lost(); err != nil {
		return err
	}
	for range 10 {
		again, err := a.place(v, uploaded, there)
		if err != nil {
			return err
		}
		if !again {
			return a.local.add(v.Digest, dir)
		}
		if uploaded == "" { // it was removed since; its files are still here
			if uploaded, err = a.upload(a.run, v.Digest, dir); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("%w: other nodes change version %.12s all the time", adapters.ErrUnavailable, v.Digest)
}

// place writes the key of a version, so that it says where its files are and is too new to be removed. again: another
// node was faster, or there is nothing that could stay.
func (a *Adapters) place(v adapters.StoredVersion, uploaded string, there bool) (again bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), a.node.writeTime())
	defer cancel()
	key := versionPrefix + v.Digest
	a.mu.Lock()
	known, isKnown := a.versions[v.Digest]
	a.mu.Unlock()
	entry, err := a.get(ctx, key)
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, explain(ctx, err)
	}
	stored := err == nil
	if !stored && uploaded == "" {
		return true, nil
	}
	mine := versionRecord{Manifest: v.Manifest}
	if uploaded != "" {
		if err := json.Unmarshal([]byte(uploaded), &mine.placement); err != nil {
			return false, err
		}
	}
	if !stored {
		return a.writeVersion(ctx, key, mine, 0, placement{})
	}
	var other versionRecord
	readable := json.Unmarshal(entry.Value(), &other) == nil
	if readable && (uploaded == "" || there || !isKnown || known.revision != entry.Revision()) { // what is there is good, or newer
		return a.writeVersion(ctx, key, other, entry.Revision(), mine.placement)
	}
	return a.writeVersion(ctx, key, mine, entry.Revision(), other.placement)
}

// writeVersion writes the key of a version over the revision seen, 0 where there is none, and then removes the objects that
// are not needed.
func (a *Adapters) writeVersion(ctx context.Context, key string, r versionRecord, seen uint64, drop placement) (again bool, err error) {
	data, err := json.Marshal(r)
	if err != nil {
		return false, err
	}
	var revision uint64
	err = patiently(ctx, requestTime, func(ctx context.Context) (err error) {
		if seen == 0 {
			revision, err = a.records.Create(ctx, key, data)
		} else {
			revision, err = a.records.Update(ctx, key, data, seen)
		}
		return err
	})
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		time.Sleep(conflictPause)
		return true, nil
	}
	if err != nil {
		return false, explain(ctx, err)
	}
	a.mu.Lock()
	a.written[key] = max(a.written[key], revision)
	digest := key[len(versionPrefix):]
	if a.versions[digest].revision < revision {
		a.versions[digest] = knownVersion{r.placement, revision, time.Now()}
	}
	delete(a.unused, digest)
	a.mu.Unlock()
	if drop.Object != "" && drop.Object != r.Object {
		a.removeObjects(drop)
	}
	return false, nil
}

// Folder implements adapters.Storage. Whoever asks for the same version meanwhile waits for the same fetch, which goes on
// also where the first one gives up.
func (a *Adapters) Folder(ctx context.Context, digest string) (string, func(), error) {
	for {
		if dir, release, ok := a.local.pin(digest); ok {
			return dir, release, nil
		}
		flight := a.flights.DoChan(digest, func() (any, error) { return nil, a.bring(digest) })
		select {
		case done := <-flight:
			if done.Err != nil {
				return "", nil, done.Err
			}
		case <-ctx.Done():
			return "", nil, context.Cause(ctx)
		}
	}
}

// bring makes this node's copy of a version, unless there is one, which is looked at where an earlier process left it.
func (a *Adapters) bring(digest string) error {
	if a.local.check(digest) {
		return nil
	}
	began := time.Now()
	var size int64
	var err error
	for range 2 { // the second time where the version was placed anew meanwhile
		a.mu.Lock()
		v, known := a.versions[digest]
		a.mu.Unlock()
		if !known {
			return fmt.Errorf("%w: version %.12s is not in the cluster", adapters.ErrDamaged, digest)
		}
		size = v.Bytes
		if err = a.fetch(digest, v.placement); !errors.Is(err, adapters.ErrDamaged) {
			break
		}
	}
	if err != nil {
		a.stats.failures.Add(1)
		return fmt.Errorf("version %.12s: %w", digest, err)
	}
	a.stats.fetches.Add(1)
	a.stats.bytes.Add(uint64(size))
	a.stats.nanoseconds.Add(int64(time.Since(began)))
	return nil
}

// fetch makes a copy out of the objects.
func (a *Adapters) fetch(digest string, p placement) error {
	ctx, cancel := context.WithTimeout(a.run, a.node.moveTime(p.Bytes))
	defer cancel()
	a.local.makeRoom(p.Bytes)
	if err := disk.CheckSpace(a.o.Dir, p.Bytes); err != nil {
		return err
	}
	dir, err := a.local.temporary()
	if err != nil {
		return disk.NoSpace(err)
	}
	defer os.RemoveAll(dir)
	err = readTar(&partReader{ctx: ctx, objects: a.objects, p: p}, dir, p.Bytes)
	switch {
	case errors.Is(err, jetstream.ErrObjectNotFound) || errors.Is(err, jetstream.ErrDigestMismatch) || errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: its objects in the cluster: %w", adapters.ErrDamaged, err)
	case errors.As(err, new(*fs.PathError)):
		return disk.NoSpace(err)
	case errors.Is(err, adapters.ErrDamaged):
		return err
	case err != nil:
		return explain(ctx, err)
	}
	got, err := adapters.DigestOf(dir)
	if err != nil {
		return fmt.Errorf("%w: its objects in the cluster: %w", adapters.ErrDamaged, err)
	}
	if got != digest {
		return fmt.Errorf("%w: its objects in the cluster have the digest %s", adapters.ErrDamaged, got)
	}
	return a.local.add(digest, dir)
}

// partReader reads the objects of a version one behind the other. The digest of each is checked before any of it is read.
type partReader struct {
	ctx     context.Context
	objects jetstream.ObjectStore
	p       placement
	next    int
	part    bytes.Reader
}

func (r *partReader) Read(b []byte) (int, error) {
	for r.part.Len() == 0 {
		if r.next == r.p.Parts {
			return 0, io.EOF
		}
		var data []byte
		err := patiently(r.ctx, partTime, func(ctx context.Context) (err error) {
			data, err = r.objects.GetBytes(ctx, r.p.part(r.next))
			return err
		})
		if err != nil {
			return 0, err
		}
		r.next++
		r.part.Reset(data)
	}
	return r.part.Read(b)
}
