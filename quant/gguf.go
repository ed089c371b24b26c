// Package quant encodes weights: it reads and writes GGUF files, holds the reference codec of NF4, and
// quantizes a model file tensor by tensor. It is pure Go and knows nothing of llama.cpp.
//
// The words used here:
//
//   - tensor: named weights in a file, with its dimensions in GGUF's order. Of a matrix Dims[0] is n_in, the number of
//     weights for one output, and Dims[1] is n_out, the number of outputs.
//   - row: the n_in weights of a matrix that belong to one output. They lie side by side in the file. (The engine's rows,
//     one for each token of a batch, do not occur in this package.)
//   - block: the group of weights along a row that shares a scale.
//   - NF4: the 4-bit NormalFloat data type of Dettmers et al. 2023, "QLoRA". GGUF has no number for it, so
//     NF4 tensors are carried in tensors of other types (carrier.go), and the file's general.architecture is
//     marked with NF4Suffix. A reader that does not know the mark refuses the file by that name and never
//     reads the codes with the wrong codebook.
//
// The GGUF reader is our own although ollama's fs/gguf and fs/ggml are in the module graph: both allocate
// by the counts and lengths that a header states, before they know that the file is long enough, and
// adapters are untrusted. They also turn every value into a few Go types, so that a file cannot be
// written back with the types it had.
package quant

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/lorikeet-ai/lorikeet/internal/gitlfs"
)

// The errors of this package; others are wrapped around them with the key, tensor or file at fault.
var (
	ErrFormat   = errors.New("not a valid GGUF file")
	ErrNoTensor = errors.New("no such tensor")
	ErrType     = errors.New("unsupported weight type")
)

// NF4Suffix marks general.architecture of a file that may hold NF4 tensors.
const NF4Suffix = "-nf4"

// EndTokensKey is the key of the tokens that end an answer beside those that llama.cpp knows: []int32. llama.cpp
// itself does not read it.
const EndTokensKey = "tokenizer.ggml.eos_token_ids"

// PlainArchitecture returns the architecture without the NF4 mark, and whether it had the mark:
// "llama-nf4" gives "llama", true.
func PlainArchitecture(architecture string) (plain string, nf4 bool) {
	return strings.CutSuffix(architecture, NF4Suffix)
}

// Tensor describes one tensor of a file.
type Tensor struct {
	Name   string
	Type   Type
	Dims   []int64 // 1 to 4 of them, each at least 1; Dims[0] is the length of a row
	Offset int64   // bytes from the start of the file
	Size   int64   // bytes
}

// Elements returns the number of weights.
func (t Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Dims {
		n *= d
	}
	return n
}

// File is an open GGUF file whose header has been read and checked: every tensor lies inside the file,
// aligned, and overlaps no other. It is immutable and may be used from any goroutine until Close.
type File struct {
	Metadata Metadata // in the file's order
	Tensors  []Tensor // in the file's order

	size      int64
	dataStart int64 // end of the header, with its padding
	index     map[string]int
	r         io.ReaderAt
	closer    io.Closer
}

// Open opens and reads the header of the GGUF file at path. The caller closes it.
func Open(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	f, err := Read(file, info.Size())
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.closer = file
	return f, nil
}

// Read reads the header of a GGUF file of size bytes from r, which must stay readable while the File is in
// use. Whatever the bytes are, the memory taken is at most a small multiple of size. The error wraps
// ErrFormat where the file is at fault.
func Read(r io.ReaderAt, size int64) (*File, error) {
	if err := gitlfs.CheckFile(r, size); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	h := newHeader(r, size)
	h.read()
	if h.err != nil {
		return nil, h.err
	}
	f := &File{Metadata: h.metadata, Tensors: h.tensors, size: size, index: h.index, r: r}
	var err error
	if f.dataStart, err = h.place(); err != nil {
		return nil, err
	}
	return f, nil
}

// Close closes the file that Open opened. It may be called twice.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	c := f.closer
	f.closer = nil
	return c.Close()
}

// DataStart returns where in the file the tensors' bytes begin.
func (f *File) DataStart() int64 { return f.dataStart }

// Architecture returns general.architecture as it stands in the file, with the NF4 mark where it has one.
func (f *File) Architecture() string {
	a, _ := f.Metadata.String("general.architecture")
	return a
}

// NF4 reports whether the file is marked as one that may hold NF4 tensors.
func (f *File) NF4() bool {
	_, nf4 := PlainArchitecture(f.Architecture())
	return nf4
}

// Tensor returns the tensor of that name.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.index[name]
	if !ok {
		return Tensor{}, false
	}
	return f.Tensors[i], true
}

// TensorReader returns a reader of a tensor's bytes as they stand in the file.
// The error wraps ErrNoTensor where there is no tensor of that name.
func (f *File) TensorReader(name string) (*io.SectionReader, error) {
	t, ok := f.Tensor(name)
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrNoTensor, name)
	}
	return io.NewSectionReader(f.r, t.Offset, t.Size), nil
}

// ReadF32 reads a whole tensor as float32, row after row. The types it decodes are F32, F16, BF16, Q8_0, Q6_K
// and the NF4 types; the error wraps ErrType for others and ErrNoTensor where there is no tensor of that name.
func (f *File) ReadF32(name string) ([]float32, error) {
	r, err := f.TensorReader(name)
	if err != nil {
		return nil, err
	}
	t, _ := f.Tensor(name)
	decode, err := t.decoder()
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", name, err)
	}
	raw := make([]byte, t.Size)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, fmt.Errorf("tensor %q: %w", name, err)
	}
	out := make([]float32, t.Elements())
	decode(out, raw)
	return out, nil
}
