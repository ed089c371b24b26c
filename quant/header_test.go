package quant

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/internal/gitlfs"
)

// raw builds a GGUF header field by field, whether it is sound or not.
type raw struct{ b []byte }

func file(tensors, pairs uint64) *raw {
	return (&raw{[]byte(magic)}).u32(version).u64(tensors).u64(pairs)
}

func (r *raw) u32(v ...uint32) *raw {
	for _, x := range v {
		r.b = binary.LittleEndian.AppendUint32(r.b, x)
	}
	return r
}

func (r *raw) u64(v ...uint64) *raw {
	for _, x := range v {
		r.b = binary.LittleEndian.AppendUint64(r.b, x)
	}
	return r
}

func (r *raw) str(s string) *raw {
	r.b = appendString(r.b, s)
	return r
}

// tensor appends a tensor description.
func (r *raw) tensor(name string, t Type, offset uint64, dims ...uint64) *raw {
	return r.str(name).u32(uint32(len(dims))).u64(dims...).u32(uint32(t)).u64(offset)
}

// marked begins a file whose first pair, beyond the given number, is an architecture with the NF4 mark.
func marked(tensors, pairs uint64) *raw {
	return file(tensors, pairs+1).str("general.architecture").u32(stringType).str("llama" + NF4Suffix)
}

// strings appends a pair whose value is an array of strings.
func (r *raw) strings(key string, values ...string) *raw {
	r.str(key).u32(arrayType, stringType).u64(uint64(len(values)))
	for _, v := range values {
		r.str(v)
	}
	return r
}

// uints appends a pair whose value is an array of uint64.
func (r *raw) uints(key string, values ...uint64) *raw {
	return r.str(key).u32(arrayType, 10).u64(uint64(len(values))).u64(values...)
}

// zeros appends n zero bytes.
func (r *raw) zeros(n int) *raw {
	r.b = append(r.b, make([]byte, n)...)
	return r
}

var hostile = []struct {
	name, want string
	file       *raw
}{
	{"empty file", "ends inside the header", &raw{}},
	{"other file", `does not begin with "GGUF"`, (&raw{[]byte("GGML")}).zeros(64)},
	{"version 1", "version 1", (&raw{[]byte(magic)}).u32(1).zeros(64)},
	{"version 4", "version 4", (&raw{[]byte(magic)}).u32(4).zeros(64)},
	{"big-endian", "big-endian", (&raw{[]byte(magic)}).u32(3 << 24).zeros(64)},
	{"cut in the counts", "ends inside the header", (&raw{[]byte(magic)}).u32(3).u32(1)},
	{"too many tensors", "states 4611686018427387904 tensors", file(1<<62, 0).zeros(64)},
	{"too many pairs", "states 18446744073709551615 key-value pairs", file(0, math.MaxUint64).zeros(64)},
	{"more pairs than any model", "states 65537 key-value pairs", file(0, maxPairs+1).zeros(maxPairs * 16)},
	{"long key", "ends inside the header", file(0, 1).u64(1 << 62).zeros(64)},
	{"long string", "ends inside the header", file(0, 1).str("k").u32(8).u64(math.MaxUint64).zeros(64)},
	{"long array", `key "k" states 1152921504606846976 elements`, file(0, 1).str("k").u32(9, 12).u64(1 << 60).zeros(64)},
	{"long array of strings", `key "k" states 99 elements`, file(0, 1).str("k").u32(9, 8).u64(99).zeros(64)},
	{"cut in an array of strings", "ends inside the header", file(0, 1).str("k").u32(9, 8).u64(2).str("a").u64(9).zeros(2)},
	{"unknown value type", `key "k" has the unknown type 13`, file(0, 1).str("k").u32(13).zeros(64)},
	{"array of arrays", `key "k" is an array of the unknown type 9`, file(0, 1).str("k").u32(9, 9).u64(1).zeros(64)},
	{"key twice", `key "k" occurs twice`, file(0, 2).str("k").u32(4, 1).str("k").u32(4, 1).zeros(64)},
	{"alignment 48", "general.alignment is 48", file(0, 1).str("general.alignment").u32(4, 48).zeros(64)},
	{"alignment 0", "general.alignment is 0", file(0, 1).str("general.alignment").u32(4, 0).zeros(64)},
	{"alignment of the wrong type", "general.alignment is x", file(0, 1).str("general.alignment").u32(8).str("x").zeros(64)},
	{"tensor without a name", "tensor 0 has no name", file(1, 0).tensor("", F32, 0, 1).zeros(64)},
	{"tensor twice", `tensor "a" occurs twice`, file(2, 0).tensor("a", F32, 0, 1).tensor("a", F32, 32, 1).zeros(128)},
	{"no dimensions", `tensor "a" has 0 dimensions`, file(1, 0).tensor("a", F32, 0).zeros(64)},
	{"five dimensions", `tensor "a" has 5 dimensions`, file(1, 0).tensor("a", F32, 0, 1, 1, 1, 1, 1).zeros(64)},
	{"four billion dimensions", `tensor "a" has 4294967295 dimensions`, file(1, 0).str("a").u32(math.MaxUint32).zeros(64)},
	{"zero dimension", "is not positive", file(1, 0).tensor("a", F32, 0, 4, 0).zeros(64)},
	{"negative dimension", "is not positive", file(1, 0).tensor("a", F32, 0, 4, 1<<63).zeros(64)},
	{"dimensions overflow", "are too large", file(1, 0).tensor("a", F16, 0, 1<<32, 1<<31, 2).zeros(64)},
	{"weights overflow", "are too large", file(1, 0).tensor("a", IQ4_NL, 0, 1<<31, 1<<31, 4).zeros(64)},
	{"part of a block", "not whole Q8_0 blocks", file(1, 0).tensor("a", Q8_0, 0, 33).zeros(128)},
	{"removed type", "unknown weight type 4", file(1, 0).tensor("a", 4, 0, 32).zeros(64)},
	{"unknown type", "unknown weight type 4000000000", file(1, 0).tensor("a", 4000000000, 0, 32).zeros(64)},
	{"not aligned", "not aligned to 32", file(1, 0).tensor("a", F32, 4, 1).zeros(128)},
	{"negative offset", "not aligned to 32", file(1, 0).tensor("a", F32, 1<<63, 1).zeros(128)},
	{"beyond the file", `tensor "a" lies outside`, file(1, 0).tensor("a", F32, 0, 1000).zeros(128)},
	{"offset beyond the file", `tensor "a" lies outside`, file(1, 0).tensor("a", F32, 1<<62, 1).zeros(128)},
	{"no data at all", `tensor "a" lies outside`, file(1, 0).tensor("a", F32, 0, 1)},
	{"our own number of a type", "unknown weight type 65536", file(1, 0).tensor("a", NF4, 0, 32).zeros(64)},
	{"NF4-DQ names of the wrong type", `key "nf4.dq.tensors" is not an array of strings`, marked(1, 1).str(dqNamesKey).u32(4, 1).zeros(64)},
	{"NF4-DQ without dimensions", `key "nf4.dq.dims" is not an array of 2 uint64`, marked(1, 1).strings(dqNamesKey, "a").zeros(64)},
	{"NF4-DQ with too few dimensions", `key "nf4.dq.dims" is not an array of 2 uint64`, marked(1, 2).strings(dqNamesKey, "a").uints(dqDimsKey, 64).zeros(64)},
	{"NF4-DQ twice", `names "a" twice`, marked(1, 2).strings(dqNamesKey, "a", "a").uints(dqDimsKey, 64, 1, 64, 1).zeros(64)},
	{"NF4-DQ of no tensor", `names "b", which is not a tensor`, marked(1, 2).strings(dqNamesKey, "b").uints(dqDimsKey, 64, 1).tensor("a", I8, 0, 37).zeros(64)},
	{"NF4-DQ with a wrong number of bytes", `tensor "a": 38 bytes of I8 in dimensions [38] are no NF4-DQ weight of dimensions [64 1], which has 37 bytes`,
		marked(1, 2).strings(dqNamesKey, "a").uints(dqDimsKey, 64, 1).tensor("a", I8, 0, 38).zeros(128)},
	{"NF4-DQ of the wrong type", `tensor "a": 37 bytes of`, marked(1, 2).strings(dqNamesKey, "a").uints(dqDimsKey, 64, 1).tensor("a", I8, 0, 37, 1).zeros(128)},
	{"NF4-DQ of a part of a block", `tensor "a": dimensions [65 1] are not whole NF4-DQ blocks of 64`, marked(1, 2).strings(dqNamesKey, "a").uints(dqDimsKey, 65, 1).tensor("a", I8, 0, 37).zeros(128)},
	{"NF4-DQ too large", "are too large", marked(1, 2).strings(dqNamesKey, "a").uints(dqDimsKey, 1<<40, 1<<40).tensor("a", I8, 0, 37).zeros(128)},
	{"NF4-DQ of a negative size", "is not positive", marked(1, 2).strings(dqNamesKey, "a").uints(dqDimsKey, 1<<63, 1).tensor("a", I8, 0, 37).zeros(128)},
	{"NF4-64 of half a block", `tensor "a": dimensions [96] are not whole NF4-64 blocks of 64`, marked(1, 0).tensor("a", MXFP4, 0, 96).zeros(128)},
	{"overlap", `tensors "a" and "b" overlap`, file(2, 0).tensor("b", F32, 32, 8).tensor("a", F32, 0, 9).zeros(256)},
}

func TestHostileHeaders(t *testing.T) {
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			var err error
			bytesUsed := allocated(func() { _, err = Read(bytes.NewReader(c.file.b), int64(len(c.file.b))) })
			if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if limit := memoryLimit(len(c.file.b)); bytesUsed > limit {
				t.Errorf("allocated %d bytes for a file of %d, want at most %d", bytesUsed, len(c.file.b), limit)
			}
		})
	}
}

// memoryLimit is the small multiple of a file's size that reading its header may allocate, and what the
// reader itself takes.
func memoryLimit(size int) uint64 { return uint64(32*size + 256<<10) }

// TestCutAnywhere reads every beginning of a sound file: none but the whole may pass.
func TestCutAnywhere(t *testing.T) {
	m := everyType()
	whole := encode(t, m, []Tensor{{Name: "a", Dims: []int64{3}}, {Name: "b", Type: Q8_0, Dims: []int64{32, 1}}},
		[][]float32{make([]float32, 3), make([]float32, 32)})
	f := mustRead(t, whole)
	end := f.Tensors[1].Offset + f.Tensors[1].Size
	for n := range end {
		if _, err := Read(bytes.NewReader(whole[:n]), n); !errors.Is(err, ErrFormat) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(whole), err)
		}
	}
}

type failing struct{ io.ReaderAt }

var errDisk = errors.New("the disk failed")

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errDisk }

func TestReadErrorIsNotTheFilesFault(t *testing.T) {
	if _, err := Read(failing{}, 1000); !errors.Is(err, errDisk) || errors.Is(err, ErrFormat) {
		t.Errorf("got %v", err)
	}
}

func TestVersion2(t *testing.T) {
	b := file(1, 0).tensor("a", F32, 0, 1).zeros(128).b
	b[4] = 2
	if f := mustRead(t, b); f.Tensors[0].Name != "a" {
		t.Errorf("got %v", f.Tensors)
	}
}

func FuzzRead(f *testing.F) {
	for _, c := range hostile {
		if len(c.file.b) < 1<<16 {
			f.Add(c.file.b)
		}
	}
	var m Metadata
	m.Set("general.architecture", "llama-nf4")
	m.Set("tokenizer.ggml.tokens", []string{"a", "b"})
	tensors := []Tensor{{Name: "a", Dims: []int64{3}}, {Name: "b", Type: Q8_0, Dims: []int64{32, 2}}, {Name: "c", Type: NF4, Dims: []int64{32}},
		{Name: "d", Type: NF4_64, Dims: []int64{64}}, {Name: "e", Type: NF4_DQ, Dims: []int64{64, 17}}, {Name: "f", Type: Q6_K, Dims: []int64{256}}}
	var values [][]float32
	for _, t := range tensors {
		values = append(values, make([]float32, t.Elements()))
	}
	f.Add(encode(f, m, tensors, values))
	f.Add(encode(f, everyType(), nil, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var file *File
		var err error
		used := allocated(func() { file, err = Read(bytes.NewReader(b), int64(len(b))) })
		if limit := memoryLimit(len(b)) + 1<<20; used > limit { // the fuzzer itself allocates meanwhile
			t.Fatalf("allocated %d bytes for a file of %d", used, len(b))
		}
		if err != nil {
			return
		}
		for _, tensor := range file.Tensors {
			if tensor.Offset < 0 || tensor.Size <= 0 || tensor.Offset+tensor.Size > int64(len(b)) {
				t.Fatalf("tensor %v lies outside %d bytes", tensor, len(b))
			}
			if _, err := file.ReadF32(tensor.Name); err != nil && !errors.Is(err, ErrType) {
				t.Fatal(err)
			}
		}
		rewritten(t, file)
	})
}

// rewritten checks that a file which was read can be written, and says the same then.
func rewritten(t *testing.T, file *File) {
	var out bytes.Buffer
	err := Encode(&out, &file.Metadata, file.Tensors, func(i int, w io.Writer) error {
		r, err := file.TensorReader(file.Tensors[i].Name)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	again := mustRead(t, out.Bytes())
	if a, b := dump(&file.Metadata), dump(&again.Metadata); !bytes.Equal(a, b) {
		t.Fatalf("metadata changed from %q to %q", a, b)
	}
	for i, tensor := range again.Tensors {
		tensor.Offset = file.Tensors[i].Offset
		if !reflect.DeepEqual(tensor, file.Tensors[i]) {
			t.Fatalf("tensor changed from %v to %v", file.Tensors[i], tensor)
		}
	}
}

// dump returns the metadata as it stands in a file, where NaNs can be compared.
func dump(m *Metadata) []byte {
	head, _, err := encodeHeader(m, nil, defaultAlignment)
	if err != nil {
		panic(err)
	}
	return head
}

// TestGitLFSPointer: a file that Git LFS has not downloaded is called what it is.
func TestGitLFSPointer(t *testing.T) {
	const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4000000000\n"
	_, err := Read(strings.NewReader(pointer), int64(len(pointer)))
	if !errors.Is(err, ErrFormat) || !errors.Is(err, gitlfs.ErrPointer) || !strings.Contains(err.Error(), "git lfs pull") {
		t.Errorf("the error is %v", err)
	}
}
