// Package runtime declares how the model is run: the contracts between the engine, the devices that compute, and
// the packages that ask for answers and for training.
//
// The words used here:
//
//   - base: the one quantized model that is resident. It is adapter zero: a row without an adapter is
//     a row whose Mix is empty, and nothing else about it is special.
//   - adapter: a LoRA in the Device's own layout (Packed). A Mix is a weighted sum of adapters.
//   - row: one token of a decode batch.
//   - sequence: the part of the KV cache that one stream, or a finished stream's cached prefix, lives in.
//
// The package is pure Go and computes nothing. runtime/engine implements the loop that serves requests over a Model
// and a Device; runtime/llama implements these two over llama.cpp, runtime/qlora implements Trainer, and runtimetest
// has deterministic ones for tests, with the conformance suite that all of them pass.
package runtime
