// The register tile of a matrix product, and the packed operands it reads. One Tile per instruction set:
// tile_portable.cpp, tile_avx2.cpp, tile_avx512.cpp, tile_amx.cpp.
//
// C (rows, cols) = A (rows, depth) B (depth, cols). The depth is counted in units of 32 bits: one float, or
// where `pairs` is set two bfloat16 of neighbouring depth. A depth is padded with zeros to a multiple of `step` units.
//
//   A is packed in blocks of mr rows: [unit/step][mr][step]. The last block is padded with zero rows.
//   B is packed in panels of nr columns: [unit][nr]. The last panel is padded with zero columns.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace lq {

typedef uint32_t Unit;

struct Tile {
    int mr, nr; // nr divides 32
    bool pairs;
    int step;   // units

    // One block of A, m <= mr rows, times scale. by_row: element (i, k) is x[i*ld + k]; by_depth: x[k*ld + i].
    void (*pack_a_by_row)(const float * x, ptrdiff_t ld, int m, int depth, float scale, Unit * out);
    void (*pack_a_by_depth)(const float * x, ptrdiff_t ld, int m, int depth, float scale, Unit * out);

    // One panel of B, n <= nr columns. by_column: element (k, j) is x[j*ld + k]; by_depth: x[k*ld + j].
    void (*pack_b_by_column)(const float * x, ptrdiff_t ld, int depth, int n, Unit * out);
    void (*pack_b_by_depth)(const float * x, ptrdiff_t ld, int depth, int n, Unit * out);

    // c (m, n) (+)= alpha * (a1 b1 + a2 b2) for one block and one panel; the second pair may have no units.
    void (*run)(int units1, const Unit * a1, const Unit * b1, int units2, const Unit * a2, const Unit * b2, float alpha,
        bool accumulate, int m, int n, float * c, ptrdiff_t ldc);
};

inline int units_of(const Tile & t, int depth) { return ((t.pairs ? (depth + 1)/2 : depth) + t.step - 1)/t.step*t.step; }

} // namespace lq
