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
//   - flow: the unit of fairness, an adapter by its name or the base.
//
// What is decided and what is done are kept apart. plan says which rows a turn has, queue whose request is
// next, kv what is cached and where a request may live, text what of an answer can be read: these touch
// nothing but their own state. The loop (turn, and what it calls) asks them, calls the Device, and writes
// to the streams. Other goroutines reach it through the inbox alone.
//
// The package is pure Go. runtime/llama implements Model and Device over llama.cpp, runtimetest
// implements them deterministically for tests, and both pass the suite in runtimetest.
package runtime
