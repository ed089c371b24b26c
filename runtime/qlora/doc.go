// Package qlora trains a LoRA adapter on the weights that are resident for serving: it reads them in place,
// whatever their coding, and never writes to them.
//
// The engine is C++ behind the C functions of c_api.h, forward and backward written by hand. This package holds one Trainer per
// job and calls it once per slice of work, so that an engine can decode between any two slices.
//
// Where the model's layers lie on a device of ggml's, the gradients are computed there: as graphs of ggml's own operations, a
// layer at a time, over the tensors that serve (graph*.h, graph*.cpp). The adapter, its optimizer and its state are the same
// code in the memory of the CPU, so that a run may even go on where it did not begin.
//
// The words used here:
//
//   - micro-batch: packed sequences that go through the model together. They do not see each other.
//   - step: one or more micro-batches whose gradients are summed, then one update of the adapter.
//   - slice: a bounded piece of a step, some milliseconds: a product of matrices or a part of one, the
//     attention of some heads, a chunk of the loss; on a device as many parts of a layer's graph as fit into about a
//     millisecond and a half.
//   - kept layers: those whose activations stay between forward and backward. The others compute them again,
//     with the same bits.
//
// Sources: LoRA (Hu et al. 2021), QLoRA (Dettmers et al. 2023), gradient checkpointing (Chen et al. 2016),
// AdamW (Loshchilov & Hutter 2019), LoRA+ (Hayou et al. 2024).
package qlora
