package modelfile

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

const (
	maxLayers  = 512 // LLAMA_MAX_LAYERS: llama.cpp has arrays of this length
	maxExperts = 512 // LLAMA_MAX_EXPERTS
)

// limit is the range of an integer key. llama.cpp divides by these values, or asserts or indexes with them.
type limit struct {
	suffix   string
	min, max int64
}

var limits = []limit{
	{"context_length", 1, math.MaxInt32},
	{"embedding_length", 1, 1 << 24},
	{"vocab_size", 0, 1 << 24},
	{"pooling_type", 0, 4},
	{"expert_gating_func", 0, 3},
	{"interleave_moe_layer_step", 1, maxLayers},
	{"experts_per_group", 1, maxExperts},
	{"n_deepstack_layers", 0, maxLayers},
	{"attention.temperature_length", 1, math.MaxInt32},
	{"attention.group_norm_groups", 1, 1 << 24},
	{"attention.relative_buckets_count", 1, 1 << 24},
	{"rope.scaling.original_context_length", 1, math.MaxInt32},
	{"token_shift_count", 1, 2},
	{"shortconv.l_cache", 2, 1 << 16},
	{"ssm.conv_kernel", 1, 1 << 16},
	{"ssm.inner_size", 1, 1 << 24},
	{"ssm.state_size", 1, 1 << 24},
	{"ssm.time_step_rank", 1, 1 << 24},
	{"ssm.group_count", 1, 1 << 24},
	{"wkv.head_size", 1, 1 << 24},
}

// checkNumbers checks the keys of the architecture one by one.
func (c *checker) checkNumbers() error {
	for _, suffix := range []string{"context_length", "embedding_length", "block_count"} {
		if _, ok := c.metadata.Get(c.key(suffix)); !ok {
			return fmt.Errorf("key %q is missing", c.key(suffix))
		}
	}
	for _, l := range append(limits, limit{"block_count", 1, maxLayers}) {
		switch v, ok, err := c.uint32(l.suffix); {
		case err != nil:
			return err
		case ok && (v < l.min || v > l.max):
			return fmt.Errorf("%s is %d, it must be from %d to %d", c.key(l.suffix), v, l.min, l.max)
		}
	}
	layers, _, _ := c.uint32("block_count")
	c.layers = int(layers)
	c.embedding, _, _ = c.uint32("embedding_length")
	if err := c.checkFloats(); err != nil {
		return err
	}
	if err := c.checkArrays(); err != nil {
		return err
	}
	return c.checkRecurrent()
}

// positive are the floats that must be more than zero.
var positive = []string{
	"attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "attention.group_norm_epsilon",
	"rope.freq_base", "rope.freq_base_swa", "attention.temperature_scale",
}

// checkFloats refuses what is infinite or no number. A negative epsilon fails an assertion at the first token.
func (c *checker) checkFloats() error {
	for key, v := range c.metadata.All() {
		suffix, ours := strings.CutPrefix(key, c.architecture+".")
		if !ours && !strings.HasPrefix(key, "xielu.") {
			continue
		}
		var values []float64
		switch v := v.(type) {
		case float32:
			values = []float64{float64(v)}
		case float64:
			values = []float64{v}
		case []float32:
			for _, x := range v {
				values = append(values, float64(x))
			}
		}
		for _, x := range values {
			switch {
			case math.IsNaN(x) || math.IsInf(x, 0):
				return fmt.Errorf("%s is %g, which is no finite number", key, x)
			case slices.Contains(positive, suffix) && x <= 0:
				return fmt.Errorf("%s is %g, it must be more than 0", key, x)
			case (suffix == "rope.scaling.factor" || suffix == "rope.scale_linear") && x < 0:
				return fmt.Errorf("%s is %g, it must not be negative", key, x)
			}
		}
	}
	return nil
}

// checkArrays checks the element types of the arrays that llama.cpp reads: another type fails an assertion.
func (c *checker) checkArrays() error {
	for key, v := range c.metadata.All() {
		suffix := strings.TrimPrefix(key, c.architecture+".")
		switch {
		case suffix == "rope.dimension_sections":
			if a, ok := c.metadata.Ints(key); !ok || len(a) != 4 || slices.Min(a) < 0 || !isInt32Array(v) {
				return fmt.Errorf("%s is not an array of four 32-bit integers that are not negative", key)
			}
		case suffix == "classifier.output_labels":
			if _, ok := v.([]string); !ok {
				return fmt.Errorf("%s is of type %T, it must be an array of strings", key, v)
			}
		case suffix == "feed_forward_length" || strings.HasPrefix(suffix, "attention.block_skip_connection."):
			if _, _, err := c.perLayer(suffix); err != nil {
				return err
			}
		case strings.HasPrefix(key, "xielu."):
			if a, ok := v.([]float32); !ok || len(a) != c.layers {
				if _, scalar := v.(float32); !scalar {
					return fmt.Errorf("%s is not one float32, nor one for each of the %d layers", key, c.layers)
				}
			}
		}
	}
	return nil
}

func isInt32Array(v any) bool {
	switch v.(type) {
	case []int32, []uint32:
		return true
	}
	return false
}

// checkRecurrent has the assertions of the state space and RWKV models.
func (c *checker) checkRecurrent() error {
	inner, ok, _ := c.uint32("ssm.inner_size")
	if ok && slices.Contains([]string{"mamba", "mamba2", "jamba", "granitehybrid"}, c.architecture) && inner != 2*c.embedding {
		return fmt.Errorf("%s is %d, it must be twice the embedding_length %d", c.key("ssm.inner_size"), inner, c.embedding)
	}
	for _, suffix := range []string{"ssm.group_count", "ssm.time_step_rank"} {
		n, ok, _ := c.uint32(suffix)
		if ok && c.architecture != "mamba" && c.architecture != "jamba" && inner%n != 0 {
			return fmt.Errorf("%s is %d, which does not divide ssm.inner_size %d", c.key(suffix), n, inner)
		}
	}
	if size, ok, _ := c.uint32("wkv.head_size"); ok && c.embedding%size != 0 {
		return fmt.Errorf("%s is %d, which does not divide the embedding_length %d", c.key("wkv.head_size"), size, c.embedding)
	}
	if shift, ok, _ := c.uint32("token_shift_count"); ok && shift != 2 && (c.architecture == "rwkv6" || c.architecture == "rwkv7") {
		return fmt.Errorf("%s is %d, it must be 2", c.key("token_shift_count"), shift)
	}
	return nil
}

// checkExperts has the assertions of load_hparams about mixtures of experts.
func (c *checker) checkExperts() error {
	var n [4]int64
	names := [4]string{"expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count"}
	for i, name := range names {
		var err error
		if n[i], _, err = c.uint32(name); err != nil {
			return err
		}
	}
	experts, used, groups, groupsUsed := n[0], n[1], n[2], n[3]
	fail := func(i int, what string) error { return fmt.Errorf("%s is %d, %s", c.key(names[i]), n[i], what) }
	switch {
	case experts > maxExperts:
		return fail(0, fmt.Sprintf("more than %d", maxExperts))
	case used > experts:
		return fail(1, fmt.Sprintf("more than the %d experts", experts))
	case experts > 0 && used == 0:
		return fail(1, fmt.Sprintf("but the model has %d experts", experts))
	case groups > 0 && groups >= experts:
		return fail(2, fmt.Sprintf("but the model has %d experts", experts))
	case groups > 1 && experts%groups != 0:
		return fail(2, fmt.Sprintf("which does not divide the %d experts", experts))
	case groups > 1 && (groupsUsed < 1 || groupsUsed >= groups):
		return fail(3, fmt.Sprintf("it must be from 1 to %d", groups-1))
	}
	return nil
}
