package server

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/lorikeet-ai/lorikeet/chat/calls"
	"github.com/lorikeet-ai/lorikeet/grammar"
)

// Agents send the same tools with every request. The constraints made of them are kept, with what has been found about
// them while answers followed them.

const (
	maxConstraints    = 16       // that are kept
	maxKeptConstraint = 64 << 10 // bytes of the tools and the schema of one that is kept
)

// constraints are those that are kept, by what they are made of.
type constraints struct {
	kept *lru.Cache[[sha256.Size]byte, *grammar.Constraint]
}

func newConstraints() constraints {
	kept, _ := lru.New[[sha256.Size]byte, *grammar.Constraint](maxConstraints) // a size above 0 is no error
	return constraints{kept}
}

// of returns the constraint of answers in a format. Errors are those of calls.Format.Part.
func (k constraints) of(f *calls.Format, c calls.Constraint) (*grammar.Constraint, error) {
	raw, err := json.Marshal([]any{f, c})
	if err != nil {
		return nil, fmt.Errorf("tools: %w", err)
	}
	key := sha256.Sum256(raw)
	if known, ok := k.kept.Get(key); ok {
		return known, nil
	}
	part, err := f.Part(c)
	if err != nil {
		return nil, err
	}
	made := grammar.New(part)
	if len(raw) <= maxKeptConstraint {
		k.kept.Add(key, made)
	}
	return made, nil
}
