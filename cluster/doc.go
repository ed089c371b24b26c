// Package cluster lets several servers of the same base model share what they keep, on NATS JetStream: there is no
// consensus, replication or queue of our own. It connects to NATS servers, or runs one inside this process.
//
// The words used here:
//
//   - node: one server of ours, with a name that no other has.
//   - prefix: what the names of all buckets of one base begin with. Several bases live beside each other under
//     different prefixes; a node of another base than the one that a prefix belongs to is refused.
//   - bucket: a key-value bucket or an object store of JetStream; each is a stream that so many nodes hold copies of
//     (replicas), and that can be written while a majority of them is there.
//
// What is in the buckets of a prefix:
//
//	PREFIX            key-value: "base", which base the prefix belongs to, and "nodes.NAME", when each node last wrote
//	PREFIX-adapters   key-value: "versions.DIGEST", "names.NAME" and "checkpoints.NAME", as adapters.Storage has them
//	PREFIX-versions   objects: the files of the versions, in parts
//
// Reading needs no other node where what is read is in this node's memory or in its local files; writing returns when a
// majority of the replicas has the write on its disk.
//
// The package is pure Go.
package cluster
