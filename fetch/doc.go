// Package fetch downloads files: models and adapters from a hub with the API of the Hugging Face Hub (hf://), and adapters
// from a bucket with the API of S3 (s3://).
//
// A source names a file or folder and never a host: the addresses of the hub and of the S3 service come from the operator,
// so that a user who may name sources cannot make this process connect to other hosts. Secrets are sent to these addresses
// only, also where they redirect, and appear in no message.
//
// A model is downloaded in these steps: the source is parsed (source.go), its revision is resolved to a commit and that
// commit's listing (hub.go, cache.go), the files that make up the model are selected (choose.go), and each file that is
// not here yet is downloaded (download.go) until its bytes have the digest that the listing states. Only then it gets its
// name, in the folder of its commit: a folder never holds files of two commits or a part of a file.
//
// The package is pure Go. Of the project it imports internal/disk only.
package fetch
