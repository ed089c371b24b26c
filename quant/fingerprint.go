package quant

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// sample is how many bytes Fingerprint reads of each end of a tensor.
const sample = 4 << 10

// Fingerprint identifies a model file: an adapter remembers the one it was made for. See File.Fingerprint.
func Fingerprint(path string) (string, error) {
	f, err := Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	s, err := f.Fingerprint()
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Fingerprint returns, in hex, the SHA-256 of the header (all metadata, and name, type and dimensions of
// every tensor) followed by the first and the last 4 KiB of every tensor, or all of a tensor that is not
// longer than both. Reading ends only makes it cheap for files of any size; a change to the inside of a
// tensor alone is not seen, so it tells models apart but does not prove that a file is whole.
func (f *File) Fingerprint() (string, error) {
	h := sha256.New()
	header := min(f.dataStart, f.size)
	if _, err := io.CopyN(h, io.NewSectionReader(f.r, 0, header), header); err != nil {
		return "", err
	}
	for _, t := range f.Tensors {
		head := min(t.Size, 2*sample)
		tail := int64(0)
		if t.Size > 2*sample {
			head, tail = sample, sample
		}
		for _, part := range []*io.SectionReader{
			io.NewSectionReader(f.r, t.Offset, head),
			io.NewSectionReader(f.r, t.Offset+t.Size-tail, tail),
		} {
			if _, err := io.CopyN(h, part, part.Size()); err != nil {
				return "", fmt.Errorf("tensor %q: %w", t.Name, err)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
