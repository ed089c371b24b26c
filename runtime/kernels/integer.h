// Integer weights: ggml's Q8_0 and Q6_K, in strips. Internal to the kernels; C headers only, as in internal.h.
#pragma once
#include "internal.h"

// A strip is 16 rows of W. Four columns of a strip are one register: a 32-bit word per row, a column per byte.
//
// Q8_0, per pair of blocks of 32 columns: the scales (2 blocks, 16 rows) in fp16, 64 bytes, then 8 registers of
// each block, the weights plus 128. An odd last block stands alone, its scales padded to 64 bytes.
//
// Q6_K, per 256 columns: d (16 rows) in fp16, padded to 64 bytes; the int8 scales (16 groups of 16 columns, 16
// rows); then 3 registers per group, for its registers 0 1 2 3 of weights plus 32: two of low nibbles (0 in the
// low half of each byte and 1 in the high one, then 2 and 3), and one of the upper two bits, register k at bits
// 2k and 2k+1.
enum { INT_STRIP = 16, INT_BLOCK = 32, INT_CHUNK = 64, INT_ZERO = 128 };
enum { Q8_CODES = 512, Q8_PAIR = 64 + 2*Q8_CODES, Q6_GROUP = 192, Q6_SUPER = 64 + 256 + 16*Q6_GROUP, Q6_ZERO = 32 };

struct lk_int {
    int n_in, n_out, format;
    int blocks; // n_in/32
    int strips; // n_out/16, rounded up; the rows past n_out are zero
    size_t strip_bytes, bytes;
    uint8_t * data;
};

// Where block b of a strip has its scales and codes.
static inline size_t q8_scales_at(int b) { return (size_t) (b/2)*Q8_PAIR + b % 2*(INT_STRIP*2); }
static inline size_t q8_codes_at(int b) { return (size_t) (b/2)*Q8_PAIR + 64 + b % 2*Q8_CODES; }
static inline size_t q6_d_at(int b) { return (size_t) (b/8)*Q6_SUPER; }
static inline size_t q6_scales_at(int b) { return q6_d_at(b) + 64 + b % 8*32; } // of its two groups, 16 bytes each
static inline size_t q6_codes_at(int b) { return q6_d_at(b) + 64 + 256 + b % 8*2*Q6_GROUP; }

// A prepared activation row: n_in int8, then a float scale per block of 32, then two int32 per block: -INT_ZERO
// times the sum of each half. They take back what makes the weights unsigned for AVX-512.
static inline float int_activation_scale(float absmax) { // also right for NaN
    if (absmax < NF4_TINY) {
        return 0;
    }
    return absmax <= 3.4e38f ? absmax/127 : absmax - absmax; // NaN
}

struct lk_int_ops {
    // Blocks [b0, b1) of one row: x (n_in) to a prepared row of `blocks` blocks.
    void (*quantize)(int blocks, const float * x, void * xq, int b0, int b1);
    // y (rows, 16) = xq W^T for one strip, rows at most INT_CHUNK; only the first `valid` outputs are written.
    void (*strip)(const lk_int * w, int strip, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid);
};
extern const lk_int_ops lk_int_portable, lk_int_avx2, lk_int_avx512;
