// Package modelfile checks a GGUF model file before llama.cpp is given it.
//
// llama.cpp answers some faults of a file with an error, and others with an assertion that ends the process, a read
// outside an array, or a division by zero, at load or at the first token. This package looks for the second kind, and for
// those of the first kind whose message would not name the key or tensor at fault. It reads the header alone, whatever
// the size of the file. What the GGUF format itself demands (lengths, alignment, tensors inside the file and apart) is
// checked by quant.Open already.
//
// The rules follow the sources of llama.cpp as the module github.com/ollama/ollama v0.17.4 has them: gguf.cpp,
// llama-model-loader.cpp, llama-model.cpp (load_hparams, load_tensors), llama-vocab.cpp (load) and models/*.cpp.
package modelfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lorikeet-ai/lorikeet/quant"
)

// ErrModel means that llama.cpp must not be given the file. The errors that wrap it name the key or the tensor.
var ErrModel = errors.New("not a usable model file")

// Check returns an error that wraps ErrModel where llama.cpp could not survive the model or would misread it. path is
// where the file lies: the other parts of a model that is split into several files are looked for beside it and checked
// too. It may be empty for a file in memory.
func Check(f *quant.File, path string) error {
	c := &checker{metadata: &f.Metadata, tensors: f.Tensors}
	if err := c.parts(f, path); err != nil {
		return fmt.Errorf("%w: %w", ErrModel, err)
	}
	c.byName = make(map[string]quant.Tensor, len(c.tensors))
	for _, t := range c.tensors {
		c.byName[t.Name] = t
	}
	for _, check := range []func() error{
		c.checkKeys, c.checkArchitecture, c.checkNumbers, c.checkExperts, c.checkHeads, c.checkRope,
		c.checkVocabulary, c.checkTensors,
	} {
		if err := check(); err != nil {
			return fmt.Errorf("%w: %w", ErrModel, err)
		}
	}
	return nil
}

// checker has what the checks share. Later checks rely on what earlier ones found to be true.
type checker struct {
	metadata     *quant.Metadata
	tensors      []quant.Tensor // of all parts
	byName       map[string]quant.Tensor
	architecture string // without the NF4 mark
	layers       int    // block_count
	embedding    int64  // embedding_length
	heads        []int64
	kvHeads      []int64
	keyLength    int64 // of one head; 0 where the model has no attention heads
	valueLength  int64
}

// checkKeys refuses keys that llama.cpp reads otherwise than we do: it compares C strings, which end at a zero byte.
func (c *checker) checkKeys() error {
	for key := range c.metadata.All() {
		switch {
		case key == "":
			return errors.New("one of the keys is empty")
		case strings.ContainsRune(key, 0):
			return fmt.Errorf("key %q holds a zero byte", key)
		}
	}
	return nil
}

// encoders are the architectures of llama.cpp that make no text one token after the other, and what they are.
var encoders = map[string]string{
	"bert": "an encoder", "nomic-bert": "an encoder", "nomic-bert-moe": "an encoder", "neo-bert": "an encoder",
	"jina-bert-v2": "an encoder", "jina-bert-v3": "an encoder", "gemma-embedding": "an encoder", "t5encoder": "an encoder",
	"t5": "an encoder with a decoder", "clip": "an image encoder", "wavtokenizer-dec": "an audio decoder",
	"dream": "a diffusion model", "llada": "a diffusion model", "llada-moe": "a diffusion model", "rnd1": "a diffusion model",
}

func (c *checker) checkArchitecture() error {
	architecture, ok := c.metadata.String("general.architecture")
	if !ok {
		return errors.New(`key "general.architecture" is missing or no string`)
	}
	c.architecture, _ = quant.PlainArchitecture(architecture)
	if what, ok := encoders[c.architecture]; ok {
		return fmt.Errorf("general.architecture is %q, %s: only models that predict the next token can be served", architecture, what)
	}
	if causal, ok := c.metadata.Bool(c.key("attention.causal")); ok && !causal {
		return fmt.Errorf("%s is false: only models that predict the next token can be served", c.key("attention.causal"))
	}
	return nil
}

// key returns the full name of a key of the architecture.
func (c *checker) key(suffix string) string { return c.architecture + "." + suffix }

// uint32 returns the value of a key, which llama.cpp reads as uint32 and as no other type.
func (c *checker) uint32(suffix string) (value int64, ok bool, err error) {
	v, ok := c.metadata.Get(c.key(suffix))
	if !ok {
		return 0, false, nil
	}
	u, isUint32 := v.(uint32)
	if !isUint32 {
		return 0, false, fmt.Errorf("%s is of type %T, it must be uint32", c.key(suffix), v)
	}
	return int64(u), true, nil
}

// perLayer returns a value for each layer: one uint32 that holds for all, or an array of as many integers.
func (c *checker) perLayer(suffix string) (values []int64, ok bool, err error) {
	v, ok := c.metadata.Get(c.key(suffix))
	if !ok {
		return nil, false, nil
	}
	switch v := v.(type) {
	case uint32:
		return slices.Repeat([]int64{int64(v)}, c.layers), true, nil
	case []int32, []uint32:
		values, _ = c.metadata.Ints(c.key(suffix))
	default:
		return nil, false, fmt.Errorf("%s is of type %T, it must be uint32 or an array of 32-bit integers", c.key(suffix), v)
	}
	if len(values) != c.layers {
		return nil, false, fmt.Errorf("%s has %d values, the model has %d layers", c.key(suffix), len(values), c.layers)
	}
	for i, n := range values {
		if n < 0 {
			return nil, false, fmt.Errorf("%s: value %d is %d", c.key(suffix), i, n)
		}
	}
	return values, true, nil
}
