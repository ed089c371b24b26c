//go:build cgo && linux

package llama

import (
	"fmt"
	"io"
	"math"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// checkWeights refuses weights that are no numbers, which would make every logit one. Matrices are too large to be
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

// checkMatrix reads some rows at a time.
func checkMatrix(file *quant.File, t quant.Tensor) error {
	const some = 4 << 20 // bytes
	r, err := file.TensorReader(t.Name)
	if err != nil {
		return err
	}
	rows := max(t.Elements()/max(t.Dims[0], 1), 1)
	row := t.Size / rows
	buffer := make([]byte, row*max(1, min(rows, some/max(row, 1))))
	for at := int64(0); at < rows; {
		n := min(rows-at, int64(len(buffer))/max(row, 1))
		part := buffer[:n*row]
		if _, err := io.ReadFull(r, part); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if len(part) > 0 && !valid(t.Type, part) {
			return fmt.Errorf("tensor %q: a weight in rows %d to %d is infinite or not a number", t.Name, at, at+n-1)
		}
		at += n
	}
	return nil
}
