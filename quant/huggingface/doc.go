// Package huggingface reads models as Hugging Face's transformers stores them - a folder with config.json,
// safetensors, the tokenizer's files and a chat template - and writes them as GGUF, tensor by tensor.
//
// The words used here:
//
//   - folder: the model's folder. Nothing outside it is read, whatever a link or an index names.
//   - shard: one of the safetensors files.
//   - family: an architecture that we know: llama, mistral, qwen2, qwen3.
//   - view: the folder seen as a GGUF file (quant.View): names, metadata and order of rows are GGUF's, the
//     weights are read from the shards when they are asked for. What is written is the view, re-encoded.
//
// What the model computes is either expressed exactly in the GGUF file or refused by its name; what only a reader
// should know (a shorter context, a text normalization that llama.cpp does not do) is a note in the Report.
//
// ollama's convert package, which is in the module graph, is not used for models: it allocates what a header
// states, panics on a rope scaling that it does not know, holds whole tensors, drops tensors in silence, has
// neither mistral nor bitsandbytes, and knows five pre-tokenizers by the digest of their expressions alone. Of
// it we take the generated reader of SentencePiece's tokenizer.model.
package huggingface

import (
	"errors"
	"fmt"
)

// The errors of this package; others are wrapped around them with the file, tensor or field at fault.
var (
	ErrFormat      = errors.New("not a readable model folder")
	ErrUnsupported = errors.New("the model cannot be imported exactly")
)

// formatError is an ErrFormat about a file of the folder.
func formatError(file, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w", ErrFormat, file, fmt.Errorf(format, args...))
}

// unsupported is an ErrUnsupported about a file of the folder.
func unsupported(file, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w", ErrUnsupported, file, fmt.Errorf(format, args...))
}
