package modelfile

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// maxName is one less than GGML_MAX_NAME, which counts the zero byte.
const maxName = 63

// noWeights are the types that ggml has no products for: it would call a function that is not there.
var noWeights = []string{"Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"}

// checkTensors checks names, types and layers.
func (c *checker) checkTensors() error {
	if len(c.tensors) != len(c.byName) {
		return errors.New("two parts of the model have a tensor of the same name")
	}
	for _, t := range c.tensors {
		switch {
		case len(t.Name) > maxName:
			return fmt.Errorf("tensor %q has a name of %d bytes, more than %d", t.Name, len(t.Name), maxName)
		case strings.ContainsRune(t.Name, 0):
			return fmt.Errorf("tensor %q has a zero byte in its name", t.Name)
		case slices.Contains(noWeights, t.Type.String()):
			return fmt.Errorf("tensor %q has the type %s, which weights cannot have", t.Name, t.Type)
		case isVector(t) && t.Type != quant.F32:
			return fmt.Errorf("tensor %q has the type %s, it must be F32", t.Name, t.Type)
		}
		if layer, ok := layerOf(t.Name); ok && layer >= int64(c.layers) {
			return fmt.Errorf("tensor %q belongs to layer %d, but %s is %d", t.Name, layer, c.key("block_count"), c.layers)
		}
		if err := c.checkBias(t); err != nil {
			return err
		}
	}
	return nil
}

// isVector reports whether a tensor is added or multiplied element by element, or has factors of rope's frequencies.
func isVector(t quant.Tensor) bool {
	return strings.HasSuffix(t.Name, ".bias") || len(t.Dims) == 1 && strings.HasSuffix(t.Name, "_norm.weight") ||
		strings.Contains(t.Name, "rope_freqs.") || strings.Contains(t.Name, "rope_factors_")
}

// checkBias checks a bias against its weight: it has one value for each output.
func (c *checker) checkBias(t quant.Tensor) error {
	name, ok := strings.CutSuffix(t.Name, ".bias")
	if !ok {
		return nil
	}
	w, ok := c.byName[name+".weight"]
	if !ok {
		return nil
	}
	want := w.Dims
	if len(want) > 1 && !strings.HasSuffix(name, "_norm") { // a norm's bias has the shape of its weight
		want = want[1:]
	}
	if !slices.Equal(trimmed(t.Dims), trimmed(want)) {
		return fmt.Errorf("tensor %q has dimensions %v, but its weight has %v", t.Name, t.Dims, w.Dims)
	}
	return nil
}

// trimmed leaves out the last dimensions of 1.
func trimmed(dims []int64) []int64 {
	for len(dims) > 1 && dims[len(dims)-1] == 1 {
		dims = dims[:len(dims)-1]
	}
	return dims
}

// layerOf returns the number in "blk.7.attn_q.weight".
func layerOf(name string) (int64, bool) {
	rest, ok := strings.CutPrefix(name, "blk.")
	if !ok {
		return 0, false
	}
	number, _, ok := strings.Cut(rest, ".")
	if !ok {
		return 0, false
	}
	layer, err := strconv.ParseInt(number, 10, 64)
	return layer, err == nil && layer >= 0
}
