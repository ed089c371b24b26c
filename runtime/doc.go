// Package runtime runs the model: one Engine goroutine owns the Device and, turn after turn, admits
// requests, plans a batch, decodes it, and delivers what was sampled to the streams.
//
// The words used here:
//
//   - base: the one quantized model that is resident. It is adapter zero: a row without an adapter is
//     a row whose Mix is empty, and nothing else about it is special.
//   - adapter: a LoRA in the Device's own layout (Packed). A Mix is a weighted sum of adapters.
//   - sequence: a row of the KV cache that a stream, or a finished stream's cached prefix, lives in.
//   - turn: one Device.Decode and what surrounds it.
//
// The package is pure Go. runtime/llama implements Model and Device over llama.cpp, runtimetest
// implements them deterministically for tests, and both pass the suite in runtimetest.
package runtime
