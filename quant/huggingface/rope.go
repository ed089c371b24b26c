package huggingface

import (
	"encoding/json"
	"math"
	"reflect"

	"github.com/lorikeet-ai/lorikeet/quant/safetensors"
)

// rope is how positions rotate queries and keys. Source: transformers, modeling_rope_utils.py.
type rope struct {
	theta   float64
	kind    string    // "", "linear", "yarn"
	factor  float64   // of linear and yarn
	trained int64     // yarn: the context before it
	attn    float64   // yarn: what the attention factor is multiplied with beside llama.cpp's own
	freqs   []float32 // llama3: what each frequency is divided by; nil: nothing
}

// ropeParameters are the fields of rope_scaling and rope_parameters.
type ropeParameters struct {
	Type        string   `json:"rope_type"`
	OldType     string   `json:"type"`
	Theta       *float64 `json:"rope_theta"`
	Factor      *float64 `json:"factor"`
	Original    *float64 `json:"original_max_position_embeddings"`
	Low         *float64 `json:"low_freq_factor"`
	High        *float64 `json:"high_freq_factor"`
	BetaFast    *float64 `json:"beta_fast"`
	BetaSlow    *float64 `json:"beta_slow"`
	Attention   *float64 `json:"attention_factor"`
	MScale      *float64 `json:"mscale"`
	MScaleAll   *float64 `json:"mscale_all_dim"`
	Truncate    *bool    `json:"truncate"`
	Partial     *float64 `json:"partial_rotary_factor"`
	TemperBeta  *float64 `json:"llama_4_scaling_beta"`
	MRopeLayout []int64  `json:"mrope_section"`
}

// or returns *p, or what to take where the field is missing.
func or(p *float64, missing float64) float64 {
	if p == nil {
		return missing
	}
	return *p
}

// readRope reads rope_theta and rope_scaling, or rope_parameters, and sets the context.
func (c *config) readRope() error {
	field, raw := "rope_scaling", c.RopeScaling
	if len(raw) == 0 || string(raw) == "null" {
		field, raw = "rope_parameters", c.RopeParameters
	} else if other := c.RopeParameters; len(other) > 0 && string(other) != "null" && !sameJSON(raw, other) {
		return unsupported(configFile, "rope_scaling and rope_parameters are both there, and differ")
	}
	p, err := c.ropeParameters(field, raw)
	if err != nil {
		return err
	}
	if p.Type == "" {
		p.Type = p.OldType
	}
	if c.RopeTheta != nil && p.Theta != nil && *c.RopeTheta != *p.Theta {
		return formatError(configFile, "rope_theta is %g, and %s has %g", *c.RopeTheta, field, *p.Theta)
	}
	c.context = c.Positions
	c.rope.theta = or(c.RopeTheta, or(p.Theta, 10000))
	if !(c.rope.theta > 0 && c.rope.theta < math.MaxFloat32) {
		return formatError(configFile, "rope_theta is %g", c.rope.theta)
	}
	switch {
	case p.Partial != nil && *p.Partial != 1:
		return unsupported(configFile, "%s: partial_rotary_factor is %g, not 1", field, *p.Partial)
	case p.TemperBeta != nil:
		return unsupported(configFile, "%s: llama_4_scaling_beta is not supported", field)
	case p.MRopeLayout != nil:
		return unsupported(configFile, "%s: mrope_section is not supported", field)
	}
	for name, v := range map[string]*float64{
		"factor": p.Factor, "original_max_position_embeddings": p.Original, "low_freq_factor": p.Low,
		"high_freq_factor": p.High, "attention_factor": p.Attention, "mscale": p.MScale, "mscale_all_dim": p.MScaleAll,
	} {
		if v != nil && !(*v > 0 && *v < 1<<31) {
			return formatError(configFile, "%s: %s is %g", field, name, *v)
		}
	}
	return c.scaleRope(field, p)
}

// ropeParameters reads the object. transformers 5 may have one object for each type of layer instead; llama.cpp has one
// for all layers, so that those of the types in use must be equal.
func (c *config) ropeParameters(field string, raw json.RawMessage) (p ropeParameters, err error) {
	if len(raw) == 0 || string(raw) == "null" {
		return p, nil
	}
	members, err := safetensors.ParseObject(raw)
	if err != nil {
		return p, formatError(configFile, "%s: %w", field, err)
	}
	inUse := c.LayerTypes
	if len(inUse) == 0 {
		inUse = []string{"full_attention"}
	}
	nested := map[string]json.RawMessage{}
	for _, m := range members {
		if len(m.Value) > 0 && m.Value[0] == '{' {
			nested[m.Key] = m.Value
		}
	}
	if len(nested) == 0 {
		if err := json.Unmarshal(raw, &p); err != nil {
			return p, formatError(configFile, "%s: %w", field, err)
		}
		return p, nil
	}
	if len(nested) != len(members) {
		return p, unsupported(configFile, "%s: parameters for all layers stand beside parameters for a type of layers", field)
	}
	for i, layer := range inUse {
		one, ok := nested[layer]
		if !ok {
			return p, unsupported(configFile, "%s: it has no parameters for layers of the type %q", field, layer)
		}
		var q ropeParameters
		if err := json.Unmarshal(one, &q); err != nil {
			return p, formatError(configFile, "%s: %s: %w", field, layer, err)
		}
		if i > 0 && !reflect.DeepEqual(p, q) {
			return p, unsupported(configFile, "%s: layers of the types %q and %q have different parameters", field, inUse[0], layer)
		}
		p = q
	}
	return p, nil
}

// sameJSON reports whether two values are equal.
func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func (c *config) scaleRope(field string, p ropeParameters) error {
	r := &c.rope
	if p.Type == "" && or(p.Factor, 1) != 1 {
		return formatError(configFile, "%s: factor is %g, and rope_type is missing", field, *p.Factor)
	}
	r.factor, r.attn = or(p.Factor, 0), 1
	if r.factor == 0 && p.Type != "" && p.Type != "default" && p.Type != "longrope" && p.Type != "su" {
		return formatError(configFile, "%s: factor is missing", field)
	}
	switch p.Type {
	case "", "default":
	case "linear":
		r.kind = "linear"
	case "llama3":
		if !c.family.freqs {
			return unsupported(configFile, "%s: llama.cpp's %s has no rope type llama3", field, c.arch)
		}
		return c.llama3(field, p)
	case "dynamic":
		// Its frequencies change only beyond the trained context.
		c.note("%s: dynamic scaling begins beyond %d tokens, where the context ends here", field, c.context)
	case "yarn":
		return c.yarn(field, p)
	case "longrope", "su":
		return unsupported(configFile, "%s: rope type %q has one list of factors for short texts and another for long ones and changes "+
			"between them as a text grows; llama.cpp chooses one of the two for all texts, so that answers would differ from the original's", field, p.Type)
	default:
		return unsupported(configFile, "%s: rope type %q is none of linear, llama3, yarn and dynamic", field, p.Type)
	}
	return nil
}

// yarn keeps what llama.cpp computes in the same way, and the attention factor where it differs from the one
// that the method gives, 0.1 ln(factor) + 1, which llama.cpp has built in.
func (c *config) yarn(field string, p ropeParameters) error {
	r := &c.rope
	switch {
	case or(p.BetaFast, 32) != 32, or(p.BetaSlow, 1) != 1:
		return unsupported(configFile, "%s: beta_fast and beta_slow are %g and %g: llama.cpp's %s has 32 and 1", field, or(p.BetaFast, 32), or(p.BetaSlow, 1), c.arch)
	case p.Truncate != nil && !*p.Truncate:
		return unsupported(configFile, "%s: truncate is false", field)
	case r.factor < 1:
		return formatError(configFile, "%s: factor is %g, less than 1", field, r.factor)
	}
	scale := func(m float64) float64 { return 0.1*m*math.Log(r.factor) + 1 }
	switch {
	case p.Attention != nil:
		r.attn = *p.Attention / scale(1)
	case p.MScale != nil && p.MScaleAll != nil:
		r.attn = scale(*p.MScale) / scale(*p.MScaleAll) / scale(1)
	}
	r.kind, r.trained = "yarn", int64(or(p.Original, float64(c.Positions)))
	c.context = max(c.context, int64(float64(r.trained)*r.factor))
	return nil
}

// llama3 computes what each frequency is divided by: nothing for short wavelengths, factor for long ones, and in
// between what leads from one to the other.
func (c *config) llama3(field string, p ropeParameters) error {
	low, high, original := or(p.Low, 1), or(p.High, 4), or(p.Original, float64(c.Positions))
	if low == high {
		return formatError(configFile, "%s: low_freq_factor and high_freq_factor are both %g", field, low)
	}
	for i := int64(0); i < c.headDim; i += 2 {
		wavelength := 2 * math.Pi * math.Pow(c.rope.theta, float64(i)/float64(c.headDim))
		divisor := c.rope.factor
		switch {
		case wavelength < original/high:
			divisor = 1
		case wavelength <= original/low:
			smooth := (original/wavelength - low) / (high - low)
			divisor = 1 / ((1-smooth)/c.rope.factor + smooth)
		}
		c.rope.freqs = append(c.rope.freqs, float32(divisor))
	}
	return nil
}
