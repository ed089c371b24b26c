//go:build cgo

package kernels

/*
#include "kernels.h"
*/
import "C"

import "errors"

// ErrMemory says that a packed weight found no memory.
var ErrMemory = errors.New("out of memory")

// ISA is an instruction set.
type ISA int

// The instruction sets, in the order of their speed.
const (
	Portable ISA = C.LK_PORTABLE
	AVX2     ISA = C.LK_AVX2
	AVX512   ISA = C.LK_AVX512
)

func (i ISA) String() string { return [...]string{"portable", "avx2", "avx512"}[i] }

// CurrentISA returns the path in use.
func CurrentISA() ISA { return ISA(C.lk_isa()) }

// BestISA returns the best path of this CPU.
func BestISA() ISA { return ISA(C.lk_best_isa()) }

// ForceISA makes the kernels use the given path, or the best one of this CPU where that is less, and
// returns the path now in use. It must not run while kernels run: it is for tests and benchmarks.
func ForceISA(i ISA) ISA { return ISA(C.lk_force_isa(C.int(i))) }

// mappedBytes returns the address space that packed weights take, with the freed ranges among them.
func mappedBytes() int { return int(C.lk_mapped_bytes()) }
