package peft

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/lorikeet-ai/lorikeet/internal/parallel"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file matches an adapter with the base: every tensor has its pair, its place and its shape, or the
// adapter is refused with the tensor's name. Nothing is left out in silence.

// Source is an adapter in one of its forms. Its configuration has been read, the values of its tensors have not.
// It is used by one goroutine at a time.
type Source struct {
	config  *config
	tensors []placed
	closers []func()
}

// OnClose has Close call f, before what earlier calls gave it.
func (s *Source) OnClose(f func()) { s.closers = append(s.closers, f) }

// Close closes the files that the tensors are read from. It may be called twice.
func (s *Source) Close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
}

// Bytes returns the length of all tensors' values, or the largest int64 where that is less.
func (s *Source) Bytes() int64 {
	var sum int64
	for i := range s.tensors {
		if sum += s.tensors[i].bytes(); sum < 0 {
			return math.MaxInt64
		}
	}
	return sum
}

// placed is a tensor and its place in the model. Its Name is the one in the file it came from; its values are in
// PEFT's layout and row order.
type placed struct {
	Tensor
	address
}

// Read reads the two files of a PEFT adapter, of the tensors the header alone: both must stay readable while the
// Source is in use. The error wraps ErrFormat or ErrUnsupported and names the file, field or tensor.
func Read(config, tensors *io.SectionReader) (*Source, error) {
	if config.Size() > MaxConfig {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are read", ErrFormat, ConfigFile, config.Size(), MaxConfig)
	}
	raw := make([]byte, config.Size())
	if err := readAt(config, raw, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", ConfigFile, err)
	}
	list, err := ReadTensors(tensors, tensors.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", TensorsFile, err)
	}
	return newSource(raw, list)
}

// newSource makes a Source of a configuration and the tensors of a PEFT file.
func newSource(configJSON []byte, tensors []Tensor) (*Source, error) {
	c, err := parseConfig(configJSON)
	if err != nil {
		return nil, err
	}
	s := &Source{config: c, tensors: make([]placed, len(tensors))}
	for i, t := range tensors {
		a, err := parsePEFTName(t.Name)
		if err != nil {
			return nil, err
		}
		s.tensors[i] = placed{t, a}
	}
	return s, nil
}

// Adapter is an adapter that fits a base: each of its tensors has its place there. Values are read when they are
// asked for, by any goroutine.
type Adapter struct {
	Modules []Module // its LoRAs, sorted by path
	Biases  []Bias   // trained biases
	Rows    []Rows   // of the embeddings and the head
	Norms   []Norm   // whole weights of norms
	Summary Summary

	source  *Source
	tensors []*placed // all of them, by path and part
}

// Close closes the Source that the adapter was made from. It may be called twice.
func (a *Adapter) Close() { a.source.Close() }

// Canonical returns the adapter in the one form that equal adapters share: its configuration, and its tensors under
// their canonical names, sorted by module. Reading the values of a tensor fails with an ErrUnsupported that names it
// where one of them is not finite.
func (a *Adapter) Canonical() (configJSON []byte, tensors []Tensor, err error) {
	for _, t := range a.tensors {
		tensors = append(tensors, Tensor{Name: t.address.name(), DType: t.DType, Shape: t.Shape, open: t.openFinite})
	}
	configJSON, err = a.source.config.encode()
	return configJSON, tensors, err
}

// Module is one LoRA of an adapter: Scale * B * A is added to a weight of the base.
type Module struct {
	Path   string        // in the Hugging Face model: "model.layers.0.self_attn.q_proj"
	Tensor string        // of the base: "blk.0.attn_q.weight"
	Shape  runtime.Shape // of that tensor
	Rank   int
	Scale  float32

	heads int // rows of b and m are permuted by head; 0: they are not
	a, b  *placed
	m     *placed // DoRA's magnitude vector; nil: plain LoRA
}

// Fit checks everything about the adapter but its values. The error wraps runtime.ErrAdapter, ErrUnsupported
// or ErrFormat and names the tensor or field.
func (s *Source) Fit(f *runtime.Facts) (*Adapter, error) {
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
	var out Adapter
	for _, path := range slices.Sorted(maps.Keys(pairs)) {
		if err := s.config.fitPath(f, path, pairs, &out); err != nil {
			return nil, err
		}
	}
	if err := s.config.checkWhole(f, pairs); err != nil {
		return nil, err
	}
	if err := s.config.checkNorms(out.Norms); err != nil {
		return nil, err
	}
	if err := s.config.fitInvocation(f); err != nil {
		return nil, err
	}
	out.Summary = s.config.summarize(f, &out)
	out.source = s
	return &out, nil
}

// fitPath checks the tensors of one module and adds what they are to out.
func (c *config) fitPath(f *runtime.Facts, path string, pairs map[string]*parts, out *Adapter) error {
	p := pairs[path]
	if _, ok := normTensor(path); ok {
		n, err := fitNorm(f, path, p)
		out.Norms, out.tensors = append(out.Norms, n), append(out.tensors, p[sideSaved])
		return err
	}
	if p.low() {
		m, err := c.fitModule(f, path, p)
		if err != nil {
			return err
		}
		out.Modules = append(out.Modules, m)
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
	out.Biases, out.Rows = append(out.Biases, biases...), append(out.Rows, rows...)
	for _, t := range p {
		if t != nil {
			out.tensors = append(out.tensors, t)
		}
	}
	return nil
}

// fitModule checks one module: its pair of matrices, and its magnitude vector where there is one.
func (c *config) fitModule(f *runtime.Facts, path string, p *parts) (Module, error) {
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
			return Module{}, fmt.Errorf("%w: tensor %q has no lora_A and lora_B beside it", ErrFormat, have.Name)
		}
		return Module{}, fmt.Errorf("%w: tensor %q has no partner lora_%s", ErrFormat, have.Name, "BA"[have.side:have.side+1])
	}
	m := Module{Path: path, Rank: c.rankOf(path), Scale: c.scale(path), a: a, b: b, m: p[sideMagnitude]}
	m.Tensor, _ = ggufTensor(path)
	var ok bool
	if m.Shape, ok = f.Targets[m.Tensor]; !ok {
		return m, fmt.Errorf("%w: tensor %q: %s", runtime.ErrAdapter, a.Name, whyNoTarget(f, m.Tensor))
	}
	if !c.targets.match(path) {
		return m, fmt.Errorf("%w: tensor %q is not covered by target_modules of %s, so PEFT would not apply it",
			ErrFormat, a.Name, ConfigFile)
	}
	if err := c.checkMagnitude(&m); err != nil {
		return m, err
	}
	if err := m.checkShapes(); err != nil {
		return m, err
	}
	if m.heads = heads(f, m.Tensor); m.heads > 0 && m.Shape.Out%(2*m.heads) != 0 {
		return m, fmt.Errorf("%w: tensor %q: %d rows cannot be split into %d heads of pairs",
			runtime.ErrAdapter, b.Name, m.Shape.Out, m.heads)
	}
	if s := float64(m.Scale); s == 0 || math.IsInf(s, 0) {
		return m, fmt.Errorf("%w: tensor %q: the scale alpha/rank is %v", ErrUnsupported, a.Name, m.Scale)
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

// A reads the matrix lora_A (Rank, inputs) in PEFT's layout; of the embeddings it is (Rank, tokens). The error wraps
// ErrUnsupported where a value is not finite.
func (m *Module) A() ([]float32, error) { return m.a.finite() }

// B reads the matrix lora_B (outputs, Rank) in PEFT's layout and row order; of the embeddings it is (columns, Rank).
func (m *Module) B() ([]float32, error) { return m.b.finite() }

// Dims returns the inputs and outputs as PEFT counts them: of the embeddings, the tokens and the columns.
func (m *Module) Dims() (in, out int) {
	if m.lookup() {
		return m.Shape.Out, m.Shape.In
	}
	return m.Shape.In, m.Shape.Out
}

// lookup reports whether the module is the embeddings, whose matrices PEFT keeps the other way round: B*A is the
// transpose of what is added to token_embd.
func (m *Module) lookup() bool { return m.Path == embeddingModule }

// checkShapes wants a (rank, in) and b (out, rank), or what lookup says.
func (m *Module) checkShapes() error {
	in, out, inName, outName := m.Shape.In, m.Shape.Out, "inputs", "outputs"
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
func (c *config) checkMagnitude(m *Module) error {
	switch {
	case c.dora && m.m == nil:
		return fmt.Errorf("%w: use_dora of %s is true, but there is no tensor %q", ErrFormat, ConfigFile, address{m.Path, sideMagnitude}.name())
	case !c.dora && m.m != nil:
		return fmt.Errorf("%w: tensor %q is DoRA's magnitude vector, but use_dora of %s is not true", ErrFormat, m.m.Name, ConfigFile)
	}
	return nil
}

// checkShape wants want features in the one dimension and the rank in the other.
func (m *Module) checkShape(t *placed, at, want int, what string) error {
	if len(t.Shape) != 2 {
		return fmt.Errorf("%w: tensor %q has the shape %v, two dimensions are expected", ErrFormat, t.Name, t.Shape)
	}
	if got := t.Shape[at]; got != int64(want) {
		return fmt.Errorf("%w: tensor %q has %d %s, %s of the base has %d; the adapter was made for another model",
			runtime.ErrAdapter, t.Name, got, what, m.Tensor, want)
	}
	if rank := t.Shape[1-at]; rank != int64(m.Rank) {
		return fmt.Errorf("%w: tensor %q has rank %d, r or rank_pattern of %s says %d", ErrFormat, t.Name, rank, ConfigFile, m.Rank)
	}
	return nil
}

// Load reads the module's values, in GGUF's row order. The error wraps ErrUnsupported where one is not finite.
func (m *Module) Load() (runtime.LoRAModule, error) {
	out := runtime.LoRAModule{Tensor: m.Tensor, Rank: m.Rank, In: m.Shape.In, Out: m.Shape.Out, Scale: m.Scale}
	a, err := m.a.finite()
	if err != nil {
		return out, err
	}
	b, err := m.b.finite()
	if err != nil {
		return out, err
	}
	if m.lookup() {
		a, b = transpose(b, m.Shape.In, m.Rank), transpose(a, m.Rank, m.Shape.Out)
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
func (m *Module) permuted(rows []float32) ([]float32, error) {
	if m.heads == 0 {
		return rows, nil
	}
	return permute(rows, m.Shape.Out, m.heads, true)
}

// LoRA reads the whole adapter, several modules at a time. The error wraps ErrUnsupported where a value is not finite.
func (a *Adapter) LoRA() (*runtime.LoRA, error) {
	out := &runtime.LoRA{Modules: make([]runtime.LoRAModule, len(a.Modules)), Invocation: a.Summary.Invocation}
	err := parallel.Each(len(a.Modules), func(i int) (err error) {
		out.Modules[i], err = a.Modules[i].Load()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, a.whole(out)
}
