// Integer products with AVX-512. A lane of a register is a row of the strip. A block of 32 columns stays in
// eight registers while every row of the chunk passes; a row's activations are broadcast from memory, four
// columns at a time. All rows take the same steps in the same order, whatever their number.
#include "integer.h"

#if defined(__x86_64__)
#if defined(__clang__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#include <immintrin.h>
#endif
#define INLINE inline __attribute__((always_inline))

#include "integer_f32.h"

namespace {

enum { AHEAD = 2048 }; // bytes that a chunk prefetches ahead

INLINE __m512i broadcast4(const char * p) {
    int32_t v;
    memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
}

INLINE __m512 halves(const uint8_t * p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p)); }

// A block of 32 columns: unsigned weights, plus LK_INT_ZERO, and the scales of its halves.
struct block {
    __m512i w[8];
    __m512 scale[2];

    INLINE void load_q8(const uint8_t * strip, int b) {
        const uint8_t * codes = strip + lk_q8_codes_at(b);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            w[g] = _mm512_loadu_si512(codes + 64*g);
        }
        scale[0] = scale[1] = halves(strip + lk_q8_scales_at(b));
    }

    INLINE void load_q6(const uint8_t * strip, int b) {
        const uint8_t * codes = strip + lk_q6_codes_at(b), * scales = strip + lk_q6_scales_at(b);
        const __m512i low = _mm512_set1_epi8(15), high = _mm512_set1_epi8(0x30), zero = _mm512_set1_epi8(LK_INT_ZERO - LK_Q6_ZERO);
        const __m512 d = halves(strip + lk_q6_d_at(b));
#pragma GCC unroll 2
        for (int g = 0; g < 2; g++, codes += LK_Q6_GROUP) {
            const __m512i a = _mm512_loadu_si512(codes), c = _mm512_loadu_si512(codes + 64), h = _mm512_loadu_si512(codes + 128);
            const __m512i upper[4] = { _mm512_slli_epi16(h, 4), _mm512_slli_epi16(h, 2), h, _mm512_srli_epi16(h, 2) };
            const __m512i lower[4] = { a, _mm512_srli_epi16(a, 4), c, _mm512_srli_epi16(c, 4) };
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) {
                w[4*g + k] = _mm512_add_epi8(_mm512_or_si512(_mm512_and_si512(lower[k], low), _mm512_and_si512(upper[k], high)), zero);
            }
            scale[g] = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *) (scales + 16*g)))));
        }
    }

    // f + block * activations, where x is the row's prepared activations.
    INLINE __m512 row(const char * x, int n_in, int b, __m512 f) const {
        const char * q = x + LK_INT_BLOCK*b, * scales = x + n_in, * sums = scales + n_in/8 + 8*b;
        __m512i first = broadcast4(sums), second = broadcast4(sums + 4);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            first = _mm512_dpbusd_epi32(first, w[j], broadcast4(q + 4*j));
            second = _mm512_dpbusd_epi32(second, w[4 + j], broadcast4(q + 16 + 4*j));
        }
        const __m512 sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(second), scale[1], _mm512_mul_ps(_mm512_cvtepi32_ps(first), scale[0]));
        return _mm512_fmadd_ps(sum, _mm512_set1_ps(((const float *) scales)[b]), f);
    }
};

template <int FORMAT> void strip_of(const lk_int * w, int s, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid) {
    const uint8_t * strip = w->data + s*w->strip_bytes;
    __m512 f[INT_CHUNK];
    for (int t = 0; t < rows; t++) {
        f[t] = _mm512_setzero_ps();
    }
    for (int b = 0; b < w->blocks; b++) {
        const uint8_t * codes = strip + (FORMAT == LK_Q6_K ? lk_q6_codes_at(b) : lk_q8_codes_at(b));
        for (int line = 0; line < (FORMAT == LK_Q6_K ? 2*LK_Q6_GROUP + 32 : LK_Q8_CODES + 32); line += 64) {
            _mm_prefetch((const char *) codes + AHEAD + line, _MM_HINT_T0);
        }
        block block; // NOLINT(cppcoreguidelines-pro-type-member-init): filled below
        FORMAT == LK_Q6_K ? block.load_q6(strip, b) : block.load_q8(strip, b);
        const char * x = xq;
        for (int t = 0; t < rows; t++, x += xq_stride) {
            f[t] = block.row(x, w->n_in, b, f[t]);
        }
    }
    const __mmask16 mask = (__mmask16) ((1u << valid) - 1);
    for (int t = 0; t < rows; t++) {
        _mm512_mask_storeu_ps(y + t*y_stride, mask, f[t]);
    }
}

void strip(const lk_int * w, int s, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid) {
    (w->format == LK_Q6_K ? strip_of<LK_Q6_K> : strip_of<LK_Q8_0>)(w, s, xq, xq_stride, rows, y, y_stride, valid);
}

// The magnitude is taken from the bits, so that a NaN wins.
INLINE float block_absmax(__m512 v0, __m512 v1) {
    const __m512i bits = _mm512_set1_epi32(0x7fffffff);
    const __m512i a = _mm512_and_si512(_mm512_castps_si512(v0), bits), b = _mm512_and_si512(_mm512_castps_si512(v1), bits);
    const uint32_t most = _mm512_reduce_max_epu32(_mm512_max_epu32(a, b));
    float f;
    memcpy(&f, &most, 4);
    return f;
}

void quantize(int blocks, const float * x, void * xq, int b0, int b1) {
    const size_t n = (size_t) blocks*LK_INT_BLOCK;
    char * q = (char *) xq;
    float * scales = (float *) (q + n);
    int32_t * sums = (int32_t *) (scales + blocks);
    for (int b = b0; b < b1; b++) {
        const __m512 v[2] = { _mm512_loadu_ps(x + b*LK_INT_BLOCK), _mm512_loadu_ps(x + b*LK_INT_BLOCK + 16) };
        const float absmax = block_absmax(v[0], v[1]), scale = int_activation_scale(absmax);
        scales[b] = scale;
        const __m512 inverse = _mm512_set1_ps(scale > 0 ? 127/absmax : 0);
        const __mmask16 keep = scale > 0 ? 0xffff : 0;
        for (int h = 0; h < 2; h++) {
            const __m512i i = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(v[h], inverse));
            _mm_storeu_si128((__m128i *) (q + 32*b + 16*h), _mm512_cvtepi32_epi8(i));
            sums[2*b + h] = -LK_INT_ZERO*_mm512_reduce_add_epi32(i);
        }
    }
}

} // namespace

const lk_int_ops lk_int_avx512 = { quantize, strip, strip_f32 };

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
