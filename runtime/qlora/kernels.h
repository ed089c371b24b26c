// The fast kernels of one instruction set, as the rest of the engine uses them.
#pragma once
#include "byte_tile.h"
#include "rows.h"
#include "tile.h"
#include "weights.h"

namespace lq {

struct SmallKernels {
    RowKernels rows;
    Fill * const * fills; // by lq_kind
};

struct Kernels {
    int isa;
    const Tile * tile;
    const ByteTile * bytes; // NULL: weights are multiplied as the tile does
    const RowKernels * rows;
    Fill * const * fills;
};

// Kernels of an lq_isa, LQ_AUTO being the best; tile is NULL where this CPU cannot run it.
Kernels kernels_for(int isa);
// The path of the same CPU whose products are of single precision.
int exact_isa(int isa);

// Decodes row `row` of a weight (n_in). It does not allocate.
void decode_row(const Kernels & k, const Weight & w, int row, float * out);

extern const SmallKernels small_portable;
#if defined(__x86_64__)
extern const SmallKernels small_avx2, small_avx512;
#endif

} // namespace lq
