// The register tile of products of bytes: activations rounded to 8 bits in blocks of 32, as llama.cpp's Q8_0 has
// them, times weights that are stored as few bits and a scale per block of 32. It is what decoding computes, and
// half as long as with bfloat16. Forward uses it; gradients are not rounded to bytes.
//
// A panel of weights holds unsigned bytes: code + zero, zero being the kind's own. The product of blocks is
// d_w * d_x * (sum of u * q - zero * sum of q), the sums in integers.
#pragma once
#include "weights.h"
#include <stddef.h>

namespace lq {

enum { BYTE_ROWS = 6, BYTE_DEPTH = 32, BYTE_COLS = 32 };

// 32 columns of depth for six rows of A.
struct alignas(64) ByteBlock {
    int8_t q[BYTE_ROWS][BYTE_DEPTH];
    float d[8];
    int32_t sum[8]; // of each row's q
};

// 32 columns of C for one block of depth: word k holds the bytes of depth 4k..4k+3 of each column.
struct alignas(64) BytePanel {
    uint32_t u[BYTE_DEPTH/4][BYTE_COLS];
    float d[BYTE_COLS];
};

struct ByteTile {
    // m <= 6 rows of x, depth a multiple of 32.
    void (*pack_a)(const float * x, ptrdiff_t ld, int m, int depth, ByteBlock * out);
    // n <= 32 rows of W from row `row` on, its columns [col, col+depth); the other columns of C are zero.
    void (*pack_b)(const Weight & w, int row, int n, int col, int depth, BytePanel * out);
    // c (m, n) (+)= a b over `blocks` blocks of depth.
    void (*run)(int blocks, const ByteBlock * a, const BytePanel * b, int zero, bool accumulate, int m, int n, float * c, ptrdiff_t ldc);
};

// The zero of a kind, or -1 where it has no bytes: floats, and kinds with scales of 16 or a minimum.
int byte_zero(int kind);

} // namespace lq
