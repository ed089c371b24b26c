package peft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/lorikeet-ai/lorikeet/adapters/peft/pefttest"
)

func read(data []byte) ([]Tensor, error) {
	return ReadTensors(bytes.NewReader(data), int64(len(data)))
}

func TestReadTensors(t *testing.T) {
	data := []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0} // 1, -2 in F32
	data = append(data, 0, 0x3c, 0, 0xbc)           // 1, -1 in F16
	data = append(data, 0x80, 0x3f)                 // 1 in BF16
	data = binary.LittleEndian.AppendUint64(data, math.Float64bits(0.5))
	tensors, err := read(pefttest.WithHeader(`{"h":{"dtype":"F16","shape":[2,1],"data_offsets":[8,12]},"__metadata__":{"format":"pt"},
		"f":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"d":{"dtype":"F64","shape":[],"data_offsets":[14,22]},
		"b":{"dtype":"BF16","shape":[1],"data_offsets":[12,14]},"none":{"dtype":"F32","shape":[0,3],"data_offsets":[22,22]}}  `, data))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range tensors {
		v, err := x.Float32()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(x.Name, x.Shape, v))
	}
	want := []string{"f[1 2] [1 -2]", "h[2 1] [1 -1]", "b[1] [1]", "d[] [0.5]", "none[0 3] []"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestReadTensorsRefuses: what safetensors.Read refuses is not a readable adapter, nor are integers.
func TestReadTensorsRefuses(t *testing.T) {
	for name, c := range map[string]struct{ entry, want string }{
		"integer dtype": {`{"dtype":"I64","shape":[1],"data_offsets":[0,8]}`, `"I64" is none of`},
		"bytes":         {`{"dtype":"U8","shape":[8],"data_offsets":[0,8]}`, `"U8" is none of`},
		"unknown dtype": {`{"dtype":"F4","shape":[1],"data_offsets":[0,8]}`, `"F4" is unknown`},
		"outside":       {`{"dtype":"F32","shape":[3],"data_offsets":[0,12]}`, "outside"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(pefttest.WithHeader(`{"a":`+c.entry+`}`, make([]byte, 8)))
			pefttest.WantError(t, err, ErrFormat, c.want)
		})
	}
}

// TestPointersAreNamed wants a Git LFS pointer in the place of either file called what it is.
func TestPointersAreNamed(t *testing.T) {
	pointer := []byte("version https://git-lfs.github.com/spec/v1\noid sha256:" + strings.Repeat("a", 64) + "\nsize 12345\n")
	_, err := read(pointer)
	pefttest.WantError(t, err, ErrFormat, "this is a Git LFS pointer")
	_, err = parseConfig(pointer)
	pefttest.WantError(t, err, ErrFormat, "adapter_config.json: this is a Git LFS pointer")
}

func TestTensorShorterThanStated(t *testing.T) {
	data := pefttest.WithHeader(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, make([]byte, 8))
	tensors, err := ReadTensors(bytes.NewReader(data[:len(data)-1]), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tensors[0].Float32(); err == nil {
		t.Error("a tensor that the file cuts short was read")
	}
}

func TestWriteTensorsReadsBack(t *testing.T) {
	want := []float32{1, -0.5, float32(math.Inf(1)), math.SmallestNonzeroFloat32, math.MaxFloat32, 0}
	var b bytes.Buffer
	if err := WriteTensors(&b, []Tensor{NewTensor(`odd "name"`, []int64{2, 3}, want), NewTensor("scalar", nil, want[:1])}); err != nil {
		t.Fatal(err)
	}
	if start := 8 + binary.LittleEndian.Uint64(b.Bytes()); start%8 != 0 {
		t.Errorf("the data begin at %d", start)
	}
	tensors, err := read(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got, err := tensors[0].Float32()
	if err != nil || !slices.Equal(got, want) || tensors[0].Name != `odd "name"` || len(tensors[1].Shape) != 0 {
		t.Errorf("read %v %v (%v), wrote %v", tensors, got, err, want)
	}
	wrong := NewTensor("short", []int64{7}, want)
	if err := WriteTensors(&b, []Tensor{wrong}); err == nil || !strings.Contains(err.Error(), "short") {
		t.Errorf("a tensor with too few values was written: %v", err)
	}
}

func FuzzReadTensors(f *testing.F) {
	f.Add(pefttest.WithHeader(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, make([]byte, 8)))
	f.Add(pefttest.WithHeader(`{"__metadata__":{},"a":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[],"data_offsets":[4,6]}}`, make([]byte, 6)))
	f.Add(pefttest.WithHeader(`{"a":{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[0,0]}}`, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		tensors, err := read(data)
		if err != nil {
			return
		}
		var total int64
		for _, x := range tensors {
			v, err := x.Float32()
			if err != nil || int64(len(v)) != x.Elements() {
				t.Fatalf("tensor %q of %v: %d values, %v", x.Name, x.Shape, len(v), err)
			}
			total += x.bytes()
		}
		if total > int64(len(data)) {
			t.Fatalf("%d bytes of tensors in %d bytes", total, len(data))
		}
	})
}
