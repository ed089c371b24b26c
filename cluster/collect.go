package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// This file removes versions that no name refers to. Any node may do it, also several at the same time: the key of a
// version is deleted only at the revision that this node has seen, and whoever is about to refer to a version writes its
// key first. A version stays for a time of grace after it was last written and after this node lost its last use for it.

// objectsEvery is how many rounds of collect there are for one that looks for objects that no version has.
const objectsEvery = 32

// collect removes what is not used, until Close.
func (a *Adapters) collect() {
	var orphans map[string]bool
	for round := rand.IntN(objectsEvery); ; round++ { // not all nodes at the same time
		pause := a.o.Grace / 4
		select {
		case <-a.run.Done():
			return
		case <-time.After(pause + time.Duration(rand.Int64N(int64(pause)+1))):
		}
		if a.node.Err() != nil {
			continue
		}
		a.collectVersions()
		if round%objectsEvery == 0 {
			orphans = a.collectObjects(orphans, a.o.Grace+a.node.moveTime(a.node.o.MaxBytes))
		}
	}
}

// due returns the versions that may go.
func (a *Adapters) due() map[string]knownVersion {
	a.mu.Lock()
	candidates := make(map[string]knownVersion)
	for digest, since := range a.unused {
		v, known := a.versions[digest]
		switch {
		case !known:
			delete(a.unused, digest)
		case time.Since(since) > a.o.Grace && time.Since(v.written) > a.o.Grace:
			candidates[digest] = v
		}
	}
	a.mu.Unlock()
	for digest := range candidates {
		if !a.to.Unused(digest) { // asked without a.mu, which the Store's lock must not wait for
			delete(candidates, digest)
			a.mu.Lock()
			delete(a.unused, digest)
			a.mu.Unlock()
		}
	}
	return candidates
}

func (a *Adapters) collectVersions() {
	for digest, v := range a.due() {
		ctx, cancel := context.WithTimeout(a.run, a.node.writeTime())
		err := a.records.Purge(ctx, versionPrefix+digest, jetstream.LastRevision(v.revision))
		cancel()
		if err != nil {
			if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
				a.node.o.Log.Debug().Err(err).Str("version", digest[:12]).Msg("a version that no adapter has is not removed yet")
			}
			continue
		}
		a.removeObjects(v.placement)
	}
}

// collectObjects removes the objects of uploads that were not ended, and of versions whose objects could not be removed, where
// they are of that age. seen are the messages without an object that the last call found, which go: a write that was not acknowledged in time leaves
// such. It returns those that it finds.
func (a *Adapters) collectObjects(seen map[string]bool, age time.Duration) (orphans map[string]bool) {
	ctx, cancel := context.WithTimeout(a.run, time.Minute)
	defer cancel()
	bucket := a.node.bucket("versions")
	stream, err := a.node.js.Stream(ctx, "OBJ_"+bucket)
	if err != nil {
		return nil // a later round does it
	}
	chunks := "$O." + bucket + ".C." // as the object store names its messages, with the object's nuid behind it
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(chunks+">"))
	if err != nil {
		return nil
	}
	list, err := a.objects.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil
	}
	a.mu.Lock()
	used := make(map[string]bool, len(a.versions))
	for _, v := range a.versions {
		used[v.Object] = true
	}
	a.mu.Unlock()
	whole := make(map[string]bool, len(list))
	for _, o := range list {
		whole[chunks+o.NUID] = true
		object := o.Name[:max(0, strings.LastIndexByte(o.Name, '/'))]
		if used[object] || time.Since(o.ModTime) < age {
			continue
		}
		if err := a.objects.Delete(ctx, o.Name); err != nil {
			return nil
		}
	}
	orphans = make(map[string]bool)
	for subject := range info.State.Subjects {
		if whole[subject] {
			continue
		}
		if orphans[subject] = true; seen[subject] {
			if err := stream.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
				return orphans
			}
		}
	}
	return orphans
}
