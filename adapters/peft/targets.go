package peft

import (
	"fmt"
	"maps"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Targets returns the modules that PEFT would train on the base with a configuration of r, lora_alpha,
// target_modules and what else says which: exclude_modules, layers_to_transform, rank_pattern, alpha_pattern,
// use_rslora, use_dora. They are sorted by tensor. The error is a FieldError, or an ErrUnsupported where the base carries
// no adapters.
func Targets(f *runtime.Facts, configJSON []byte) ([]runtime.TrainModule, error) {
	if !families[f.Architecture] {
		return nil, fmt.Errorf("%w: adapters are not supported on the architecture %q", ErrUnsupported, f.Architecture)
	}
	members, err := parseObject(configJSON)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFormat, ConfigFile, err)
	}
	var c config
	var x expressions
	for _, m := range members {
		if err := c.field(m, &x); err != nil {
			kind := kindOf(err)
			if kind == nil {
				kind = ErrUnsupported
			}
			return nil, &FieldError{m.key, err.Error(), kind}
		}
	}
	if err := c.targets.check(f); err != nil {
		return nil, err
	}
	var list []runtime.TrainModule
	var paths []string
	for _, tensor := range slices.Sorted(maps.Keys(f.Targets)) {
		if path, ok := peftModule(tensor); ok && c.targets.match(path) {
			list = append(list, runtime.TrainModule{Tensor: tensor, Rank: c.rankOf(path), Scale: c.scale(path), DoRA: c.dora})
			paths = append(paths, path)
		}
	}
	if len(list) == 0 {
		return nil, &FieldError{"target_modules", "together with exclude_modules and layers_to_transform leave no module to train", ErrUnsupported}
	}
	if err := checkPattern("rank_pattern", c.rankPattern, paths); err != nil {
		return nil, err
	}
	if err := checkPattern("alpha_pattern", c.alphaPattern, paths); err != nil {
		return nil, err
	}
	return list, nil
}

// checkPattern refuses a pattern that PEFT would pass over in silence.
func checkPattern[T any](field string, p patterns[T], paths []string) error {
	if key, found := p.unmatched(paths); found {
		return &FieldError{field, fmt.Sprintf("has the key %q, which matches none of the modules that would be trained", clip([]byte(key))), ErrUnsupported}
	}
	if key, found := p.shadowed(paths); found {
		return &FieldError{field, fmt.Sprintf("has the key %q, which decides nothing: of the keys that match a module the first one counts, "+
			"so put it before the others", clip([]byte(key))), ErrUnsupported}
	}
	return nil
}

// check wants every name of target_modules to be one of the base's modules, and every layer to exist.
func (t *targets) check(f *runtime.Facts) error {
	for _, l := range t.layers {
		if l < 0 || l >= f.Layers {
			return &FieldError{"layers_to_transform", fmt.Sprintf("has %d: the base has the layers 0 to %d", l, f.Layers-1), ErrUnsupported}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.exclude.names)) {
		one := moduleSet{names: map[string]bool{name: true}}
		if !anyOf(&one, f.Targets) && !anyOf(&one, f.Refused) && !one.has(headModule) && !one.has(embeddingModule) {
			return &FieldError{"exclude_modules", fmt.Sprintf("has %q, which the base has not", clip([]byte(name))), ErrUnsupported}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.include.names)) {
		one := moduleSet{names: map[string]bool{name: true}}
		if anyOf(&one, f.Targets) {
			continue
		}
		for tensor, why := range f.Refused {
			if path, ok := peftModule(tensor); ok && one.has(path) {
				return &FieldError{"target_modules", fmt.Sprintf("has %q: %s of the base cannot carry an adapter: %s", name, tensor, why), ErrUnsupported}
			}
		}
		return &FieldError{"target_modules", fmt.Sprintf("has %q, which the base has not", clip([]byte(name))), ErrUnsupported}
	}
	return nil
}

// anyOf reports whether one of the base's tensors belongs to the set.
func anyOf[T any](s *moduleSet, base map[string]T) bool {
	for tensor := range base {
		if path, ok := peftModule(tensor); ok && s.has(path) {
			return true
		}
	}
	return false
}
