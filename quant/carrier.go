package quant

import (
	"fmt"
	"slices"
)

// How a GGUF file carries what GGUF has no type for. In a file marked with NF4Suffix:
//
//   - NF4 is typed IQ4_NL and NF4_64 is typed MXFP4: their blocks have the same weights and bytes;
//   - NF4_DQ, whose 4.127 bits no type has, is typed I8, with its bytes as the one dimension. The keys below give
//     its name and dimensions. llama.cpp is told MXFP4 at load (runtime/llama/nf4_load.cpp), which is a little
//     more than is there, so that bytes of padding follow the last tensor where it would reach beyond the file.
//
// A File shows the true types and dimensions and hides the keys; Encode writes the carriers and adds them.
const (
	dqNamesKey = "nf4.dq.tensors" // []string
	dqDimsKey  = "nf4.dq.dims"    // []uint64: n_in and n_out of each
)

// carried says, while a header is read, which of its tensors are more than their type says.
type carried struct {
	marked bool
	dq     map[string][]int64 // name to dimensions
}

// read takes the keys out of the metadata.
func (c *carried) read(m *Metadata) error {
	architecture, _ := m.String("general.architecture")
	if _, c.marked = PlainArchitecture(architecture); !c.marked {
		return nil
	}
	value, some := m.Get(dqNamesKey)
	if !some {
		return nil
	}
	names, ok := value.([]string)
	if !ok {
		return fmt.Errorf("key %q is not an array of strings", dqNamesKey)
	}
	value, _ = m.Get(dqDimsKey)
	dims, ok := value.([]uint64)
	if !ok || len(dims) != 2*len(names) {
		return fmt.Errorf("key %q is not an array of %d uint64, two for each of %q", dqDimsKey, 2*len(names), dqNamesKey)
	}
	c.dq = make(map[string][]int64, len(names))
	for i, name := range names {
		if c.dq[name] != nil {
			return fmt.Errorf("key %q names %q twice", dqNamesKey, name)
		}
		c.dq[name] = []int64{int64(dims[2*i]), int64(dims[2*i+1])}
	}
	m.Delete(dqNamesKey)
	m.Delete(dqDimsKey)
	return nil
}

// unwrap returns the tensor with its true type, dimensions and size.
func (c *carried) unwrap(t Tensor) (Tensor, error) {
	if t.Type.NF4() {
		return t, fmt.Errorf("unknown weight type %d", uint32(t.Type))
	}
	bytes, err := t.Type.size(t.Dims)
	if err != nil {
		return t, err
	}
	dq := c.dq[t.Name]
	switch {
	case dq != nil:
		size, err := NF4_DQ.size(dq)
		switch {
		case err != nil:
			return t, err
		case t.Type != I8 || len(t.Dims) != 1 || size != bytes:
			return t, fmt.Errorf("%d bytes of %s in dimensions %v are no %s weight of dimensions %v, which has %d bytes",
				bytes, t.Type, t.Dims, NF4_DQ, dq, size)
		}
		t.Type, t.Dims = NF4_DQ, dq
	case c.marked && t.Type == IQ4_NL:
		t.Type = NF4
	case c.marked && t.Type == MXFP4 && t.Dims[0]%nf4Wide != 0:
		return t, fmt.Errorf("dimensions %v are not whole %s blocks of %d", t.Dims, NF4_64, nf4Wide)
	case c.marked && t.Type == MXFP4:
		t.Type = NF4_64
	}
	t.Size = bytes
	return t, nil
}

// missing errs where a tensor that the keys name was not there.
func (c *carried) missing(index map[string]int) error {
	for name := range c.dq {
		if _, ok := index[name]; !ok {
			return fmt.Errorf("key %q names %q, which is not a tensor of the file", dqNamesKey, name)
		}
	}
	return nil
}

// carry returns metadata and tensors as a file has them.
func carry(m *Metadata, tensors []Tensor) (*Metadata, []Tensor, error) {
	if !slices.ContainsFunc(tensors, func(t Tensor) bool { return t.Type.NF4() }) {
		return m, tensors, nil
	}
	architecture, _ := m.String("general.architecture")
	if _, marked := PlainArchitecture(architecture); !marked {
		return nil, nil, fmt.Errorf("general.architecture is %q: NF4 tensors need one that ends in %q", architecture, NF4Suffix)
	}
	out := slices.Clone(tensors)
	var names []string
	var dims []uint64
	for i, t := range tensors {
		size, err := t.Type.size(t.Dims)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		switch t.Type {
		case NF4:
			out[i].Type = IQ4_NL
		case NF4_64:
			out[i].Type = MXFP4
		case NF4_DQ:
			out[i].Type, out[i].Dims = I8, []int64{size}
			names = append(names, t.Name)
			dims = append(dims, uint64(t.Dims[0]), uint64(t.Dims[1]))
		}
	}
	if names == nil {
		return m, out, nil
	}
	with := m.Clone()
	with.Set(dqNamesKey, names)
	with.Set(dqDimsKey, dims)
	return &with, out, nil
}

// tail returns how many bytes must follow the tensors, so that none that llama.cpp reads as MXFP4 ends outside
// the file. sizes are the bytes each takes.
func tail(tensors []Tensor, sizes []int64, alignment int64) int64 {
	end, least := int64(0), int64(0)
	for i, t := range tensors {
		if t.Type == NF4_DQ {
			weights, bytes := MXFP4.Block()
			least = max(least, end+t.Elements()/weights*bytes)
		}
		end += align(sizes[i], alignment)
	}
	return max(0, least-end)
}
