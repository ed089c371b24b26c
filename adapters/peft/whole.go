package peft

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// This file has what a PEFT adapter may hold beside its LoRAs: trained biases (bias, lora_bias), whole embeddings and
// heads (modules_to_save), and the rows of single tokens (trainable_token_indices). Whole norms are in norms.go.

// Bias is a trained bias of a linear layer.
type Bias struct {
	Tensor   string // the layer's weight in the base
	Outputs  int    // values of the bias
	Replaces bool   // it stands in the place of the base's own; else it is lora_B's and is added to that

	t     *placed
	heads int // that the values are permuted by; 0: they are not
	scale float32
}

// Rows are rows of the embeddings or the head that stand in the place of the base's.
type Rows struct {
	Tensor string          // of the base
	Tokens []runtime.Token // whose rows they are, in their order; nil: all tokens
	Width  int             // values in a row

	t *placed
}

// parseSaved reads modules_to_save, of which the two ends of the model and its norms can be served.
func parseSaved(v json.RawMessage) (paths, norms []string, err error) {
	list, err := parseAs[[]string](v, "a list of modules' names")
	if err != nil {
		return nil, nil, err
	}
	for _, name := range list {
		if path, ok := endOf(name); ok {
			paths = append(paths, path)
		} else if namesNorms(name) {
			norms = append(norms, name)
		} else {
			return nil, nil, fmt.Errorf("has %q: only embed_tokens, lm_head and RMSNorms are served in full", name)
		}
	}
	return paths, norms, nil
}

// parseTokens reads trainable_token_indices: a list, which is of the embeddings, or lists by module.
func parseTokens(v json.RawMessage) (map[string][]runtime.Token, error) {
	const want = "a list of tokens or an object of such lists"
	if isNeutral(v) {
		return nil, nil
	}
	if v[0] == '[' {
		list, err := parseAs[[]runtime.Token](v, want)
		return map[string][]runtime.Token{embeddingModule: list}, err
	}
	named, err := parseAs[map[string][]runtime.Token](v, want)
	out := make(map[string][]runtime.Token, len(named))
	for name, list := range named {
		path, ok := endOf(name)
		if !ok {
			return nil, fmt.Errorf("has %q: only the rows of embed_tokens and lm_head are served", name)
		}
		out[path] = list
	}
	return out, err
}

// endOf returns the path of the embeddings or the head that PEFT finds by the end of its name.
func endOf(name string) (path string, ok bool) {
	for _, path := range []string{embeddingModule, headModule} {
		if path == name || strings.HasSuffix(path, "."+name) {
			return path, true
		}
	}
	return "", false
}

// low reports whether the module has a LoRA.
func (p *parts) low() bool {
	return p[sideA] != nil || p[sideB] != nil || p[sideMagnitude] != nil || p[sideLoRABias] != nil
}

// one returns the tensor that may go by either name.
func (p *parts) one(a, b side) (*placed, error) {
	switch {
	case p[a] == nil:
		return p[b], nil
	case p[b] != nil:
		return nil, fmt.Errorf("%w: tensors %q and %q are the same", ErrFormat, p[a].Name, p[b].Name)
	}
	return p[a], nil
}

// fitBiases checks the biases of one module.
func (c *config) fitBiases(f *runtime.Facts, path string, p *parts) (list []Bias, err error) {
	tensor, _ := ggufTensor(path)
	shape := f.Targets[tensor]
	add := func(t *placed, scale float32, replaces bool) error {
		if len(t.Shape) != 1 || t.Shape[0] != int64(shape.Out) {
			return fmt.Errorf("%w: tensor %q has the shape %v, %s of the base has %d outputs", runtime.ErrAdapter, t.Name, t.Shape, tensor, shape.Out)
		}
		list = append(list, Bias{Tensor: tensor, Outputs: shape.Out, Replaces: replaces, t: t, heads: heads(f, tensor), scale: scale})
		return nil
	}
	switch t := p[sideLoRABias]; {
	case t == nil && c.loraBias && p.low() && path != embeddingModule:
		return nil, fmt.Errorf("%w: lora_bias of %s is true, but there is no tensor %q", ErrFormat, ConfigFile, address{path, sideLoRABias}.name())
	case t != nil && !c.loraBias:
		return nil, fmt.Errorf("%w: tensor %q is a bias of lora_B, but lora_bias of %s is not true", ErrFormat, t.Name, ConfigFile)
	case t != nil:
		err = add(t, c.scale(path), false)
	}
	if err != nil {
		return nil, err
	}
	t, err := p.one(sideBias, sideBaseBias)
	if t == nil || err != nil {
		return list, err
	}
	name := strings.TrimSuffix(tensor, "weight") + "bias"
	if _, ok := f.Biases[name]; !ok {
		return nil, fmt.Errorf("%w: tensor %q: the base has no %s that it could stand for", runtime.ErrAdapter, t.Name, name)
	}
	if !c.bias {
		return nil, fmt.Errorf("%w: tensor %q is a trained bias, but bias of %s is none", ErrFormat, t.Name, ConfigFile)
	}
	return list, add(t, 1, true)
}

// fitRows checks the rows of one end of the model. Where the base has no head of its own, rows of tokens are its head's,
// too, as in PEFT, and whole embeddings where ensure_weight_tying says so.
func (c *config) fitRows(f *runtime.Facts, path string, p *parts, headHasOwn bool) ([]Rows, error) {
	saved, err := p.one(sideSaved, sideBaseSaved)
	if err != nil {
		return nil, err
	}
	tokens := p[sideTokens]
	tied := path == embeddingModule && f.TiedHead && !headHasOwn
	if tied && c.tie && p.low() {
		return nil, fmt.Errorf("%w: %s: ensure_weight_tying is true: a LoRA on embed_tokens that is the head's, too, is not supported", ErrUnsupported, ConfigFile)
	}
	t := saved
	switch {
	case saved == nil && tokens == nil:
		return nil, nil
	case saved != nil && tokens != nil:
		return nil, fmt.Errorf("%w: tensors %q and %q are on one module, which is not supported", ErrUnsupported, saved.Name, tokens.Name)
	case saved == nil:
		t = tokens
	}
	if p[sideMagnitude] != nil {
		return nil, fmt.Errorf("%w: tensors %q and %q are on one module, which is not supported", ErrUnsupported, p[sideMagnitude].Name, t.Name)
	}
	tensor, _ := ggufTensor(path)
	shape, ok := f.Targets[tensor]
	if !ok {
		return nil, fmt.Errorf("%w: tensor %q: %s", runtime.ErrAdapter, t.Name, whyNoTarget(f, tensor))
	}
	r := Rows{Tensor: tensor, Width: shape.In, t: t}
	n := shape.Out
	if tokens != nil {
		if r.Tokens, err = c.tokensOf(path, t, shape.Out); err != nil {
			return nil, err
		}
		n = len(r.Tokens)
	}
	if !slices.Equal(t.Shape, []int64{int64(n), int64(shape.In)}) {
		return nil, fmt.Errorf("%w: tensor %q has the shape %v, %d rows of %s of the base are %d wide",
			runtime.ErrAdapter, t.Name, t.Shape, n, tensor, shape.In)
	}
	list := []Rows{r}
	if head, ok := f.Targets["output.weight"]; ok && head.In == r.Width && tied && (tokens != nil || c.tie) {
		r.Tensor = "output.weight"
		list = append(list, r)
	}
	return list, nil
}

// tokensOf returns the tokens whose rows the tensor has.
func (c *config) tokensOf(path string, t *placed, vocabulary int) ([]runtime.Token, error) {
	list := c.tokens[path]
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: tensor %q has rows of tokens, but trainable_token_indices of %s names none", ErrFormat, t.Name, ConfigFile)
	}
	seen := make(map[runtime.Token]bool, len(list))
	for _, token := range list {
		if token < 0 || int(token) >= vocabulary || seen[token] {
			return nil, fmt.Errorf("%w: %s: trainable_token_indices has %d, which is there twice or not one of the base's %d tokens",
				ErrFormat, ConfigFile, token, vocabulary)
		}
		seen[token] = true
	}
	return list, nil
}

// checkWhole wants a tensor for whatever the configuration says was trained in full.
func (c *config) checkWhole(f *runtime.Facts, pairs map[string]*parts) error {
	if c.loraBias && c.dora {
		return fmt.Errorf("%w: %s: lora_bias is true: with use_dora it is not supported", ErrUnsupported, ConfigFile)
	}
	has := func(path string, list ...side) bool {
		return slices.ContainsFunc(list, func(s side) bool { return pairs[path] != nil && pairs[path][s] != nil })
	}
	for _, path := range c.saved {
		tied := path == headModule && f.TiedHead && c.tie && has(embeddingModule, sideSaved)
		if !tied && !has(path, sideSaved) {
			return fmt.Errorf("%w: %s: modules_to_save names %s, but there is no tensor %q", ErrFormat, ConfigFile, path, address{path, sideSaved}.name())
		}
	}
	for path := range c.tokens {
		if !has(path, sideTokens) {
			return fmt.Errorf("%w: %s: trainable_token_indices is given, but there is no tensor %q", ErrFormat, ConfigFile, address{path, sideTokens}.name())
		}
	}
	return nil
}

// Name is the bias's name in the file that it came from.
func (b *Bias) Name() string { return b.t.Name }

// Load reads the bias, scaled, in GGUF's row order. The error wraps ErrUnsupported where a value is not finite.
func (b *Bias) Load() (runtime.LoRABias, error) {
	out := runtime.LoRABias{Tensor: b.Tensor, Replaces: b.Replaces}
	v, err := b.t.finite()
	if err == nil && b.heads > 0 {
		v, err = permute(v, b.Outputs, b.heads, true)
	}
	for i := range v {
		v[i] *= b.scale
	}
	out.Values = v
	return out, err
}

// Part reads n values, from number first of all rows on. The error wraps ErrUnsupported where one is not finite.
func (r *Rows) Part(first int64, n int) ([]float32, error) { return r.t.part(first, n) }

// load reads all rows.
func (r *Rows) load() (runtime.LoRARows, error) {
	v, err := r.t.finite()
	return runtime.LoRARows{Tensor: r.Tensor, Tokens: r.Tokens, Width: r.Width, Values: v}, err
}

// CheckLowRank refuses what the adapter has beside its LoRAs, with ErrUnsupported; why continues the tensor's name.
func (a *Adapter) CheckLowRank(why string) error {
	switch {
	case len(a.Biases) > 0:
		return fmt.Errorf("%w: tensor %q is a trained bias: %s", ErrUnsupported, a.Biases[0].t.Name, why)
	case len(a.Rows) > 0:
		return fmt.Errorf("%w: tensor %q holds whole rows: %s", ErrUnsupported, a.Rows[0].t.Name, why)
	case len(a.Norms) > 0:
		return fmt.Errorf("%w: tensor %q is a whole norm: %s", ErrUnsupported, a.Norms[0].t.Name, why)
	}
	return nil
}

// whole reads what the adapter has beside its LoRAs.
func (a *Adapter) whole(out *runtime.LoRA) error {
	for i := range a.Biases {
		b, err := a.Biases[i].Load()
		if err != nil {
			return err
		}
		out.Biases = append(out.Biases, b)
	}
	for i := range a.Rows {
		r, err := a.Rows[i].load()
		if err != nil {
			return err
		}
		out.Rows = append(out.Rows, r)
	}
	for i := range a.Norms {
		n, err := a.Norms[i].Load()
		if err != nil {
			return err
		}
		out.Norms = append(out.Norms, n)
	}
	return nil
}
