package modelfile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// maxParts is more files than any published model has.
const maxParts = 1000

// parts adds the tensors of the other files of a split model. llama.cpp opens them by their names:
// PREFIX-00001-of-00003.gguf and so on.
func (c *checker) parts(f *quant.File, path string) error {
	if err := contiguous(f); err != nil {
		return err
	}
	v, ok := f.Metadata.Get("split.count")
	if !ok {
		return nil
	}
	n, isUint16 := v.(uint16)
	switch {
	case !isUint16:
		return fmt.Errorf("split.count is of type %T, it must be uint16", v)
	case n <= 1:
		return nil
	case n > maxParts:
		return fmt.Errorf("split.count is %d, more than %d", n, maxParts)
	case path == "":
		return fmt.Errorf("split.count is %d: a model in several files cannot be loaded from memory", n)
	}
	if err := checkPart(f, 0); err != nil {
		return err
	}
	prefix, ok := strings.CutSuffix(path, fmt.Sprintf("-%05d-of-%05d.gguf", 1, n))
	if !ok {
		return fmt.Errorf("split.count is %d, but the file's name does not end in \"-%05d-of-%05d.gguf\"", n, 1, n)
	}
	c.tensors = append([]quant.Tensor(nil), f.Tensors...)
	for i := 1; i < int(n); i++ {
		if err := c.addPart(fmt.Sprintf("%s-%05d-of-%05d.gguf", prefix, i+1, n), i); err != nil {
			return err
		}
	}
	if total, ok := f.Metadata.Get("split.tensors.count"); ok {
		if _, isInt32 := total.(int32); !isInt32 {
			return fmt.Errorf("split.tensors.count is of type %T, it must be int32", total)
		}
	}
	return nil
}

func (c *checker) addPart(path string, i int) error {
	f, err := quant.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := errors.Join(checkPart(f, i), contiguous(f)); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	c.tensors = append(c.tensors, f.Tensors...)
	return nil
}

func checkPart(f *quant.File, i int) error {
	v, _ := f.Metadata.Get("split.no")
	if no, ok := v.(uint16); !ok || int(no) != i {
		return fmt.Errorf("split.no is %v, it must be %d as uint16", v, i)
	}
	return nil
}

// contiguous checks that each tensor begins where the one before it ends, with padding: gguf.cpp takes no gaps.
func contiguous(f *quant.File) error {
	alignment := int64(32)
	if v, ok := f.Metadata.Uint("general.alignment"); ok {
		alignment = int64(v)
	}
	next := f.DataStart()
	for _, t := range f.Tensors {
		if t.Offset != next {
			return fmt.Errorf("tensor %q begins at byte %d of the file, it must begin at %d, behind the one before it", t.Name, t.Offset, next)
		}
		next += (t.Size + alignment - 1) / alignment * alignment
	}
	return nil
}
