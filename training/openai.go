package training

import (
	"cmp"
	"encoding/json"
	"errors"
	"math"

	"github.com/lorikeet-ai/lorikeet/runtime"
)

// Hyperparameters are OpenAI's three of method.supervised, and of the older top level, and the four of method.dpo.
type Hyperparameters struct {
	Method         string `json:"-"` // "": Supervised
	Epochs         Auto   `json:"n_epochs"`
	Batch          Auto   `json:"batch_size"`
	RateMultiplier Auto   `json:"learning_rate_multiplier"` // of the default learning_rate
	Beta           Auto   `json:"beta,omitzero"`            // of DPO
}

// Auto is a number, or "auto" where Value is 0.
type Auto struct{ Value float64 }

// UnmarshalJSON reads a number above 0, "auto" or null.
func (a *Auto) UnmarshalJSON(raw []byte) error {
	a.Value = 0
	if s := string(raw); s == `"auto"` || s == "null" {
		return nil
	}
	if err := json.Unmarshal(raw, &a.Value); err != nil || !(a.Value > 0) {
		return errors.New(`a number above 0 or "auto" is expected`)
	}
	return nil
}

// MarshalJSON is the inverse.
func (a Auto) MarshalJSON() ([]byte, error) {
	if a.Value == 0 {
		return []byte(`"auto"`), nil
	}
	return json.Marshal(a.Value)
}

// Config returns the Defaults with what is not "auto" put in its place, for a base. The error is a FieldError under OpenAI's
// name of the field.
func (h Hyperparameters) Config(f *runtime.Facts) (Config, error) {
	c := Defaults()
	c.Method = cmp.Or(h.Method, c.Method)
	if err := h.apply(&c, f); err != nil {
		return c, err
	}
	return c, c.Validate()
}

// apply puts what is not "auto" in the place of a configuration's values.
func (h Hyperparameters) apply(c *Config, f *runtime.Facts) error {
	if n := h.Epochs.Value; n != 0 {
		if n != math.Trunc(n) || n < 1 || n > 1000 {
			return &FieldError{Field: "n_epochs", Reason: "is not a whole number from 1 to 1000"}
		}
		c.Epochs = n
	}
	if n := h.Batch.Value; n != 0 {
		if n != math.Trunc(n) || n < 1 || n > maxBatch {
			return &FieldError{Field: "batch_size", Reason: "is not a whole number from 1 to 4096"}
		}
		c.Batch, c.Accumulation = int(n), 1
	}
	if m := h.RateMultiplier.Value; m != 0 {
		if c.LearningRate = m * c.UsualRate(f); !(c.LearningRate > 0) || c.LearningRate > 1 {
			return &FieldError{Field: "learning_rate_multiplier", Reason: "makes a learning rate that is not between 0 and 1"}
		}
	}
	if b := h.Beta.Value; b != 0 {
		c.Beta = &b
	}
	return nil
}

// SaveEveryEpoch has a checkpoint made of every epoch, as OpenAI does it, and kept of as many as may be.
func (c *Config) SaveEveryEpoch() {
	c.SaveStrategy, c.SaveTotal = EveryEpoch, int(min(max(math.Ceil(c.Epochs), 1), maxCheckpoints))
}
