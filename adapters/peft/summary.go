package peft

import (
	"fmt"
	"slices"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Summary is what an adapter's content says of itself.
type Summary struct {
	Rank       int      `json:"rank"`       // the largest of its modules
	Alpha      float64  `json:"alpha"`      // lora_alpha
	RSLoRA     bool     `json:"use_rslora"` // scale alpha/sqrt(rank) instead of alpha/rank
	DoRA       bool     `json:"use_dora,omitempty"`
	Whole      int64    `json:"whole_parameters,omitempty"` // of them, those in whole rows; twice those of tied embeddings and head
	Targets    []string `json:"targets"`                    // PEFT short names, sorted: "down_proj", "q_proj", ...
	Modules    int      `json:"modules"`                    // base tensors it changes
	Parameters int64    `json:"parameters"`                 // values in all its tensors
	Warnings   []string `json:"warnings,omitempty"`

	Invocation []runtime.Token `json:"alora_invocation_tokens,omitempty"` // of an activated LoRA; else nil
}

// MinBytes returns the bytes that it takes at least, packed: its values in half precision.
func (s *Summary) MinBytes() int64 { return 2 * max(s.Parameters, s.Whole) }

// summarize describes modules that fit, and warns of targets the adapter has no tensors for.
func (c *config) summarize(f *runtime.Facts, x *Adapter) Summary {
	s := Summary{Alpha: c.alpha, RSLoRA: c.rsLoRA, DoRA: c.dora, Invocation: c.invocation}
	held, changed := make(map[string]bool), make(map[string]bool)
	short := make(map[string]bool)
	for _, m := range x.Modules {
		s.Rank = max(s.Rank, m.Rank)
		held[m.Tensor], changed[m.Tensor] = true, true
	}
	for _, b := range x.Biases {
		changed[b.Tensor] = true
	}
	for _, r := range x.Rows {
		changed[r.Tensor] = true
		s.Whole += r.t.Elements()
	}
	for _, n := range x.Norms {
		changed[n.Tensor] = true
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
	s.Warnings = append(s.Warnings, c.missingNorms(f, x.Norms)...)
	s.Warnings = append(s.Warnings, c.idlePatterns(x)...)
	return s
}

// idlePatterns warns of patterns that match none of the adapter's modules, which PEFT passes over in silence.
func (c *config) idlePatterns(x *Adapter) []string {
	paths := make([]string, len(x.Modules))
	for i, m := range x.Modules {
		paths[i] = m.Path
	}
	var warnings []string
	warn := func(field, key string, found bool) {
		if found {
			warnings = append(warnings, fmt.Sprintf("%s has the key %q, which matches none of the adapter's modules", field, clip([]byte(key))))
		}
	}
	key, found := c.rankPattern.unmatched(paths)
	warn("rank_pattern", key, found)
	key, found = c.alphaPattern.unmatched(paths)
	warn("alpha_pattern", key, found)
	return warnings
}
