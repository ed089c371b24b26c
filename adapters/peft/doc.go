// Package peft reads and writes LoRA adapters in the two forms that they are passed around in: Hugging Face PEFT's
// (adapter_config.json and adapter_model.safetensors) and llama.cpp's GGUF file. A Source is an adapter as it came;
// Fit matches it with a base, tensor by tensor, and gives an Adapter, or the name of the tensor or field that does
// not fit. Nothing is left out without an error.
//
// The package writes no files and holds no state. Whatever the bytes are, nothing in it panics, and its memory stays a
// small multiple of the headers' length, which is bounded.
package peft
