package adapters

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file matches an adapter with the base: every tensor has its pair, its place and its shape, or the
// adapter is refused with the tensor's name. Nothing is left out in silence.

// source is an adapter in one of its forms, its tensors not read yet.
type source struct {
	config  *config
	tensors []placed
	closer  func() // may be nil
}

func (s *source) close() {
	if s.closer != nil {
		s.closer()
	}
}

// placed is a tensor and what it is. Its Name is the one in the file it came from; its values are in PEFT's
// layout and row order.
type placed struct {
	Tensor
	address
}

// peftSource makes a source of a PEFT adapter's two files.
func peftSource(configJSON []byte, tensors []Tensor) (*source, error) {
	c, err := parseConfig(configJSON)
	if err != nil {
		return nil, err
	}
	s := &source{config: c, tensors: make([]placed, len(tensors))}
	for i, t := range tensors {
		a, err := parsePEFTName(t.Name)
		if err != nil {
			return nil, err
		}
		s.tensors[i] = placed{t, a}
	}
	return s, nil
}

// fitted is a source that fits the base.
type fitted struct {
	modules []module // sorted by path
	summary Summary
}

// module is one LoRA of an adapter.
type module struct {
	path   string
	tensor string
	shape  runtime.Shape
	rank   int
	scale  float32
	heads  int // rows of b are permuted by head; 0: they are not
	a, b   *placed
}

// fit checks everything about the adapter but its values. The error wraps runtime.ErrAdapter, ErrUnsupported
// or ErrFormat and names the tensor or field.
func (s *source) fit(f *runtime.Facts) (*fitted, error) {
	if !families[f.Architecture] {
		return nil, fmt.Errorf("%w: adapters are not supported on the architecture %q", ErrUnsupported, f.Architecture)
	}
	pairs := make(map[string]*[2]*placed, len(s.tensors)/2)
	for i := range s.tensors {
		t := &s.tensors[i]
		if pairs[t.module] == nil {
			pairs[t.module] = new([2]*placed)
		}
		if other := pairs[t.module][t.side]; other != nil {
			return nil, fmt.Errorf("%w: tensors %q and %q are the same", ErrFormat, other.Name, t.Name)
		}
		pairs[t.module][t.side] = t
	}
	if len(pairs) == 0 {
		return nil, fmt.Errorf("%w: it holds no tensors", ErrFormat)
	}
	var out fitted
	for _, path := range slices.Sorted(maps.Keys(pairs)) {
		m, err := s.config.fitModule(f, path, pairs[path])
		if err != nil {
			return nil, err
		}
		out.modules = append(out.modules, m)
	}
	out.summary = s.config.summarize(f, out.modules)
	return &out, nil
}

// fitModule checks one pair of matrices.
func (c *config) fitModule(f *runtime.Facts, path string, p *[2]*placed) (module, error) {
	a, b := p[sideA], p[sideB]
	if a == nil || b == nil {
		have := a
		if have == nil {
			have = b
		}
		return module{}, fmt.Errorf("%w: tensor %q has no partner lora_%s", ErrFormat, have.Name, "BA"[have.side:have.side+1])
	}
	m := module{path: path, rank: c.rankOf(path), scale: c.scale(path), a: a, b: b}
	m.tensor, _ = ggufTensor(path)
	var ok bool
	if m.shape, ok = f.Targets[m.tensor]; !ok {
		return m, fmt.Errorf("%w: tensor %q: %s", runtime.ErrAdapter, a.Name, whyNoTarget(f, m.tensor))
	}
	if !c.targets.match(path) {
		return m, fmt.Errorf("%w: tensor %q is not covered by target_modules of %s, so PEFT would not apply it",
			ErrFormat, a.Name, configFile)
	}
	if err := m.checkShapes(); err != nil {
		return m, err
	}
	if m.heads = heads(f, m.tensor); m.heads > 0 && m.shape.Out%(2*m.heads) != 0 {
		return m, fmt.Errorf("%w: tensor %q: %d rows cannot be split into %d heads of pairs",
			runtime.ErrAdapter, b.Name, m.shape.Out, m.heads)
	}
	if s := float64(m.scale); s == 0 || math.IsInf(s, 0) {
		return m, fmt.Errorf("%w: tensor %q: the scale alpha/rank is %v", ErrUnsupported, a.Name, m.scale)
	}
	return m, nil
}

// whyNoTarget says why the base has no such target.
func whyNoTarget(f *runtime.Facts, tensor string) string {
	if why := f.Refused[tensor]; why != "" {
		return fmt.Sprintf("%s of the base cannot carry an adapter: %s", tensor, why)
	}
	return fmt.Sprintf("the base %q has no %s; the adapter was made for another model", f.Name, tensor)
}

// checkShapes wants a (rank, in) and b (out, rank).
func (m *module) checkShapes() error {
	for _, x := range []struct {
		t       *placed
		rank    int64
		other   int64
		want    int
		wantDim string
		shape   []int64
	}{
		{m.a, dim(m.a, 0), dim(m.a, 1), m.shape.In, "inputs", []int64{int64(m.rank), int64(m.shape.In)}},
		{m.b, dim(m.b, 1), dim(m.b, 0), m.shape.Out, "outputs", []int64{int64(m.shape.Out), int64(m.rank)}},
	} {
		switch {
		case len(x.t.Shape) != 2:
			return fmt.Errorf("%w: tensor %q has the shape %v, %v is expected", ErrFormat, x.t.Name, x.t.Shape, x.shape)
		case x.other != int64(x.want):
			return fmt.Errorf("%w: tensor %q has %d %s, %s of the base has %d; the adapter was made for another model",
				runtime.ErrAdapter, x.t.Name, x.other, x.wantDim, m.tensor, x.want)
		case x.rank != int64(m.rank):
			return fmt.Errorf("%w: tensor %q has rank %d, r or rank_pattern of %s says %d",
				ErrFormat, x.t.Name, x.rank, configFile, m.rank)
		}
	}
	return nil
}

func dim(t *placed, i int) int64 {
	if i < len(t.Shape) {
		return t.Shape[i]
	}
	return 0
}

// summarize describes modules that fit, and warns of targets the adapter has no tensors for.
func (c *config) summarize(f *runtime.Facts, modules []module) Summary {
	s := Summary{Alpha: c.alpha, RSLoRA: c.rsLoRA, Modules: len(modules)}
	held := make(map[string]bool, len(modules))
	short := make(map[string]bool)
	for _, m := range modules {
		s.Rank = max(s.Rank, m.rank)
		s.Parameters += int64(m.rank) * int64(m.shape.In+m.shape.Out)
		held[m.tensor] = true
		short[shortName(m.path)] = true
	}
	for name := range short {
		s.Targets = append(s.Targets, name)
	}
	slices.Sort(s.Targets)
	var missing []string
	for tensor := range f.Targets {
		if path, ok := peftModule(tensor); ok && !held[tensor] && c.targets.match(path) {
			missing = append(missing, path)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		s.Warnings = append(s.Warnings, fmt.Sprintf("target_modules names %d modules that the adapter holds no tensors for "+
			"(%s is the first); they stay as the base has them", len(missing), missing[0]))
	}
	return s
}

// load reads the module's values, in GGUF's row order. The error wraps ErrUnsupported where one is not finite.
func (m *module) load() (runtime.LoRAModule, error) {
	out := runtime.LoRAModule{Tensor: m.tensor, Rank: m.rank, In: m.shape.In, Out: m.shape.Out, Scale: m.scale}
	var err error
	if out.A, err = m.a.finite(); err != nil {
		return out, err
	}
	if out.B, err = m.b.finite(); err != nil {
		return out, err
	}
	if m.heads > 0 {
		out.B, err = permute(out.B, m.shape.Out, m.heads, true)
	}
	return out, err
}

// finite reads the values and refuses NaN and infinity.
func (t *placed) finite() ([]float32, error) {
	v, err := t.Float32()
	if err != nil {
		return nil, err
	}
	for i, x := range v {
		if math.Float32bits(x)&0x7f800000 == 0x7f800000 {
			return nil, fmt.Errorf("%w: tensor %q: value %d is %v", ErrUnsupported, t.Name, i, x)
		}
	}
	return v, nil
}

// lora reads the whole adapter.
func (f *fitted) lora() (*runtime.LoRA, error) {
	out := &runtime.LoRA{Modules: make([]runtime.LoRAModule, len(f.modules))}
	for i := range f.modules {
		var err error
		if out.Modules[i], err = f.modules[i].load(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
