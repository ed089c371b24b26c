package adapters

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// safetensors puts a header before data, as the format has it.
func safetensors(header string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return slices.Concat(b, []byte(header), data)
}

func read(data []byte) ([]Tensor, error) {
	return ReadTensors(bytes.NewReader(data), int64(len(data)))
}

func TestReadTensors(t *testing.T) {
	data := []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0} // 1, -2 in F32
	data = append(data, 0, 0x3c, 0, 0xbc)           // 1, -1 in F16
	data = append(data, 0x80, 0x3f)                 // 1 in BF16
	data = binary.LittleEndian.AppendUint64(data, math.Float64bits(0.5))
	tensors, err := read(safetensors(`{"h":{"dtype":"F16","shape":[2,1],"data_offsets":[8,12]},"__metadata__":{"format":"pt"},
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

func TestReadTensorsRefuses(t *testing.T) {
	one := func(entry string) []byte { return safetensors(`{"a":`+entry+`}`, make([]byte, 8)) }
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":             {nil, "no header"},
		"short":             {make([]byte, 7), "no header"},
		"header past end":   {binary.LittleEndian.AppendUint64(nil, 1<<62), "states"},
		"header past int64": {binary.LittleEndian.AppendUint64(nil, math.MaxUint64), "states"},
		"header too long":   {slices.Concat(binary.LittleEndian.AppendUint64(nil, maxHeader+1), make([]byte, maxHeader+1)), "at most"},
		"no JSON":           {safetensors(`nonsense`, nil), "header"},
		"list":              {safetensors(`[]`, nil), "object"},
		"cut JSON":          {safetensors(`{"a":{"dtype":"F32"`, nil), "header"},
		"two objects":       {safetensors(`{}{}`, nil), "follows"},
		"key twice": {safetensors(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
			"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, make([]byte, 8)), `"a" occurs twice`},
		"no offsets":       {one(`{"dtype":"F32","shape":[2]}`), "data_offsets"},
		"no shape":         {one(`{"dtype":"F32","data_offsets":[0,8]}`), "shape"},
		"null":             {one(`null`), "expected"},
		"one offset":       {one(`{"dtype":"F32","shape":[2],"data_offsets":[0]}`), "data_offsets"},
		"integer dtype":    {one(`{"dtype":"I64","shape":[1],"data_offsets":[0,8]}`), `"I64"`},
		"length":           {one(`{"dtype":"F32","shape":[3],"data_offsets":[0,8]}`), "takes 12 bytes"},
		"negative shape":   {one(`{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}`), "impossible"},
		"overflow":         {one(`{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}`), "impossible"},
		"overflow to fit":  {one(`{"dtype":"F64","shape":[2305843009213693953],"data_offsets":[0,8]}`), "impossible"},
		"too many dims":    {one(`{"dtype":"F64","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,8]}`), "dimensions"},
		"huge number":      {one(`{"dtype":"F32","shape":[1e99],"data_offsets":[0,8]}`), "tensor"},
		"offsets backward": {one(`{"dtype":"F32","shape":[2],"data_offsets":[8,0]}`), "data_offsets"},
		"negative offset":  {one(`{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}`), "data_offsets"},
		"outside":          {one(`{"dtype":"F32","shape":[3],"data_offsets":[0,12]}`), "outside"},
		"hole before":      {one(`{"dtype":"F32","shape":[1],"data_offsets":[4,8]}`), "no tensor"},
		"trailing data":    {one(`{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`), "no tensor"},
		"overlap": {safetensors(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
			"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, make([]byte, 8)), "overlaps"},
		"deep": {safetensors(strings.Repeat(`{"a":`, 20000), nil), "header"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(c.data)
			wantError(t, err, ErrFormat, c.want)
		})
	}
}

func TestTensorShorterThanStated(t *testing.T) {
	data := safetensors(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, make([]byte, 8))
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
	f.Add(safetensors(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, make([]byte, 8)))
	f.Add(safetensors(`{"__metadata__":{},"a":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[],"data_offsets":[4,6]}}`, make([]byte, 6)))
	f.Add(safetensors(`{"a":{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[0,0]}}`, nil))
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
