package adapters

import (
	"context"
	"fmt"

	"github.com/lorikeet-ai/lorikeet/adapters/merge"
	"github.com/lorikeet-ai/lorikeet/adapters/peft"
)

// Merge says how stored adapters become a new one.
type Merge struct {
	From []Ref // their Scale is the weight, which may be negative
	merge.Options
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

// Merge stores a new version of name that is made of stored adapters, and points name at it. It reads and writes
// module by module. The error is a peft.FieldError of the Kind merge.ErrRefused where the merge is at fault, an
// UnknownError where an adapter is not there, or wraps peft.ErrUnsupported, ErrTooLarge, ErrDamaged or
// runtime.ErrAdapter. A merge whose ctx ends returns its cause.
func (s *Store) Merge(ctx context.Context, name string, m Merge) (Info, error) {
	weights := make([]float32, len(m.From))
	for i, ref := range m.From {
		weights[i] = ref.Scale
	}
	if err := m.Check(weights); err != nil {
		return Info{}, err
	}
	m.Options = m.WithDefaults()
	recipe := &Recipe{Method: m.Method, Density: m.Density, MajoritySign: m.MajoritySign, Rank: m.Rank, Seed: m.Seed}
	infos := make([]Info, 0, len(m.From))
	defer func() {
		for _, i := range infos {
			s.drop(i.Digest)
		}
	}()
	for i, ref := range m.From {
		info, err := s.take(ref)
		if err != nil {
			return Info{}, err
		}
		infos = append(infos, info)
		recipe.From = append(recipe.From, Ingredient{info.Name, info.Digest, ref.Scale})
		if info.Base != infos[0].Base {
			return Info{}, &peft.FieldError{Field: fmt.Sprintf("from[%d].name", i), Kind: merge.ErrRefused,
				Reason: fmt.Sprintf("is %q, which was stored for another base than %q", info.Name, infos[0].Name)}
		}
	}
	note := Note{Origin: Origin{Kind: FromMerge, Merge: recipe}}
	return s.put(ctx, name, note, func(*opener) (*peft.Source, error) { return s.mergeSource(ctx, infos, weights, m.Options) })
}

// mergeSource opens the versions, which are held, and makes a source of what they become.
func (s *Store) mergeSource(ctx context.Context, infos []Info, weights []float32, o merge.Options) (_ *peft.Source, err error) {
	var inputs []merge.Input
	closeAll := func() {
		for _, x := range inputs {
			x.Adapter.Close()
		}
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	for i, info := range infos {
		a, err := s.fit(info.Digest)
		if err != nil {
			return nil, fmt.Errorf("adapter %q: %w", info.Name, err)
		}
		inputs = append(inputs, merge.Input{Name: info.Name, Weight: weights[i], Adapter: a})
	}
	out, err := merge.Adapters(ctx, inputs, o)
	if err != nil {
		return nil, err
	}
	out.OnClose(closeAll)
	return out, nil
}
