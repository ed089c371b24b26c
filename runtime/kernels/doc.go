// Package kernels computes the products that llama.cpp does not have, or has only slower: with NF4 weights,
// with a different LoRA adapter in every row of a batch, and with the Q8_0 and Q6_K weights of output heads.
//
// The work is C++ behind kernels.h, whose symbols other packages of this program call from their own C++;
// importing this package links them. The Go functions here are thin and serve tests and benchmarks.
//
// Every kernel has three paths, chosen at run time: AVX-512 with VNNI, AVX2 with FMA, and plain C++ for any
// CPU. All three compute with the same integers, so that their results differ by the order of float sums
// alone. On each of them a row's result has the same bits whatever else is in the batch and however many
// threads share the work.
//
// Without cgo the package is empty.
package kernels
