package adapters

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/lorikeet-ai/lorikeet/internal/parallel"
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
	tensors []*placed // all of them, by path and part
	modules []module  // sorted by path
	biases  []bias
	rows    []ownRows
	summary Summary
}

// module is one LoRA of an adapter.
type module struct {
	path   string
	tensor string
	shape  runtime.Shape
	rank   int
	scale  float32
	heads  int // rows of b and m are permuted by head; 0: they are not
	a, b   *placed
	m      *placed // DoRA's magnitude vector; nil: plain LoRA
}

// fit checks everything about the adapter but its values. The error wraps runtime.ErrAdapter, ErrUnsupported
// or ErrFormat and names the tensor or field.
func (s *source) fit(f *runtime.Facts) (*fitted, error) {
	if !families[f.Architecture] {
		return nil, fmt.Errorf("%w: adapters are not supported on the architecture %q", ErrUnsupported, f.Architecture)
	}
	pairs := make(map[string]*parts, len(s.tensors)/2)
	for i := range s.tensors {
		t := &s.tensors[i]
		if pairs[t.module] == nil {
			pairs[t.module] = new(parts)
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
		if err := s.config.fitPath(f, path, pairs, &out); err != nil {
			return nil, err
		}
	}
	if err := s.config.checkWhole(f, pairs); err != nil {
		return nil, err
	}
	out.summary = s.config.summarize(f, &out)
	return &out, nil
}

// fitPath checks the tensors of one module and adds what they are to out.
func (c *config) fitPath(f *runtime.Facts, path string, pairs map[string]*parts, out *fitted) error {
	p := pairs[path]
	if p.low() {
		m, err := c.fitModule(f, path, p)
		if err != nil {
			return err
		}
		out.modules = append(out.modules, m)
	}
	biases, err := c.fitBiases(f, path, p)
	if err != nil {
		return err
	}
	head := pairs[headModule]
	rows, err := c.fitRows(f, path, p, head != nil && (head[sideSaved] != nil || head[sideBaseSaved] != nil || head[sideTokens] != nil))
	if err != nil {
		return err
	}
	out.biases, out.rows = append(out.biases, biases...), append(out.rows, rows...)
	for _, t := range p {
		if t != nil {
			out.tensors = append(out.tensors, t)
		}
	}
	return nil
}

// fitModule checks one module: its pair of matrices, and its magnitude vector where there is one.
func (c *config) fitModule(f *runtime.Facts, path string, p *parts) (module, error) {
	a, b := p[sideA], p[sideB]
	if a == nil || b == nil {
		have := a
		if have == nil {
			have = b
		}
		if have == nil {
			if have = p[sideMagnitude]; have == nil {
				have = p[sideLoRABias]
			}
			return module{}, fmt.Errorf("%w: tensor %q has no lora_A and lora_B beside it", ErrFormat, have.Name)
		}
		return module{}, fmt.Errorf("%w: tensor %q has no partner lora_%s", ErrFormat, have.Name, "BA"[have.side:have.side+1])
	}
	m := module{path: path, rank: c.rankOf(path), scale: c.scale(path), a: a, b: b, m: p[sideMagnitude]}
	m.tensor, _ = ggufTensor(path)
	var ok bool
	if m.shape, ok = f.Targets[m.tensor]; !ok {
		return m, fmt.Errorf("%w: tensor %q: %s", runtime.ErrAdapter, a.Name, whyNoTarget(f, m.tensor))
	}
	if !c.targets.match(path) {
		return m, fmt.Errorf("%w: tensor %q is not covered by target_modules of %s, so PEFT would not apply it",
			ErrFormat, a.Name, configFile)
	}
	if err := c.checkMagnitude(&m); err != nil {
		return m, err
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

// lookup reports whether the module is the embeddings, whose matrices PEFT keeps the other way round: its a is
// (rank, vocabulary), its b (width, rank), and B*A is the transpose of what is added to token_embd.
func (m *module) lookup() bool { return m.path == embeddingModule }

// checkShapes wants a (rank, in) and b (out, rank), or what lookup says.
func (m *module) checkShapes() error {
	in, out, inName, outName := m.shape.In, m.shape.Out, "inputs", "outputs"
	if m.lookup() {
		in, out, inName, outName = out, in, "tokens", "columns"
	}
	if err := m.checkShape(m.a, 1, in, inName); err != nil {
		return err
	}
	if err := m.checkShape(m.b, 0, out, outName); err != nil {
		return err
	}
	if m.m != nil && (len(m.m.Shape) != 1 || m.m.Shape[0] != int64(out)) {
		return fmt.Errorf("%w: tensor %q has the shape %v, one magnitude for each of the %d %s is expected",
			ErrFormat, m.m.Name, m.m.Shape, out, outName)
	}
	return nil
}

// checkMagnitude wants a magnitude vector where the configuration says DoRA, and there alone.
func (c *config) checkMagnitude(m *module) error {
	switch {
	case c.dora && m.m == nil:
		return fmt.Errorf("%w: use_dora of %s is true, but there is no tensor %q", ErrFormat, configFile, address{m.path, sideMagnitude}.name())
	case !c.dora && m.m != nil:
		return fmt.Errorf("%w: tensor %q is DoRA's magnitude vector, but use_dora of %s is not true", ErrFormat, m.m.Name, configFile)
	}
	return nil
}

// checkShape wants want features in the one dimension and the rank in the other.
func (m *module) checkShape(t *placed, at, want int, what string) error {
	if len(t.Shape) != 2 {
		return fmt.Errorf("%w: tensor %q has the shape %v, two dimensions are expected", ErrFormat, t.Name, t.Shape)
	}
	if got := t.Shape[at]; got != int64(want) {
		return fmt.Errorf("%w: tensor %q has %d %s, %s of the base has %d; the adapter was made for another model",
			runtime.ErrAdapter, t.Name, got, what, m.tensor, want)
	}
	if rank := t.Shape[1-at]; rank != int64(m.rank) {
		return fmt.Errorf("%w: tensor %q has rank %d, r or rank_pattern of %s says %d", ErrFormat, t.Name, rank, configFile, m.rank)
	}
	return nil
}

// summarize describes modules that fit, and warns of targets the adapter has no tensors for.
func (c *config) summarize(f *runtime.Facts, x *fitted) Summary {
	s := Summary{Alpha: c.alpha, RSLoRA: c.rsLoRA, DoRA: c.dora}
	held, changed := make(map[string]bool), make(map[string]bool)
	short := make(map[string]bool)
	for _, m := range x.modules {
		s.Rank = max(s.Rank, m.rank)
		held[m.tensor], changed[m.tensor] = true, true
	}
	for _, b := range x.biases {
		changed[b.tensor] = true
	}
	for _, r := range x.rows {
		changed[r.tensor] = true
		s.Whole += r.t.Elements()
	}
	for _, t := range x.tensors {
		s.Parameters += t.Elements()
		short[shortName(t.module)] = true
	}
	s.Modules = len(changed)
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
	a, err := m.a.finite()
	if err != nil {
		return out, err
	}
	b, err := m.b.finite()
	if err != nil {
		return out, err
	}
	if m.lookup() {
		a, b = transpose(b, m.shape.In, m.rank), transpose(a, m.rank, m.shape.Out)
	}
	out.A = a
	if out.B, err = m.permuted(b); err != nil || m.m == nil {
		return out, err
	}
	magnitude, err := m.m.finite()
	if err != nil {
		return out, err
	}
	out.Magnitude, err = m.permuted(magnitude)
	return out, err
}

// permuted brings rows of Hugging Face's order into GGUF's.
func (m *module) permuted(rows []float32) ([]float32, error) {
	if m.heads == 0 {
		return rows, nil
	}
	return permute(rows, m.shape.Out, m.heads, true)
}

// finite reads the values and refuses NaN and infinity.
func (t *placed) finite() ([]float32, error) {
	v, err := t.Float32()
	if err != nil {
		return nil, err
	}
	return v, t.checkFinite(v, 0)
}

// checkFinite looks at a part of the values, whose first is number first.
func (t *placed) checkFinite(v []float32, first int64) error {
	if allFinite(v) {
		return nil
	}
	for i, x := range v {
		if math.Float32bits(x)&0x7f800000 == 0x7f800000 {
			return fmt.Errorf("%w: tensor %q: value %d is %v", ErrUnsupported, t.Name, first+int64(i), x)
		}
	}
	return nil
}

// allFinite tests them without a branch for each: x*0 is NaN for those that are not, and 0 for the others.
func allFinite(v []float32) bool {
	var a, b, c, d float32
	for ; len(v) >= 4; v = v[4:] {
		a += v[0] * 0
		b += v[1] * 0
		c += v[2] * 0
		d += v[3] * 0
	}
	for _, x := range v {
		a += x * 0
	}
	return a+b+c+d == 0
}

// lora reads the whole adapter, several modules at a time.
func (f *fitted) lora() (*runtime.LoRA, error) {
	out := &runtime.LoRA{Modules: make([]runtime.LoRAModule, len(f.modules))}
	err := parallel.Each(len(f.modules), func(i int) (err error) {
		out.Modules[i], err = f.modules[i].load()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, f.whole(out)
}
