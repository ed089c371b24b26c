package fetch

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
)

// content is what a downloaded file must be.
type content struct {
	name string // for messages
	size int64
	sum  sum
}

// sum is the checksum that the server states for a file. SHA-1 and MD5 are used where it states nothing better: they
// find transmission errors, not forgeries.
type sum struct {
	kind string // of the names below; "": only the size is known
	hex  string
}

// Kinds of sums.
const (
	sha256Sum = "sha256"
	blobSum   = "git blob" // SHA-1 over git's header and the bytes
	md5Sum    = "md5"
	crc32cSum = "crc32c"
	crc64Sum  = "crc64nvme"
)

// crc64NVMEPolynomial is the polynomial of CRC-64/NVME, reversed.
const crc64NVMEPolynomial = 0x9a6c9329ac4bc9b5

// hash returns the hash function for size bytes.
func (s sum) hash(size int64) hash.Hash {
	switch s.kind {
	case blobSum:
		h := sha1.New()
		fmt.Fprintf(h, "blob %d\x00", size)
		return h
	case md5Sum:
		return md5.New()
	case crc32cSum:
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case crc64Sum:
		return crc64.New(crc64.MakeTable(crc64NVMEPolynomial))
	}
	return sha256.New()
}

// check compares the checksum of what was received with the stated one.
func (c content) check(h hash.Hash) error {
	got := hex.EncodeToString(h.Sum(nil))
	if c.sum.kind == "" || got == c.sum.hex {
		return nil
	}
	return fmt.Errorf("%w: %s has the %s %s, not %s", ErrChecksum, c.name, c.sum.kind, got, c.sum.hex)
}

// sumOf is the sum in a listing.
func sumOf(e entry) sum {
	switch {
	case e.SHA256 != "":
		return sum{sha256Sum, e.SHA256}
	case e.Blob != "":
		return sum{blobSum, e.Blob}
	}
	return sum{}
}
