package peft

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file has the weights of RMSNorms that a PEFT adapter may hold whole (modules_to_save).

// Norm is the weight of an RMSNorm that stands in the place of the base's.
type Norm struct {
	Tensor string // of the base
	Width  int    // its values

	t *placed
}

// finalNorm is the path of the norm behind the last layer.
const finalNorm = "model.norm"

// norms maps a layer's norms to the middle of "blk.N.attn_norm.weight".
var norms = map[string]string{
	"input_layernorm":          "attn_norm",
	"post_attention_layernorm": "ffn_norm",
	"self_attn.q_norm":         "attn_q_norm",
	"self_attn.k_norm":         "attn_k_norm",
}

// normTensor returns the base tensor of a norm's path: "model.layers.0.input_layernorm" gives "blk.0.attn_norm.weight".
func normTensor(module string) (tensor string, ok bool) {
	if module == finalNorm {
		return "output_norm.weight", true
	}
	rest, ok := strings.CutPrefix(module, "model.layers.")
	layer, norm, _ := strings.Cut(rest, ".")
	gguf, known := norms[norm]
	return "blk." + layer + "." + gguf + ".weight", ok && known && isIndex(layer)
}

// normModule is the inverse of normTensor.
func normModule(tensor string) (module string, ok bool) {
	if tensor == "output_norm.weight" {
		return finalNorm, true
	}
	rest, blk := strings.CutPrefix(tensor, "blk.")
	rest, weight := strings.CutSuffix(rest, ".weight")
	layer, name, _ := strings.Cut(rest, ".")
	for hf, gguf := range norms {
		if gguf == name {
			return "model.layers." + layer + "." + hf, blk && weight && isIndex(layer)
		}
	}
	return "", false
}

// namesNorms reports whether modules_to_save may name norms so. PEFT saves whatever module's path ends with the name:
// "norm" is every norm of a model.
func namesNorms(name string) bool {
	if name == "" {
		return false
	}
	if _, ok := normTensor(name); ok || strings.HasSuffix(finalNorm, name) {
		return true
	}
	for norm := range norms {
		if strings.HasSuffix(norm, name) || strings.HasSuffix(name, "."+norm) {
			return true
		}
	}
	return false
}

// fitNorm checks the tensors of a norm.
func fitNorm(f *runtime.Facts, path string, p *parts) (Norm, error) {
	t := p[sideSaved]
	tensor, _ := normTensor(path)
	width, ok := f.Norms[tensor]
	if !ok {
		return Norm{}, fmt.Errorf("%w: tensor %q: %s", runtime.ErrAdapter, t.Name, whyNoTarget(f, tensor))
	}
	if !slices.Equal(t.Shape, []int64{int64(width)}) {
		return Norm{}, fmt.Errorf("%w: tensor %q has the shape %v, %s of the base has %d values", runtime.ErrAdapter, t.Name, t.Shape, tensor, width)
	}
	return Norm{Tensor: tensor, Width: width, t: t}, nil
}

// checkNorms wants a tensor for every name of norms in modules_to_save.
func (c *config) checkNorms(list []Norm) error {
	for _, name := range c.savedNorms {
		if !slices.ContainsFunc(list, func(n Norm) bool { return strings.HasSuffix(n.t.module, name) }) {
			return fmt.Errorf("%w: %s: modules_to_save names %q, but there is no tensor of such a norm", ErrFormat, ConfigFile, name)
		}
	}
	return nil
}

// missingNorms warns of norms that modules_to_save names and the adapter holds no tensors for.
func (c *config) missingNorms(f *runtime.Facts, list []Norm) []string {
	var missing []string
	for _, tensor := range slices.Sorted(maps.Keys(f.Norms)) {
		path, ok := normModule(tensor)
		named := slices.ContainsFunc(c.savedNorms, func(name string) bool { return strings.HasSuffix(path, name) })
		if ok && named && !slices.ContainsFunc(list, func(n Norm) bool { return n.Tensor == tensor }) {
			missing = append(missing, path)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("modules_to_save names %d norms that the adapter holds no tensors for (%s is the first); they stay as the base has them",
		len(missing), missing[0])}
}

// Name is the norm's name in the file that it came from.
func (n *Norm) Name() string { return n.t.Name }

// Load reads the weight. The error wraps ErrUnsupported where a value is not finite.
func (n *Norm) Load() (runtime.LoRANorm, error) {
	v, err := n.t.finite()
	return runtime.LoRANorm{Tensor: n.Tensor, Values: v}, err
}
