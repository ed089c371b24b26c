package peft

import (
	"fmt"
	"strings"

	"github.com/lorikeet-ai/lorikeet/quant"
	"github.com/lorikeet-ai/lorikeet/runtime"
)

// FactsOf reads from a base model's file, without loading it, what adapters are checked against: the facts that
// runtime.Model gives of it but for those of its tokenizer. The error wraps ErrUnsupported where the base
// carries no adapters.
func FactsOf(file *quant.File) (*runtime.Facts, error) {
	architecture, _ := quant.PlainArchitecture(file.Architecture())
	if !families[architecture] {
		return nil, fmt.Errorf("%w: adapters are not supported on the architecture %q", ErrUnsupported, architecture)
	}
	fingerprint, err := file.Fingerprint()
	if err != nil {
		return nil, err
	}
	f := &runtime.Facts{Architecture: architecture, Fingerprint: fingerprint,
		RopeNorm: !strings.HasPrefix(architecture, "qwen"), Targets: map[string]runtime.Shape{}, Refused: map[string]string{},
		Biases: map[string]int{}, Norms: map[string]int{}}
	f.Name, _ = file.Metadata.String("general.name")
	number := func(key string) int {
		n, _ := file.Metadata.Uint(architecture + "." + key)
		return int(n)
	}
	f.Embedding, f.Layers, f.Heads = number("embedding_length"), number("block_count"), number("attention.head_count")
	if f.KVHeads = number("attention.head_count_kv"); f.KVHeads == 0 {
		f.KVHeads = f.Heads
	}
	f.TiedHead = true
	for _, t := range file.Tensors {
		if strings.HasPrefix(t.Name, "blk.") && strings.HasSuffix(t.Name, ".bias") && len(t.Dims) == 1 {
			f.Biases[t.Name] = int(t.Dims[0])
		}
		if _, ok := normModule(t.Name); ok && len(t.Dims) == 1 {
			f.Norms[t.Name] = int(t.Dims[0])
		}
		if _, ok := peftModule(t.Name); !ok || len(t.Dims) != 2 {
			continue
		}
		f.Targets[t.Name] = runtime.Shape{In: int(t.Dims[0]), Out: int(t.Dims[1])}
		f.TiedHead = f.TiedHead && t.Name != "output.weight"
	}
	if table, ok := f.Targets["token_embd.weight"]; ok && f.TiedHead {
		f.Targets["output.weight"] = table
	}
	return f, nil
}
