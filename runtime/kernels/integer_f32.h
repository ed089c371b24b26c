// Products of integer weights with activations as floats. Each instruction set's file includes this after it has chosen its
// target, for which the compiler splits the vectors. A lane is a row of the strip. Half a block of 16 columns is decoded once
// for all rows of the chunk; all rows take the same steps in the same order, whatever their number.
#pragma once
#include "integer.h"

namespace {

typedef float   f32_lanes __attribute__((vector_size(4*LK_INT_STRIP)));
typedef int32_t i32_lanes __attribute__((vector_size(4*LK_INT_STRIP)));

enum { F32_COLUMNS = 16 }; // decoded at a time: they have the same scale

#define INLINE_F32 inline __attribute__((always_inline))

INLINE_F32 void load_words(const uint8_t * p, i32_lanes * v) { memcpy(v, p, sizeof *v); }

// w (16) = the codes of columns [16*half, 16*half+16) of block b, and their scales.
INLINE_F32 void decode_q8(const uint8_t * strip, int b, int half, f32_lanes * w, f32_lanes * scale) {
    const uint8_t * codes = strip + lk_q8_codes_at(b) + 64*4*half, * halves = strip + lk_q8_scales_at(b);
    for (int g = 0; g < 4; g++) {
        i32_lanes word;
        load_words(codes + 64*g, &word);
        for (int k = 0; k < 4; k++) {
            w[4*g + k] = __builtin_convertvector((word >> 8*k & 255) - (int32_t) LK_INT_ZERO, f32_lanes);
        }
    }
    for (int r = 0; r < LK_INT_STRIP; r++) {
        uint16_t bits;
        memcpy(&bits, halves + 2*r, 2);
        (*scale)[r] = lk_half_to_float(bits);
    }
}

INLINE_F32 void decode_q6(const uint8_t * strip, int b, int half, f32_lanes * w, f32_lanes * scale) {
    const uint8_t * codes = strip + lk_q6_codes_at(b) + half*LK_Q6_GROUP, * halves = strip + lk_q6_d_at(b);
    const int8_t * scales = (const int8_t *) strip + lk_q6_scales_at(b) + 16*half;
    i32_lanes low[2], high;
    load_words(codes, low);
    load_words(codes + 64, low + 1);
    load_words(codes + 128, &high);
    for (int g = 0; g < 4; g++) {
        for (int k = 0; k < 4; k++) {
            w[4*g + k] = __builtin_convertvector(((low[g/2] >> (8*k + g % 2*4) & 15) | (high >> (8*k + 2*g) & 3) << 4) - (int32_t) LK_Q6_ZERO, f32_lanes);
        }
    }
    for (int r = 0; r < LK_INT_STRIP; r++) {
        uint16_t bits;
        memcpy(&bits, halves + 2*r, 2);
        (*scale)[r] = lk_half_to_float(bits)*(float) scales[r];
    }
}

template <int FORMAT> void strip_f32_of(const lk_int * w, int s, const char * x, size_t x_stride, int rows, char * y, size_t y_stride, int valid) {
    const uint8_t * strip = w->data + s*w->strip_bytes;
    f32_lanes f[INT_CHUNK], columns[F32_COLUMNS];
    memset(f, 0, (size_t) rows*sizeof f[0]);
    for (int b = 0; b < w->blocks; b++) {
        for (int half = 0; half < LK_INT_BLOCK/F32_COLUMNS; half++) {
            f32_lanes scale;
            FORMAT == LK_Q6_K ? decode_q6(strip, b, half, columns, &scale) : decode_q8(strip, b, half, columns, &scale);
            for (int t = 0; t < rows; t++) {
                const float * v = (const float *) (x + t*x_stride) + b*LK_INT_BLOCK + half*F32_COLUMNS;
                f32_lanes even = columns[0]*v[0], odd = columns[1]*v[1];
                for (int c = 2; c < F32_COLUMNS; c += 2) {
                    even += columns[c]*v[c];
                    odd += columns[c + 1]*v[c + 1];
                }
                f[t] += (even + odd)*scale;
            }
        }
    }
    for (int t = 0; t < rows; t++) {
        memcpy(y + t*y_stride, f + t, (size_t) valid*sizeof(float));
    }
}

void strip_f32(const lk_int * w, int s, const char * x, size_t x_stride, int rows, char * y, size_t y_stride, int valid) {
    (w->format == LK_Q6_K ? strip_f32_of<LK_Q6_K> : strip_f32_of<LK_Q8_0>)(w, s, x, x_stride, rows, y, y_stride, valid);
}

} // namespace
