// Integer products with AVX2. A block of a strip is decoded to signed bytes that stay in the first-level cache
// while the rows of the chunk pass. Products of bytes need one unsigned factor: the weight's magnitude, its sign
// given to the activation. Pairs of products are at most 2*128*127, which int16 holds. All rows take the same
// steps in the same order, whatever their number.
#include "integer.h"

#if defined(__x86_64__)
#if defined(__clang__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#include <immintrin.h>
#endif
#define INLINE inline __attribute__((always_inline))

#include "integer_f32.h"

namespace {

enum { AHEAD = 2048 }; // bytes prefetched ahead

INLINE __m256i broadcast4(const char * p) {
    int32_t v;
    memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
}

INLINE __m256i bytes_at(const uint8_t * p) { return _mm256_load_si256((const __m256i *) p); }

// A block of 32 columns: register 2*g + h holds four columns of rows 8*h to 8*h+7.
struct block {
    __m256i w[16];
    __m256 scale[2][2]; // of each half of the columns, for each half of the rows

    INLINE void load_q8(const uint8_t * strip, int b) {
        const uint8_t * codes = strip + lk_q8_codes_at(b);
        const __m256i zero = _mm256_set1_epi8((char) LK_INT_ZERO);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            w[i] = _mm256_xor_si256(bytes_at(codes + 32*i), zero);
        }
        for (int h = 0; h < 2; h++) {
            scale[0][h] = scale[1][h] = _mm256_cvtph_ps(_mm_load_si128((const __m128i *) (strip + lk_q8_scales_at(b)) + h));
        }
    }

    INLINE void load_q6(const uint8_t * strip, int b) {
        const __m256i low = _mm256_set1_epi8(15), high = _mm256_set1_epi8(0x30), zero = _mm256_set1_epi8(LK_Q6_ZERO);
        const uint8_t * codes = strip + lk_q6_codes_at(b), * scales = strip + lk_q6_scales_at(b);
        for (int g = 0; g < 2; g++, codes += LK_Q6_GROUP) {
            for (int h = 0; h < 2; h++) {
                const __m256i a = bytes_at(codes + 32*h), c = bytes_at(codes + 64 + 32*h), u = bytes_at(codes + 128 + 32*h);
                const __m256i upper[4] = { _mm256_slli_epi16(u, 4), _mm256_slli_epi16(u, 2), u, _mm256_srli_epi16(u, 2) };
                const __m256i lower[4] = { a, _mm256_srli_epi16(a, 4), c, _mm256_srli_epi16(c, 4) };
                for (int k = 0; k < 4; k++) {
                    const __m256i q = _mm256_or_si256(_mm256_and_si256(lower[k], low), _mm256_and_si256(upper[k], high));
                    w[2*(4*g + k) + h] = _mm256_sub_epi8(q, zero);
                }
                const __m256 d = _mm256_cvtph_ps(_mm_load_si128((const __m128i *) (strip + lk_q6_d_at(b)) + h));
                const __m256i s = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *) (scales + 16*g + 8*h)));
                scale[g][h] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(s));
            }
        }
    }

    // f (16) + block * activations, where x is the row's prepared activations.
    INLINE void row(const char * x, int n_in, int b, __m256 * f) const {
        const __m256i ones = _mm256_set1_epi16(1);
        __m256i sum[2][2] = {};
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            const __m256i v = broadcast4(x + LK_INT_BLOCK*b + 4*g);
            for (int h = 0; h < 2; h++) {
                const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w[2*g + h]), _mm256_sign_epi8(v, w[2*g + h]));
                sum[g/4][h] = _mm256_add_epi32(sum[g/4][h], _mm256_madd_epi16(pairs, ones));
            }
        }
        const __m256 d = _mm256_set1_ps(((const float *) (x + n_in))[b]);
        for (int h = 0; h < 2; h++) {
            const __m256 first = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[0][h]), scale[0][h]);
            f[h] = _mm256_fmadd_ps(_mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[1][h]), scale[1][h], first), d, f[h]);
        }
    }
};

template <int FORMAT> void strip_of(const lk_int * w, int s, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid) {
    const uint8_t * strip = w->data + s*w->strip_bytes;
    __m256 f[INT_CHUNK][2];
    for (int t = 0; t < rows; t++) {
        f[t][0] = f[t][1] = _mm256_setzero_ps();
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
            block.row(x, w->n_in, b, f[t]);
        }
    }
    for (int t = 0; t < rows; t++) {
        memcpy(y + t*y_stride, f[t], valid*sizeof(float));
    }
}

void strip(const lk_int * w, int s, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid) {
    (w->format == LK_Q6_K ? strip_of<LK_Q6_K> : strip_of<LK_Q8_0>)(w, s, xq, xq_stride, rows, y, y_stride, valid);
}

// The largest magnitude of 32 values, from the bits, so that a NaN wins.
INLINE float block_absmax(const __m256 * v) {
    const __m256i bits = _mm256_set1_epi32(0x7fffffff);
    __m256i most = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++) {
        most = _mm256_max_epu32(most, _mm256_and_si256(_mm256_castps_si256(v[i]), bits));
    }
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

INLINE int32_t sum_of(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

void quantize(int blocks, const float * x, void * xq, int b0, int b1) {
    const size_t n = (size_t) blocks*LK_INT_BLOCK;
    char * q = (char *) xq;
    float * scales = (float *) (q + n);
    int32_t * sums = (int32_t *) (scales + blocks);
    for (int b = b0; b < b1; b++) {
        __m256 v[4];
        __m256i i[4];
        for (int k = 0; k < 4; k++) {
            v[k] = _mm256_loadu_ps(x + b*LK_INT_BLOCK + 8*k);
        }
        const float absmax = block_absmax(v), scale = int_activation_scale(absmax);
        const __m256 inverse = _mm256_set1_ps(scale > 0 ? 127/absmax : 0);
        const __m256i keep = _mm256_set1_epi32(scale > 0 ? -1 : 0);
        for (int k = 0; k < 4; k++) {
            i[k] = _mm256_and_si256(_mm256_cvtps_epi32(_mm256_mul_ps(v[k], inverse)), keep);
        }
        scales[b] = scale;
        sums[2*b] = -LK_INT_ZERO*sum_of(_mm256_add_epi32(i[0], i[1]));
        sums[2*b + 1] = -LK_INT_ZERO*sum_of(_mm256_add_epi32(i[2], i[3]));
        // packs works within 128 bits: the eighths 0 2 4 6 1 3 5 7 come out, and are put in order.
        const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(i[0], i[1]), _mm256_packs_epi32(i[2], i[3]));
        _mm256_storeu_si256((__m256i *) (q + 32*b), _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    }
}

} // namespace

const lk_int_ops lk_int_avx2 = { quantize, strip, strip_f32 };

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
