//go:build cgo && linux

package llama

import (
	"fmt"
	"io"
	"math"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// checkWeights refuses weights that are no numbers: one makes every logit NaN. Matrices are too large to be
// read before they are needed: they are looked at where all is set.
func checkWeights(file *quant.File, all bool) error {
	for _, t := range file.Tensors {
		switch {
		case len(t.Dims) == 1 && t.Type == quant.F32 && t.Elements() <= 1<<20:
			if err := checkVector(file, t); err != nil {
				return err
			}
		case all && !t.Type.NF4(): // the scales of NF4 are checked when it is packed
			if err := checkMatrix(file, t); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkVector(file *quant.File, t quant.Tensor) error {
	values, err := file.ReadF32(t.Name)
	if err != nil {
		return err
	}
	for i, x := range values {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return fmt.Errorf("tensor %q: value %d is %g", t.Name, i, x)
		}
	}
	return nil
}

// checkMatrix reads some blocks at a time.
func checkMatrix(file *quant.File, t quant.Tensor) error {
	const some = 4 << 20 // bytes
	r, err := file.TensorReader(t.Name)
	if err != nil {
		return err
	}
	weights, bytes := t.Type.Block()
	buffer := make([]byte, min(t.Size, some/bytes*bytes))
	for at := int64(0); at < t.Size; at += int64(len(buffer)) {
		part := buffer[:min(t.Size-at, int64(len(buffer)))]
		if _, err := io.ReadFull(r, part); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if !valid(t.Type, part) {
			first, end := at/bytes*weights, (at+int64(len(part)))/bytes*weights
			return fmt.Errorf("tensor %q: one of the weights %d to %d is infinite or not a number", t.Name, first, end-1)
		}
	}
	return nil
}
