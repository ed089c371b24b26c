package modelfile

import (
	"fmt"
	"slices"
)

// otherHeads are the architectures whose keys and values may have different lengths, whose layers may lack attention, or
// whose projections are laid out in another way. All others assert that the lengths are equal.
var otherHeads = []string{
	"arwkv7", "bailingmoe", "deci", "deepseek2", "exaone4", "falcon-h1", "gemma", "gemma2", "gemma3", "gemma3n",
	"gpt-oss", "granitehybrid", "jamba", "lfm2", "lfm2moe", "mamba", "mamba2", "minicpm3", "nemotron_h", "nemotron_h_moe",
	"openelm", "plamo2", "plm", "qwen3next", "rwkv6", "rwkv6qwen2", "rwkv7",
}

// fullRotation are the architectures that assert that rope turns whole heads.
var fullRotation = []string{
	"apertus", "arcee", "arctic", "baichuan", "chameleon", "codeshell", "cogvlm", "dbrx", "deci", "deepseek",
	"dots1", "ernie4_5", "ernie4_5-moe", "exaone", "exaone4", "falcon", "granite", "granitemoe", "grok",
	"grovemoe", "hunyuan-dense", "hunyuan-moe", "internlm2", "llama", "llama4", "minicpm", "mistral3",
	"olmo", "olmo2", "olmoe", "orion", "pangu-embedded", "plamo", "qwen2", "qwen2moe", "qwen2vl", "qwen3",
	"qwen3moe", "qwen3vl", "qwen3vlmoe", "seed_oss", "smallthinker", "smollm3", "solar", "starcoder2", "xverse",
}

// plainAttention are the architectures whose attn_q, attn_k and attn_v give the heads and nothing else.
var plainAttention = []string{
	"llama", "llama4", "mistral3", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3", "granite",
	"granitemoe", "minicpm", "olmo2", "smollm3", "ernie4_5", "seed_oss", "internlm2", "starcoder2", "arcee", "deepseek", "dots1",
}

// checkHeads checks the numbers of heads and their lengths against each other and against the projections.
func (c *checker) checkHeads() error {
	heads, ok, err := c.perLayer("attention.head_count")
	if err != nil || !ok {
		return err // a model without attention
	}
	kvHeads, ok, err := c.perLayer("attention.head_count_kv")
	if err != nil {
		return err
	}
	if !ok {
		kvHeads = heads
	}
	other := slices.Contains(otherHeads, c.architecture)
	for i := range heads {
		switch q, kv := heads[i], kvHeads[i]; {
		case q > 0 && kv > 0 && q%kv != 0:
			return fmt.Errorf("%s is %d, which is no multiple of %s %d, in layer %d",
				c.key("attention.head_count"), q, c.key("attention.head_count_kv"), kv, i)
		case !other && (q == 0 || kv == 0):
			return fmt.Errorf("%s is %d and %s is %d in layer %d: both must be at least 1",
				c.key("attention.head_count"), q, c.key("attention.head_count_kv"), kv, i)
		}
	}
	if heads[0] == 0 {
		return nil
	}
	c.heads, c.kvHeads = heads, kvHeads
	c.keyLength, c.valueLength = c.embedding/heads[0], c.embedding/heads[0]
	for suffix, length := range map[string]*int64{"attention.key_length": &c.keyLength, "attention.value_length": &c.valueLength} {
		switch n, ok, err := c.uint32(suffix); {
		case err != nil:
			return err
		case ok:
			*length = n
		}
		if *length < 1 || *length > 1<<20 {
			return fmt.Errorf("%s is %d, it must be from 1 to %d", c.key(suffix), *length, 1<<20)
		}
	}
	if !other && c.keyLength != c.valueLength {
		return fmt.Errorf("%s is %d and %s is %d, they must be equal",
			c.key("attention.key_length"), c.keyLength, c.key("attention.value_length"), c.valueLength)
	}
	return c.checkProjections()
}

// checkProjections checks that the projections give as many values as the heads have: the graph asserts it when it is
// built, for the first token.
func (c *checker) checkProjections() error {
	if !slices.Contains(plainAttention, c.architecture) {
		return nil
	}
	for i := range c.layers {
		for name, out := range map[string]int64{
			"attn_q": c.heads[i] * c.keyLength, "attn_k": c.kvHeads[i] * c.keyLength, "attn_v": c.kvHeads[i] * c.valueLength,
		} {
			t, ok := c.byName[fmt.Sprintf("blk.%d.%s.weight", i, name)]
			if ok && (len(t.Dims) < 2 || t.Dims[1] != out) {
				return fmt.Errorf("tensor %q has dimensions %v, but the heads have %d values", t.Name, t.Dims, out)
			}
		}
	}
	return nil
}

// checkRope checks the position encoding.
func (c *checker) checkRope() error {
	if v, ok := c.metadata.Get(c.key("rope.scaling.type")); ok {
		s, _ := v.(string)
		if !slices.Contains([]string{"none", "linear", "yarn", "longrope"}, s) {
			return fmt.Errorf("%s is %v, it must be none, linear, yarn or longrope", c.key("rope.scaling.type"), v)
		}
	}
	key := c.key("rope.dimension_count")
	n, ok, err := c.uint32("rope.dimension_count")
	switch {
	case err != nil:
		return err
	case c.keyLength == 0:
		return nil
	case !ok:
		n = c.keyLength
	}
	switch {
	case n > c.keyLength:
		return fmt.Errorf("%s is %d, more than the %d values of a head", key, n, c.keyLength)
	case n%2 != 0 && slices.Contains(fullRotation, c.architecture):
		return fmt.Errorf("%s is %d, it must be even", key, n)
	case n != c.keyLength && slices.Contains(fullRotation, c.architecture):
		return fmt.Errorf("%s is %d, it must be the length of a head, %d", key, n, c.keyLength)
	case ok && n%2 != 0:
		return fmt.Errorf("%s is %d, it must be even", key, n)
	}
	return nil
}
