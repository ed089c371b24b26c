// Package fetch brings files from elsewhere to this disk: models and adapters from a hub that speaks the Hugging
// Face Hub's API (hf://), adapters from a bucket that speaks S3 (s3://).
//
// A source names what to bring and never where from: the hub's address and the bucket's endpoint come from the
// operator, so whoever may name sources cannot make this process speak to other hosts. Secrets go to these
// addresses alone, also when they redirect, and into no message.
//
// The walk of a model: the source is parsed (source.go), its revision is resolved to a commit and that commit's
// listing (hub.go, shelf.go), the files of it that make a model are chosen (choose.go), and each one that is not
// here yet is downloaded (download.go) until its bytes have the digest that the listing states. Only then it gets
// its name, in the folder of its commit: a folder never mixes revisions and never holds a part of a file.
//
// The package is pure Go and imports no other room.
package fetch
