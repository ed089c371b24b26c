// Package kernels computes the products that llama.cpp does not have: with NF4 weights, and with a
// different LoRA adapter in every row of a batch.
//
// The work is C++ behind kernels.h, whose symbols other packages of this program call from their own C++;
// importing this package links them. The Go functions here are thin and serve tests and benchmarks.
//
// Every kernel has three paths, chosen at run time: AVX-512 with VNNI, AVX2 with FMA, and plain C++ for any
// CPU. They compute with the same integers, so that their results differ by the order of float sums alone.
// Without cgo the package is empty but for its types.
package kernels

// ISA is an instruction set.
type ISA int

// The instruction sets, in the order of their speed.
const (
	Portable ISA = iota
	AVX2
	AVX512
)

func (i ISA) String() string { return [...]string{"portable", "avx2", "avx512"}[i] }

// Mode is how NF4 products are computed.
type Mode int

// The modes. The errors are relative to exact products with the same weights, in the root mean square.
const (
	F32 Mode = iota // float activations: the oracle, 1e-6
	I16             // int16 codebook and activations: the default, 1e-4
	I8              // int8 codebook and activations: the fastest, 7e-3
)

func (m Mode) String() string { return [...]string{"f32", "i16", "i8"}[m] }

// Storage is how a packed LoRA keeps its weights.
type Storage int

// The storage types.
const (
	StoreF16 Storage = iota
	StoreF32
)

// MaxRank is the largest LoRA rank that packs.
const MaxRank = 512
