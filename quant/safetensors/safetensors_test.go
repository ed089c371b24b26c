package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// file puts a header before data, as the format has it.
func file(header string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return slices.Concat(b, []byte(header), data)
}

func read(data []byte) ([]Tensor, error) {
	return Read(bytes.NewReader(data), int64(len(data)))
}

func TestRead(t *testing.T) {
	tensors, err := read(file(`{"h":{"dtype":"F16","shape":[2,1],"data_offsets":[8,12]},"__metadata__":{"format":"pt"},
		"f":{"dtype":"U8","shape":[1,8],"data_offsets":[0,8]},"d":{"dtype":"F64","shape":[],"data_offsets":[14,22]},
		"b":{"dtype":"BF16","shape":[1],"data_offsets":[12,14]},"none":{"dtype":"F32","shape":[0,3],"data_offsets":[22,22]}}  `, make([]byte, 22)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range tensors {
		got = append(got, fmt.Sprint(x.Name, x.DType, x.Shape, x.Offset-tensors[0].Offset, x.Size, x.Elements()))
	}
	want := []string{"fU8[1 8] 0 8 8", "hF16[2 1] 8 4 2", "bBF16[1] 12 2 1", "dF64[] 14 8 1", "noneF32[0 3] 22 0 0"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReadRefuses(t *testing.T) {
	one := func(entry string) []byte { return file(`{"a":`+entry+`}`, make([]byte, 8)) }
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":             {nil, "no header"},
		"short":             {make([]byte, 7), "no header"},
		"header past end":   {binary.LittleEndian.AppendUint64(nil, 1<<62), "states"},
		"header past int64": {binary.LittleEndian.AppendUint64(nil, math.MaxUint64), "states"},
		"header too long":   {slices.Concat(binary.LittleEndian.AppendUint64(nil, MaxHeader+1), make([]byte, MaxHeader+1)), "at most"},
		"no JSON":           {file(`nonsense`, nil), "header"},
		"list":              {file(`[]`, nil), "object"},
		"cut JSON":          {file(`{"a":{"dtype":"F32"`, nil), "header"},
		"two objects":       {file(`{}{}`, nil), "follows"},
		"key twice": {file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
			"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, make([]byte, 8)), `"a" occurs twice`},
		"no offsets":       {one(`{"dtype":"F32","shape":[2]}`), "data_offsets"},
		"no shape":         {one(`{"dtype":"F32","data_offsets":[0,8]}`), "shape"},
		"null":             {one(`null`), "expected"},
		"one offset":       {one(`{"dtype":"F32","shape":[2],"data_offsets":[0]}`), "data_offsets"},
		"unknown dtype":    {one(`{"dtype":"I63","shape":[1],"data_offsets":[0,8]}`), `"I63" is unknown`},
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
		"overlap": {file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
			"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, make([]byte, 8)), "overlaps"},
		"deep": {file(strings.Repeat(`{"a":`, 20000), nil), "header"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(c.data)
			if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add(file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, make([]byte, 8)))
	f.Add(file(`{"__metadata__":{},"a":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[],"data_offsets":[4,5]}}`, make([]byte, 5)))
	f.Add(file(`{"a":{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[0,0]}}`, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		tensors, err := read(data)
		if err != nil {
			return
		}
		var total int64
		for _, x := range tensors {
			if x.Offset < 8 || x.Size < 0 || x.Offset+x.Size > int64(len(data)) || x.Size != x.Elements()*x.DType.Size() {
				t.Fatalf("tensor %+v lies outside %d bytes", x, len(data))
			}
			total += x.Size
		}
		if total > int64(len(data)) {
			t.Fatalf("%d bytes of tensors in %d bytes", total, len(data))
		}
	})
}
