// Integer weights, ggml's Q8_0 and Q6_K: prepared activations and the table of functions. C headers only, as in internal.h.
#pragma once
#include "internal.h"

enum { INT_CHUNK = 64 }; // the most rows that a strip is multiplied with at once

// A prepared activation row: n_in int8, then a float scale per block of 32, then two int32 per block: -LK_INT_ZERO
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
    // The same with x (rows, n_in) as floats.
    void (*strip_f32)(const lk_int * w, int strip, const char * x, size_t x_stride, int rows, char * y, size_t y_stride, int valid);
};
extern const lk_int_ops lk_int_portable, lk_int_avx2, lk_int_avx512;
