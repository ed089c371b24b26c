package adapters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// This file makes one adapter out of stored ones, as PEFT's add_weighted_adapter does, in PEFT's names and row
// order. The new adapter's lora_alpha is its rank everywhere, so its scale is 1. A module that one of the
// adapters does not have is nothing there: the others alone make it.
// Source: github.com/huggingface/peft, src/peft/tuners/lora/model.py (add_weighted_adapter).

// Methods of a Merge; see merge_methods.go and merge_svd.go for their formulas.
const (
	Linear         = "linear"
	Cat            = "cat"
	SVD            = "svd"
	TIES           = "ties"
	DARELinear     = "dare_linear"
	DARETIES       = "dare_ties"
	MagnitudePrune = "magnitude_prune"
)

// Methods lists the methods of a Merge.
func Methods() []string {
	return []string{Linear, Cat, SVD, TIES, DARELinear, DARETIES, MagnitudePrune}
}

// MaxMerge is how many adapters one Merge may have.
const MaxMerge = 16

// Merge says how stored adapters become a new one.
type Merge struct {
	From         []Ref // their Scale is the weight, which may be negative
	Method       string
	Density      float64 // the part of the values that is kept: ties, dare_*, magnitude_prune
	MajoritySign string  // "total" ("" is the same) or "frequency": how ties elects a value's sign
	Rank         int     // of svd; 0: the largest of the adapters'
	Seed         uint64  // of the values that dare_* drops
}

// Recipe says what a merged adapter was made of.
type Recipe struct {
	Method       string       `json:"method"`
	From         []Ingredient `json:"from"`
	Density      float64      `json:"density,omitempty"`
	MajoritySign string       `json:"majority_sign_method,omitempty"`
	Rank         int          `json:"rank,omitempty"`
	Seed         uint64       `json:"seed,omitempty"`
}

// Ingredient is one adapter of a Recipe.
type Ingredient struct {
	Name   string  `json:"name"`
	Digest string  `json:"digest"`
	Weight float32 `json:"weight"`
}

// prunes reports whether the method drops values.
func (m *Merge) prunes() bool {
	return m.Method == TIES || m.Method == MagnitudePrune || m.random()
}

func (m *Merge) random() bool { return m.Method == DARELinear || m.Method == DARETIES }

func (m *Merge) elects() bool { return m.Method == TIES || m.Method == DARETIES }

// check returns a FieldError, under the names that the API has, where the merge makes no sense.
func (m *Merge) check() error {
	refuse := func(field, format string, args ...any) error {
		return &FieldError{field, fmt.Sprintf(format, args...), ErrMerge}
	}
	switch {
	case !slices.Contains(Methods(), m.Method):
		return refuse("method", "is %q, it must be one of %s", m.Method, strings.Join(Methods(), ", "))
	case len(m.From) < 1 || len(m.From) > MaxMerge:
		return refuse("from", "has %d adapters, 1 to %d can be merged", len(m.From), MaxMerge)
	case m.prunes() && !(m.Density > 0 && m.Density <= 1):
		return refuse("density", "is %g: %s needs the part of the values that is kept, above 0 and up to 1", m.Density, m.Method)
	case !m.prunes() && m.Density != 0:
		return refuse("density", "is %g, and %s drops no values", m.Density, m.Method)
	case m.MajoritySign != "" && m.MajoritySign != "total" && m.MajoritySign != "frequency":
		return refuse("majority_sign_method", "is %q, it must be total or frequency", m.MajoritySign)
	case m.MajoritySign == "frequency" && !m.elects():
		return refuse("majority_sign_method", "is frequency, and %s elects no signs", m.Method)
	case m.Method == SVD && (m.Rank < 0 || m.Rank > maxRank):
		return refuse("rank", "is %d, it must be between 1 and %d", m.Rank, maxRank)
	case m.Method != SVD && m.Rank != 0:
		return refuse("rank", "is %d: the rank of %s follows from the adapters; svd takes one", m.Rank, m.Method)
	}
	for i, r := range m.From {
		if w := float64(r.Scale); math.IsNaN(w) || math.IsInf(w, 0) {
			return refuse(fmt.Sprintf("from[%d].weight", i), "is not a finite number")
		}
	}
	return nil
}

// Merge stores a new version of name that is made of stored adapters, and points name at it. It reads and writes
// module by module. The error is a FieldError that wraps ErrMerge where the merge is at fault, an UnknownError
// where an adapter is not there, or wraps ErrUnsupported, ErrTooLarge, ErrDamaged or runtime.ErrAdapter. A merge
// whose ctx ends returns its cause.
func (s *Store) Merge(ctx context.Context, name string, m Merge) (Info, error) {
	if err := m.check(); err != nil {
		return Info{}, err
	}
	if m.MajoritySign = cmp.Or(m.MajoritySign, "total"); !m.elects() {
		m.MajoritySign = ""
	}
	infos := make([]Info, 0, len(m.From))
	defer func() {
		for _, i := range infos {
			s.drop(i.Digest)
		}
	}()
	recipe := &Recipe{Method: m.Method, Density: m.Density, MajoritySign: m.MajoritySign, Rank: m.Rank}
	if m.random() {
		recipe.Seed = m.Seed
	}
	for i, ref := range m.From {
		info, err := s.take(ref)
		if err != nil {
			return Info{}, err
		}
		infos = append(infos, info)
		recipe.From = append(recipe.From, Ingredient{info.Name, info.Digest, ref.Scale})
		if info.Base != infos[0].Base {
			return Info{}, &FieldError{fmt.Sprintf("from[%d].name", i), fmt.Sprintf("is %q, which was stored for another base than %q",
				info.Name, infos[0].Name), ErrMerge}
		}
	}
	note := Note{Origin: Origin{Kind: FromMerge, Merge: recipe}}
	return s.put(name, note, func(*opener) (*source, error) { return s.mergeSource(ctx, &m, infos) })
}

// merging is a Merge under way.
type merging struct {
	*Merge
	ctx   context.Context
	pairs map[string]*mergePair // by module
}

// mergePair is one module to make.
type mergePair struct {
	path   string
	shape  [2]int // inputs and outputs as PEFT has them: of the embeddings the tokens and the width
	terms  []mergeTerm
	rank   int
	tensor string
}

// mergeTerm is what one adapter brings to a module.
type mergeTerm struct {
	index  int // of the adapter in From
	weight float64
	module *module
}

// mergeSource opens the versions, which are held, and makes a source of what they become.
func (s *Store) mergeSource(ctx context.Context, m *Merge, infos []Info) (_ *source, err error) {
	g := merging{Merge: m, ctx: ctx, pairs: make(map[string]*mergePair)}
	var open []*source
	closeAll := func() {
		for _, src := range open {
			src.close()
		}
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	for i, info := range infos {
		src, f, err := s.fit(info.Digest)
		if err != nil {
			return nil, fmt.Errorf("adapter %q: %w", info.Name, err)
		}
		open = append(open, src)
		if f.summary.DoRA {
			return nil, &FieldError{fmt.Sprintf("from[%d].name", i), fmt.Sprintf("is %q, a DoRA adapter (use_dora): its magnitude vector is "+
				"no part of a sum of A and B", info.Name), ErrMerge}
		}
		if err := f.lowRank("it is no part of a sum of A and B"); err != nil {
			return nil, &FieldError{fmt.Sprintf("from[%d].name", i), fmt.Sprintf("is %q: %v", info.Name, err), ErrMerge}
		}
		g.add(i, f)
	}
	for _, path := range slices.Sorted(maps.Keys(g.pairs)) {
		if err := g.rankOf(g.pairs[path], infos); err != nil {
			return nil, err
		}
	}
	out, err := g.source()
	if err != nil {
		return nil, err
	}
	out.closer = closeAll
	return out, nil
}

// add notes the modules of an adapter.
func (g *merging) add(index int, f *fitted) {
	for i := range f.modules {
		m := &f.modules[i]
		p := g.pairs[m.path]
		if p == nil {
			p = &mergePair{path: m.path, tensor: m.tensor, shape: [2]int{m.shape.In, m.shape.Out}}
			if m.lookup() {
				p.shape = [2]int{m.shape.Out, m.shape.In}
			}
			g.pairs[m.path] = p
		}
		p.terms = append(p.terms, mergeTerm{index, float64(g.From[index].Scale), m})
	}
}

// rankOf decides the rank of a module.
func (g *merging) rankOf(p *mergePair, infos []Info) error {
	sum, most := 0, 0
	for _, t := range p.terms {
		sum, most = sum+t.module.rank, max(most, t.module.rank)
	}
	switch g.Method {
	case Cat:
		if p.rank = sum; sum > maxRank {
			return &FieldError{"from", fmt.Sprintf("has ranks that sum to %d on %s, at most %d are served; svd takes a rank", sum, p.path, maxRank), ErrMerge}
		}
	case SVD:
		if g.Rank > 0 {
			most = g.Rank
		}
		p.rank = min(most, sum, p.shape[0], p.shape[1]) // more would be zeros
	default:
		p.rank = most
		for _, t := range p.terms {
			if first := p.terms[0]; t.module.rank != first.module.rank {
				return &FieldError{"method", fmt.Sprintf("is %s, which adds matrices of one rank: on %s %q has rank %d and %q has rank %d; cat and svd take both",
					g.Method, p.path, infos[first.index].Name, first.module.rank, infos[t.index].Name, t.module.rank), ErrMerge}
			}
		}
	}
	return nil
}

// source makes the new adapter's tensors, whose values are computed when they are read, and its configuration.
func (g *merging) source() (*source, error) {
	s := &source{}
	paths := slices.Sorted(maps.Keys(g.pairs))
	pairs := make([]pair, len(paths))
	for i, path := range paths {
		p := g.pairs[path]
		pairs[i] = pair{tensor: p.tensor, rank: p.rank, scale: 1}
		values := g.values(p)
		rank, in, out := int64(p.rank), int64(p.shape[0]), int64(p.shape[1])
		for side, shape := range [][]int64{{rank, in}, {out, rank}} {
			a := address{path, sideA}
			if side == 1 {
				a.side = sideB
			}
			s.tensors = append(s.tensors, placed{lazyTensor(a.name(), shape, func() ([]float32, error) {
				if g.ctx.Err() != nil {
					return nil, context.Cause(g.ctx)
				}
				return values(a.side)
			}), a})
		}
	}
	if len(paths) == 0 {
		return nil, errors.New("the adapters have no modules")
	}
	raw, err := configOf(paths, pairs)
	if err != nil {
		return nil, err
	}
	s.config, err = parseConfig(raw)
	return s, err
}

// values returns what computes one of the two matrices of a module.
func (g *merging) values(p *mergePair) func(side) ([]float32, error) {
	switch g.Method {
	case Cat:
		return p.cat
	case SVD:
		return p.svd()
	}
	return func(s side) ([]float32, error) { return g.arithmetic(p, s) }
}
