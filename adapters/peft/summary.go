package peft

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
}

// MinBytes returns the bytes that it takes at least, packed: its values in half precision.
func (s *Summary) MinBytes() int64 { return 2 * max(s.Parameters, s.Whole) }
