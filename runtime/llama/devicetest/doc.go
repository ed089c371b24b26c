// Package devicetest is a device for tests that looks like a GPU to ggml and is computed by the CPU.
//
// What assumes that weights, caches or activations lie in the host's memory fails on it at once, as on a GPU:
//
//   - A tensor's address lies in a mapping without access rights: the CPU faults where it reads or writes there. The
//     data is kept apart and is reached through ggml's set, get, copy, clear and memset functions alone.
//   - Graphs and asynchronous copies are put into a queue, which runs when the back end is synchronized and not before.
//     What reads a result too early reads old data, every time.
//   - Copies are put into a queue only where the device stands for CUDA alone: Vulkan's back end does them at once.
//   - Nodes with a function of ours (GGML_OP_CUSTOM, GGML_OP_MAP_CUSTOM*) are refused.
//   - Where the device stands for Vulkan, a graph fails that Vulkan takes and computes wrongly, or ends the process for: products
//     of matrices with gaps between them, and operands that begin at no alignment.
//   - IQ4_NL has NF4's codebook, as in the back ends that are built for this program; a test can give it others.
//   - The memory is bounded, and an allocation beyond it fails.
//
// Tests link its C++, the program never.
package devicetest

//go:generate go run ./generate
