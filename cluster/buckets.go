package cluster

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// This file opens the buckets of a prefix, and makes those that are not there.

// bucket is the name of a bucket of the prefix.
func (n *Node) bucket(what string) string {
	if what == "" {
		return n.o.Prefix
	}
	return n.o.Prefix + "-" + what
}

// keyValue opens a key-value bucket, which is made where it is not there. A smaller one is made larger.
func (n *Node) keyValue(ctx context.Context, what string, history uint8, maxBytes int64) (kv jetstream.KeyValue, err error) {
	c := jetstream.KeyValueConfig{Bucket: n.bucket(what), History: history, MaxBytes: maxBytes, Storage: jetstream.FileStorage, Replicas: n.o.Replicas}
	err = n.until(ctx, "bucket "+c.Bucket, func(ctx context.Context) error {
		if kv, err = n.js.KeyValue(ctx, c.Bucket); errors.Is(err, jetstream.ErrBucketNotFound) {
			kv, err = n.js.CreateKeyValue(ctx, c)
		}
		return err
	})
	if err == nil {
		err = n.grow(ctx, "KV_"+c.Bucket, maxBytes)
	}
	return kv, err
}

// objects opens an object store, likewise.
func (n *Node) objects(ctx context.Context, what string, maxBytes int64) (o jetstream.ObjectStore, err error) {
	c := jetstream.ObjectStoreConfig{Bucket: n.bucket(what), MaxBytes: maxBytes, Storage: jetstream.FileStorage, Replicas: n.o.Replicas}
	err = n.until(ctx, "bucket "+c.Bucket, func(ctx context.Context) error {
		if o, err = n.js.ObjectStore(ctx, c.Bucket); errors.Is(err, jetstream.ErrBucketNotFound) {
			o, err = n.js.CreateObjectStore(ctx, c)
		}
		return err
	})
	if err == nil {
		err = n.grow(ctx, "OBJ_"+c.Bucket, maxBytes)
	}
	return o, err
}

// grow lets a stream have more bytes where it may have fewer. Of nodes with different settings the largest counts.
func (n *Node) grow(ctx context.Context, stream string, maxBytes int64) error {
	n.mu.Lock()
	if !slices.Contains(n.streams, stream) {
		n.streams = append(n.streams, stream)
	}
	n.mu.Unlock()
	return n.until(ctx, "stream "+stream, func(ctx context.Context) error {
		s, err := n.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		c := s.CachedInfo().Config
		if c.Replicas != n.o.Replicas {
			n.o.Log.Warn().Str("stream", stream).Int("replicas", c.Replicas).Int("asked", n.o.Replicas).Msg("the cluster keeps another number of copies than was asked for")
		}
		if c.MaxBytes < 0 || c.MaxBytes >= maxBytes {
			return nil
		}
		c.MaxBytes = maxBytes
		_, err = n.js.UpdateStream(ctx, c)
		return err
	})
}
