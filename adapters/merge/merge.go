// Package merge puts LoRA adapters together: into one new adapter (Adapters), as PEFT's add_weighted_adapter does, or
// into the weights of their base (Sum). It reads and computes module by module and writes nothing itself.
package merge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/adapters/peft"
)

// ErrRefused means that the adapters cannot be merged in the way that was asked for.
var ErrRefused = errors.New("the adapters cannot be merged")

// The methods; methods.go and svd.go have their formulas.
const (
	Linear         = "linear"
	Cat            = "cat"
	SVD            = "svd"
	TIES           = "ties"
	DARELinear     = "dare_linear"
	DARETIES       = "dare_ties"
	MagnitudePrune = "magnitude_prune"
)

// Methods lists the methods.
func Methods() []string {
	return []string{Linear, Cat, SVD, TIES, DARELinear, DARETIES, MagnitudePrune}
}

// MaxInputs is how many adapters can be merged at once.
const MaxInputs = 16

// Options say how adapters become one.
type Options struct {
	Method       string
	Density      float64 // the part of the values that is kept: ties, dare_*, magnitude_prune
	MajoritySign string  // "total" ("" is the same) or "frequency": how ties elects a value's sign
	Rank         int     // of svd; 0: the largest of the adapters'
	Seed         uint64  // of the values that dare_* drops
}

// Input is one adapter to merge.
type Input struct {
	Name    string // for errors
	Weight  float32
	Adapter *peft.Adapter
}

// prunes reports whether the method drops values.
func (o *Options) prunes() bool {
	return o.Method == TIES || o.Method == MagnitudePrune || o.random()
}

func (o *Options) random() bool { return o.Method == DARELinear || o.Method == DARETIES }

func (o *Options) elects() bool { return o.Method == TIES || o.Method == DARETIES }

// WithDefaults returns the options with the defaults of their method, and without what it does not use.
func (o Options) WithDefaults() Options {
	if o.MajoritySign = cmp.Or(o.MajoritySign, "total"); !o.elects() {
		o.MajoritySign = ""
	}
	if !o.random() {
		o.Seed = 0
	}
	return o
}

// Check returns a peft.FieldError of the Kind ErrRefused, which names a field as the API has it, where the options or
// the weights of the adapters make no sense.
func (o *Options) Check(weights []float32) error {
	refuse := func(field, format string, args ...any) error { return refusal(field, format, args...) }
	switch {
	case !slices.Contains(Methods(), o.Method):
		return refuse("method", "is %q, it must be one of %s", o.Method, strings.Join(Methods(), ", "))
	case len(weights) < 1 || len(weights) > MaxInputs:
		return refuse("from", "has %d adapters, 1 to %d can be merged", len(weights), MaxInputs)
	case o.prunes() && !(o.Density > 0 && o.Density <= 1):
		return refuse("density", "is %g: %s needs the part of the values that is kept, above 0 and up to 1", o.Density, o.Method)
	case !o.prunes() && o.Density != 0:
		return refuse("density", "is %g, and %s drops no values", o.Density, o.Method)
	case o.MajoritySign != "" && o.MajoritySign != "total" && o.MajoritySign != "frequency":
		return refuse("majority_sign_method", "is %q, it must be total or frequency", o.MajoritySign)
	case o.MajoritySign == "frequency" && !o.elects():
		return refuse("majority_sign_method", "is frequency, and %s elects no signs", o.Method)
	case o.Method == SVD && (o.Rank < 0 || o.Rank > peft.MaxRank):
		return refuse("rank", "is %d, it must be between 1 and %d", o.Rank, peft.MaxRank)
	case o.Method != SVD && o.Rank != 0:
		return refuse("rank", "is %d: the rank of %s follows from the adapters; svd takes one", o.Rank, o.Method)
	}
	for i, w := range weights {
		if w := float64(w); math.IsNaN(w) || math.IsInf(w, 0) {
			return refuse(fmt.Sprintf("from[%d].weight", i), "is not a finite number")
		}
	}
	return nil
}

func refusal(field, format string, args ...any) *peft.FieldError {
	return &peft.FieldError{Field: field, Reason: fmt.Sprintf(format, args...), Kind: ErrRefused}
}

// Adapters makes one adapter out of others, in PEFT's names and row order. Its lora_alpha is its rank everywhere, so
// its scale is 1. A module that one of the inputs does not have is nothing there: the others alone make it. The
// options and weights have passed Check. The inputs must stay open while the Source is in use; its values are
// computed when they are read, in the reader's goroutine, and reading fails with the cause of ctx once that has ended.
// The error is a peft.FieldError of the Kind ErrRefused.
// Source: github.com/huggingface/peft, src/peft/tuners/lora/model.py (add_weighted_adapter).
func Adapters(ctx context.Context, inputs []Input, o Options) (*peft.Source, error) {
	g := merging{Options: o.WithDefaults(), ctx: ctx, inputs: inputs, modules: make(map[string]*module)}
	for i := range inputs {
		if err := g.add(i); err != nil {
			return nil, err
		}
	}
	if len(g.modules) == 0 {
		return nil, refusal("from", "has no modules")
	}
	var list []peft.Matrices
	for _, path := range slices.Sorted(maps.Keys(g.modules)) {
		m := g.modules[path]
		if err := g.chooseRank(m); err != nil {
			return nil, err
		}
		values := g.values(m)
		read := func(s side) func() ([]float32, error) {
			return func() ([]float32, error) {
				if ctx.Err() != nil {
					return nil, context.Cause(ctx)
				}
				return values(s)
			}
		}
		list = append(list, peft.Matrices{Path: path, Rank: m.rank, In: m.in, Out: m.out, Scale: 1, A: read(sideA), B: read(sideB)})
	}
	return peft.FromMatrices(list, inputs[0].Adapter.Summary.Invocation)
}

// side says which of a LoRA's two matrices is meant.
type side byte

const (
	sideA side = iota // (rank, in)
	sideB             // (out, rank)
)

// merging is a merge under way.
type merging struct {
	Options
	ctx     context.Context
	inputs  []Input
	modules map[string]*module // by path
}

// module is one module of the new adapter.
type module struct {
	path    string
	in, out int // as PEFT has them: of the embeddings the tokens and the columns
	rank    int
	terms   []term
}

// term is what one adapter brings to a module.
type term struct {
	index  int // of the input
	weight float64
	lora   *peft.Module
}

// add notes the modules of an input.
func (g *merging) add(index int) error {
	x := &g.inputs[index]
	const why = "no part of a sum of A and B"
	if x.Adapter.Summary.DoRA {
		return refusal(fmt.Sprintf("from[%d].name", index), "is %q, a DoRA adapter (use_dora): its magnitude vector is %s", x.Name, why)
	}
	if first := &g.inputs[0]; !slices.Equal(x.Adapter.Summary.Invocation, first.Adapter.Summary.Invocation) {
		return refusal(fmt.Sprintf("from[%d].name", index), "is %q: it and %q do not act on the same tokens (alora_invocation_tokens), so no one adapter does what both do",
			x.Name, first.Name)
	}
	if err := x.Adapter.CheckLowRank("it is " + why); err != nil {
		return refusal(fmt.Sprintf("from[%d].name", index), "is %q: %v", x.Name, err)
	}
	for i := range x.Adapter.Modules {
		lora := &x.Adapter.Modules[i]
		m := g.modules[lora.Path]
		if m == nil {
			m = &module{path: lora.Path}
			m.in, m.out = lora.Dims()
			g.modules[lora.Path] = m
		}
		m.terms = append(m.terms, term{index, float64(x.Weight), lora})
	}
	return nil
}

// chooseRank decides the rank of a module.
func (g *merging) chooseRank(m *module) error {
	sum, most := 0, 0
	for _, t := range m.terms {
		sum, most = sum+t.lora.Rank, max(most, t.lora.Rank)
	}
	switch g.Method {
	case Cat:
		if m.rank = sum; sum > peft.MaxRank {
			return refusal("from", "has ranks that sum to %d on %s, at most %d are served; svd takes a rank", sum, m.path, peft.MaxRank)
		}
	case SVD:
		if g.Rank > 0 {
			most = g.Rank
		}
		m.rank = min(most, sum, m.in, m.out) // more would be zeros
	default:
		m.rank = most
		for _, t := range m.terms {
			if first := m.terms[0]; t.lora.Rank != first.lora.Rank {
				return refusal("method", "is %s, which adds matrices of one rank: on %s %q has rank %d and %q has rank %d; cat and svd take both",
					g.Method, m.path, g.inputs[first.index].Name, first.lora.Rank, g.inputs[t.index].Name, t.lora.Rank)
			}
		}
	}
	return nil
}

// values returns what computes one of the two matrices of a module.
func (g *merging) values(m *module) func(side) ([]float32, error) {
	switch g.Method {
	case Cat:
		return m.cat
	case SVD:
		return m.svd()
	}
	return func(s side) ([]float32, error) { return g.arithmetic(m, s) }
}
