package huggingface

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/quant/safetensors"
)

// maxShards is more than any model has.
const maxShards = 1000

// stored is a tensor as a shard has it.
type stored struct {
	safetensors.Tensor
	shard string // the file's name
	r     io.ReaderAt

	unread  atomic.Int64 // bytes of it that nothing has read yet, in a single pass; below 0 in further ones
	nonzero atomic.Bool  // a weight that was read is not zero
}

// shards are the folder's tensors by their names. The files stay open until close.
type shards struct {
	tensors map[string]*stored
	files   []*os.File
}

func (s *shards) close() {
	for _, f := range s.files {
		f.Close()
	}
}

// openShards reads the headers of model.safetensors, or of the shards that the index names.
func openShards(f *folder) (*shards, error) {
	s := &shards{tensors: map[string]*stored{}}
	if err := s.open(f); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *shards) open(f *folder) error {
	err := s.add(f, singleFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, found, err := f.read(indexFile, maxIndex)
	if err != nil {
		return err
	}
	if !found {
		return noShards(f)
	}
	index, names, err := parseIndex(data)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.add(f, name); err != nil {
			return err
		}
	}
	return s.check(index)
}

// noShards says what the folder has instead.
func noShards(f *folder) error {
	for _, other := range []string{"pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.safetensors", "adapter_model.safetensors"} {
		if file, _, err := f.open(other); err == nil {
			file.Close()
			return unsupported(other, "only %s and %s are read", singleFile, indexFile)
		}
	}
	return fmt.Errorf("%w: neither %s nor %s is there", ErrFormat, singleFile, indexFile)
}

// parseIndex returns the index's map of tensors to shards, and the shards, sorted.
func parseIndex(data []byte) (index map[string]string, names []string, err error) {
	var v struct {
		Map json.RawMessage `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, nil, formatError(indexFile, "%w", err)
	}
	members, err := safetensors.ParseObject(v.Map)
	if err != nil {
		return nil, nil, formatError(indexFile, "weight_map: %w", err)
	}
	index = make(map[string]string, len(members))
	seen := map[string]bool{}
	for _, m := range members {
		var name string
		if err := json.Unmarshal(m.Value, &name); err != nil {
			return nil, nil, formatError(indexFile, "weight_map: tensor %q: %w", m.Key, err)
		}
		if strings.ContainsAny(name, `/\`) || !strings.HasSuffix(name, ".safetensors") {
			return nil, nil, formatError(indexFile, "weight_map: tensor %q: %q is no .safetensors file beside the index", m.Key, name)
		}
		index[m.Key] = name
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
		if len(names) > maxShards {
			return nil, nil, formatError(indexFile, "weight_map: it names more than %d files", maxShards)
		}
	}
	slices.Sort(names)
	return index, names, nil
}

// add reads the header of one shard.
func (s *shards) add(f *folder, name string) error {
	file, size, err := f.open(name)
	if err != nil {
		return err
	}
	s.files = append(s.files, file)
	tensors, err := safetensors.Read(file, size)
	if err != nil {
		return formatError(name, "%w", err)
	}
	for _, t := range tensors {
		if other, twice := s.tensors[t.Name]; twice {
			return formatError(name, "tensor %q is in %s too", t.Name, other.shard)
		}
		s.tensors[t.Name] = newStored(t, name, file)
	}
	return nil
}

func newStored(t safetensors.Tensor, shard string, r io.ReaderAt) *stored {
	s := &stored{Tensor: t, shard: shard, r: r}
	s.unread.Store(t.Size)
	return s
}

// check holds the index against what the shards have.
func (s *shards) check(index map[string]string) error {
	for tensor, name := range index {
		if t, ok := s.tensors[tensor]; !ok || t.shard != name {
			return formatError(name, "tensor %q, which %s has there, is missing", tensor, indexFile)
		}
	}
	return nil
}

// err says which file and tensor an error is about.
func (t *stored) err(err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("the file is shorter than its header states")
	}
	return fmt.Errorf("%w: %s: tensor %q: %w", ErrFormat, t.shard, t.Name, err)
}

// readAt reads len(p) bytes of the tensor from off on, as they are in the file.
func (t *stored) readAt(p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > t.Size {
		return t.err(fmt.Errorf("bytes %d to %d are not in its %d", off, off+int64(len(p)), t.Size))
	}
	if n, err := t.r.ReadAt(p, t.Offset+off); n < len(p) {
		return t.err(err)
	}
	if !t.nonzero.Load() && anyNonzero(p) {
		t.nonzero.Store(true)
	}
	t.unread.Add(-int64(len(p)))
	return nil
}

// anyNonzero reports whether raw values hold anything but zeros of either sign.
func anyNonzero(raw []byte) bool {
	for _, b := range raw {
		if b&0x7f != 0 {
			return true
		}
	}
	return false
}

// zeros lists the matrices that were read and hold nothing but zeros, sorted.
func (s *shards) zeros() []string {
	var names []string
	for name, t := range s.tensors {
		if len(t.Shape) == 2 && t.unread.Load() <= 0 && t.Size > 0 && !t.nonzero.Load() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// float32s decodes len(dst) values from the first on. The error names a value that is not finite.
func (t *stored) float32s(dst []float32, first int64) error {
	size := t.DType.Size()
	raw := make([]byte, int64(len(dst))*size)
	if err := t.readAt(raw, first*size); err != nil {
		return err
	}
	switch t.DType {
	case safetensors.F32:
		quant.DecodeF32(dst, raw)
	case safetensors.F16:
		quant.DecodeF16(dst, raw)
	case safetensors.BF16:
		quant.DecodeBF16(dst, raw)
	default:
		return t.err(fmt.Errorf("its dtype is %s, not F32, F16 or BF16", t.DType))
	}
	for i, x := range dst {
		if math.Float32bits(x)&0x7f800000 == 0x7f800000 {
			return t.err(fmt.Errorf("value %d is %g", first+int64(i), x))
		}
	}
	return nil
}

// types are the safetensors types that GGUF has too.
var types = map[safetensors.DType]quant.Type{safetensors.F32: quant.F32, safetensors.F16: quant.F16, safetensors.BF16: quant.BF16}

// finite looks for a NaN or an infinity in raw values, whose first is number first, by the bits of their exponents.
func (t *stored) finite(raw []byte, first int64) error {
	var mask uint16
	step := int(t.DType.Size())
	switch t.DType {
	case safetensors.F32, safetensors.BF16:
		mask = 0x7f80
	case safetensors.F16:
		mask = 0x7c00
	}
	for i := step; i <= len(raw); i += step {
		if top := uint16(raw[i-1])<<8 | uint16(raw[i-2]); top&mask == mask {
			return t.err(fmt.Errorf("value %d is not finite", first+int64(i/step)-1))
		}
	}
	return nil
}
