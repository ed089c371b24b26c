package huggingface

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/quant/safetensors"
)

// family is an architecture of transformers and what it is in GGUF.
type family struct {
	arch     string // general.architecture
	permuted bool   // rows of q and k stand in another order in GGUF, whose rotary pairs are neighbours
	qkvBias  bool   // always; otherwise as attention_bias says
	qkNorm   bool
	freqs    bool // llama.cpp reads rope_freqs.weight
	biases   bool // llama.cpp reads biases of attention and feed-forward
}

// families are the architectures that can be imported, as config.json spells them.
var families = map[string]family{
	"LlamaForCausalLM":   {arch: "llama", permuted: true, freqs: true, biases: true},
	"MistralForCausalLM": {arch: "llama", permuted: true, freqs: true, biases: true},
	"Qwen2ForCausalLM":   {arch: "qwen2", qkvBias: true},
	"Qwen3ForCausalLM":   {arch: "qwen3", qkNorm: true},
}

// byType gives the architecture where a config.json has a model_type only.
var byType = map[string]string{
	"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
}

// config is what config.json says of the model. Names are those of the file.
type config struct {
	family

	Architectures     []string        `json:"architectures"`
	ModelType         string          `json:"model_type"`
	HiddenSize        int64           `json:"hidden_size"`
	IntermediateSize  int64           `json:"intermediate_size"`
	Layers            int64           `json:"num_hidden_layers"`
	Heads             int64           `json:"num_attention_heads"`
	KVHeads           *int64          `json:"num_key_value_heads"`
	HeadDim           *int64          `json:"head_dim"`
	VocabSize         int64           `json:"vocab_size"`
	Positions         int64           `json:"max_position_embeddings"`
	Epsilon           *float64        `json:"rms_norm_eps"`
	Activation        string          `json:"hidden_act"`
	Tied              bool            `json:"tie_word_embeddings"`
	AttentionBias     bool            `json:"attention_bias"`
	FeedForwardBias   bool            `json:"mlp_bias"`
	RopeTheta         *float64        `json:"rope_theta"`
	RopeScaling       json.RawMessage `json:"rope_scaling"`
	RopeParameters    json.RawMessage `json:"rope_parameters"` // transformers 5: theta and scaling in one
	PartialRotary     *float64        `json:"partial_rotary_factor"`
	SlidingWindow     *int64          `json:"sliding_window"`
	UseSlidingWindow  *bool           `json:"use_sliding_window"`
	LayerTypes        []string        `json:"layer_types"`
	BOS               tokenIDs        `json:"bos_token_id"`
	EOS               tokenIDs        `json:"eos_token_id"`
	Quantization      json.RawMessage `json:"quantization_config"`
	CompressionConfig json.RawMessage `json:"compression_config"` // llm-compressor's older name

	headDim, kvHeads int64
	epsilon          float64
	rope             rope
	context          int64 // positions for which what we serve is what transformers computes
	nf4              bool  // the linear layers are quantized by bitsandbytes
	generationEOS    tokenIDs
	notes            []string
}

// tokenIDs is a token's id, or a list of them, or null.
type tokenIDs []int64

func (t *tokenIDs) UnmarshalJSON(data []byte) error {
	var one int64
	var list []int64
	switch {
	case string(data) == "null":
	case json.Unmarshal(data, &one) == nil:
		*t = tokenIDs{one}
	case json.Unmarshal(data, &list) == nil:
		*t = list
	default:
		return fmt.Errorf("%s is neither a token id nor a list of them", clip(data))
	}
	return nil
}

// clip shortens a value for a message.
func clip(data []byte) string {
	const most = 60
	if len(data) > most {
		return string(data[:most]) + "..."
	}
	return string(data)
}

// readConfig reads and checks config.json.
func readConfig(f *folder) (*config, error) {
	data, found, err := f.read(configFile, maxConfig)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("%w: %s is missing", ErrFormat, configFile)
	}
	return parseConfig(data)
}

func parseConfig(data []byte) (*config, error) {
	if _, err := safetensors.ParseObject(data); err != nil {
		return nil, formatError(configFile, "%w", err)
	}
	c := &config{}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, formatError(configFile, "%w", err)
	}
	for _, step := range []func() error{c.findFamily, c.shape, c.refusals, c.readRope, c.quantization, c.window} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *config) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

func (c *config) findFamily() error {
	name := byType[c.ModelType]
	if len(c.Architectures) > 0 {
		name = c.Architectures[0]
	}
	var known bool
	if c.family, known = families[name]; known {
		return nil
	}
	if name == "" {
		name = c.ModelType
	}
	return unsupported(configFile, "architecture %q is none of Llama, Mistral, Qwen2 and Qwen3ForCausalLM", name)
}

// shape checks the sizes: no product of two of them overflows, and each is one that a tensor can have.
func (c *config) shape() error {
	c.kvHeads, c.headDim = c.Heads, 0
	if c.KVHeads != nil {
		c.kvHeads = *c.KVHeads
	}
	if c.HeadDim != nil {
		c.headDim = *c.HeadDim
	}
	for _, n := range []struct {
		field string
		value int64
		most  int64
	}{
		{"hidden_size", c.HiddenSize, 1 << 20}, {"intermediate_size", c.IntermediateSize, 1 << 22},
		{"num_hidden_layers", c.Layers, 1 << 12}, {"num_attention_heads", c.Heads, 1 << 12},
		{"num_key_value_heads", c.kvHeads, c.Heads}, {"max_position_embeddings", c.Positions, 1 << 30},
	} {
		if n.value < 1 || n.value > n.most {
			return formatError(configFile, "%s is %d, not between 1 and %d", n.field, n.value, n.most)
		}
	}
	if c.headDim == 0 {
		c.headDim = c.HiddenSize / c.Heads
		if c.HiddenSize%c.Heads != 0 {
			return formatError(configFile, "hidden_size %d is no multiple of num_attention_heads %d, and head_dim is missing", c.HiddenSize, c.Heads)
		}
	}
	switch {
	case c.headDim < 2 || c.headDim > 1<<16 || c.headDim%2 != 0:
		return formatError(configFile, "head_dim is %d, not even and between 2 and 65536", c.headDim)
	case c.Heads%c.kvHeads != 0:
		return formatError(configFile, "num_attention_heads %d is no multiple of num_key_value_heads %d", c.Heads, c.kvHeads)
	case c.arch == "qwen2" && c.headDim*c.Heads != c.HiddenSize:
		return unsupported(configFile, "head_dim is %d: llama.cpp's qwen2 has hidden_size / num_attention_heads", c.headDim)
	}
	c.epsilon = 1e-6
	if c.Epsilon != nil {
		c.epsilon = *c.Epsilon
	}
	if !(c.epsilon >= 0 && c.epsilon < 1) {
		return formatError(configFile, "rms_norm_eps is %g", c.epsilon)
	}
	return nil
}

// refusals names what the GGUF architecture cannot express.
func (c *config) refusals() error {
	switch {
	case !slices.Contains([]string{"", "silu", "swish"}, c.Activation):
		return unsupported(configFile, "hidden_act is %q, not silu", c.Activation)
	case c.PartialRotary != nil && *c.PartialRotary != 1:
		return unsupported(configFile, "partial_rotary_factor is %g, not 1", *c.PartialRotary)
	case c.AttentionBias && !c.biases && !c.qkvBias:
		return unsupported(configFile, "attention_bias is true: llama.cpp's %s has none", c.arch)
	case c.FeedForwardBias && !c.biases:
		return unsupported(configFile, "mlp_bias is true: llama.cpp's %s has none", c.arch)
	case c.AttentionBias && c.biases && c.headDim*c.Heads != c.HiddenSize:
		return unsupported(configFile, "attention_bias is true and head_dim is %d: llama.cpp has biases of hidden_size only", c.headDim)
	}
	return nil
}

// quantization reads quantization_config: of the methods only bitsandbytes' NF4 can be taken as it is.
func (c *config) quantization() error {
	raw := c.Quantization
	if len(raw) == 0 || string(raw) == "null" {
		raw = c.CompressionConfig
	}
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	q := struct {
		Method string `json:"quant_method"`
		In4    bool   `json:"load_in_4bit"`
		In8    bool   `json:"load_in_8bit"`
		Type   string `json:"bnb_4bit_quant_type"`
	}{Type: "fp4"} // bitsandbytes' default
	if err := json.Unmarshal(raw, &q); err != nil {
		return formatError(configFile, "quantization_config: %w", err)
	}
	switch {
	case q.Method != "bitsandbytes" && !(q.Method == "" && (q.In4 || q.In8)):
		return unsupported(configFile, "quantization_config: quant_method %q is not supported: only bitsandbytes' NF4 is; start from the unquantized model", q.Method)
	case q.In8:
		return unsupported(configFile, "quantization_config: load_in_8bit: bitsandbytes' LLM.int8 is not supported, only its NF4")
	case !q.In4 || q.Type != "nf4":
		return unsupported(configFile, "quantization_config: bnb_4bit_quant_type %q is not supported, only nf4", q.Type)
	}
	c.nf4 = true
	return nil
}

// window shortens the context to where a sliding window, which llama.cpp's graphs of these families have not,
// does not matter yet.
func (c *config) window() error {
	sliding := c.SlidingWindow != nil && *c.SlidingWindow > 0
	if c.UseSlidingWindow != nil {
		sliding = sliding && *c.UseSlidingWindow
	} else if strings.HasPrefix(c.arch, "qwen") {
		sliding = false // transformers' default
	}
	if len(c.LayerTypes) > 0 {
		for _, t := range c.LayerTypes {
			if t != "full_attention" && t != "sliding_attention" {
				return unsupported(configFile, "layer_types: %q", t)
			}
		}
		sliding = sliding && slices.Contains(c.LayerTypes, "sliding_attention")
	}
	if sliding && *c.SlidingWindow < c.context {
		c.note("sliding_window: the context is cut from %d to %d tokens, for llama.cpp's %s attends to all of them", c.context, *c.SlidingWindow, c.arch)
		c.context = *c.SlidingWindow
	}
	c.context = min(c.context, math.MaxInt32)
	return nil
}
