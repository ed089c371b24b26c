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

// TrainedNorms returns the tensors of the base's norms that PEFT would train whole with the names in modules_to_save, sorted. The
// error is a FieldError: for names of other modules, and for those that match no norm which adapters may have their own of.
func TrainedNorms(f *runtime.Facts, names []string) ([]string, error) {
	refuse := func(format string, values ...any) error {
		return &FieldError{"modules_to_save", fmt.Sprintf(format, values...), ErrUnsupported}
	}
	trained := map[string]bool{}
	for _, name := range names {
		if !namesNorms(name) {
			return nil, refuse("has %q: only RMSNorms are trained in full (input_layernorm, post_attention_layernorm, q_norm, k_norm, norm)", clip([]byte(name)))
		}
		found := false
		for tensor := range f.Norms {
			if path, ok := normModule(tensor); ok && strings.HasSuffix(path, name) {
				trained[tensor], found = true, true
			}
		}
		if !found {
			return nil, refuse("has %q: the base has no such norm", clip([]byte(name)))
		}
	}
	return slices.Sorted(maps.Keys(trained)), nil
}

// SavedNames returns what modules_to_save calls norms of the base so that PEFT finds these and no others: the name that a norm has in
// every layer, where all of these are there, and else paths. The error wraps runtime.ErrAdapter and names a tensor that the base has not.
func SavedNames(f *runtime.Facts, tensors []string) ([]string, error) {
	paths, all := map[string][]string{}, map[string]int{} // by the name; how many the base has
	for tensor := range f.Norms {
		if path, ok := normModule(tensor); ok {
			all[shortName(path)]++
		}
	}
	for _, tensor := range tensors {
		path, ok := normModule(tensor)
		if _, has := f.Norms[tensor]; !ok || !has {
			return nil, fmt.Errorf("%w: tensor %q: %s", runtime.ErrAdapter, tensor, whyNoTarget(f, tensor))
		}
		paths[shortName(path)] = append(paths[shortName(path)], path)
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		if list := paths[name]; name != shortName(finalNorm) && len(list) == all[name] { // that name is the end of the others
			names = append(names, name)
		} else {
			slices.Sort(list)
			names = append(names, list...)
		}
	}
	return names, nil
}

// addNorms adds the tensors of whole norms, and returns what modules_to_save calls them.
func (s *Source) addNorms(f *runtime.Facts, list []runtime.LoRANorm) ([]string, error) {
	var tensors []string
	for _, n := range list {
		if width, ok := f.Norms[n.Tensor]; ok && len(n.Values) != width {
			return nil, fmt.Errorf("%w: %s: a norm of %d values, %d are expected", ErrFormat, n.Tensor, len(n.Values), width)
		}
		tensors = append(tensors, n.Tensor)
	}
	names, err := SavedNames(f, tensors)
	if err != nil {
		return nil, err
	}
	for _, n := range list {
		path, _ := normModule(n.Tensor)
		a := address{path, sideSaved}
		t := lazyTensor(a.name(), []int64{int64(len(n.Values))}, nil)
		t.open = opened(runtime.RowMajor(n.Values, len(n.Values), 1), nil)
		s.tensors = append(s.tensors, placed{t, a})
	}
	return names, nil
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
