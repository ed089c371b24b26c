// LoRA products with AVX-512. One pass over a module serves one to four rows. Shrink keeps four sums per row
// over interleaved columns, and expand one per output, so that a row's result does not depend on how many
// rows share the pass.
#include "internal.h"

#if defined(__x86_64__)
#if defined(__clang__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")
#include <immintrin.h>
#endif
#define INLINE inline __attribute__((always_inline))

namespace {

enum { CHAINS = 4, AHEAD = 1024 }; // AHEAD: bytes prefetched ahead; modules are too short for the hardware to warm up

INLINE __m512 load(const uint16_t * p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p)); }
INLINE __m512 load(const float * p) { return _mm512_loadu_ps(p); }
INLINE __m512 load(const uint16_t * p, __mmask16 m) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, p)); }
INLINE __m512 load(const float * p, __mmask16 m) { return _mm512_maskz_loadu_ps(m, p); }

template <typename T> INLINE void prefetch(const T * p) { _mm_prefetch((const char *) p + AHEAD, _MM_HINT_T0); }

// The activations that meet 16 stored values of A: 16/LANES columns, each repeated LANES times.
template <int LANES> INLINE __m512 spread(const float * x) {
    if (LANES == 16) {
        return _mm512_set1_ps(*x);
    }
    if (LANES == 8) {
        double pair;
        memcpy(&pair, x, 8);
        return _mm512_permutevar_ps(_mm512_castpd_ps(_mm512_set1_pd(pair)), _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
    }
    return _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(x)), _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
}

// Adds the lanes of different columns and stores LANES floats.
template <int LANES> INLINE void fold(__m512 v, float * h) {
    if (LANES == 16) {
        _mm512_storeu_ps(h, v);
        return;
    }
    const __m256 s = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    if (LANES == 8) {
        _mm256_storeu_ps(h, s);
    } else {
        _mm_storeu_ps(h, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
    }
}

template <typename T, int LANES, int ROWS> void shrink_block(const T * a, int i0, int i1, const float * const * x, float * const * h, int at) {
    enum { COLUMNS = 16/LANES, STEP = CHAINS*COLUMNS };
    __m512 sum[ROWS][CHAINS];
    for (int j = 0; j < ROWS; j++) {
        for (int c = 0; c < CHAINS; c++) {
            sum[j][c] = _mm512_setzero_ps();
        }
    }
    int i = i0;
    for (; i + STEP <= i1; i += STEP) {
#pragma GCC unroll 4
        for (int c = 0; c < CHAINS; c++) {
            const T * p = a + (size_t) (i + c*COLUMNS)*LANES;
            prefetch(p);
            const __m512 v = load(p);
#pragma GCC unroll 4
            for (int j = 0; j < ROWS; j++) {
                sum[j][c] = _mm512_fmadd_ps(v, spread<LANES>(x[j] + i + c*COLUMNS), sum[j][c]);
            }
        }
    }
    const __mmask16 mask = (__mmask16) ((1u << LANES) - 1);
    for (; i < i1; i++) {
        const __m512 v = load(a + (size_t) i*LANES, mask);
        for (int j = 0; j < ROWS; j++) {
            sum[j][0] = _mm512_fmadd_ps(v, _mm512_maskz_mov_ps(mask, _mm512_set1_ps(x[j][i])), sum[j][0]);
        }
    }
    for (int j = 0; j < ROWS; j++) {
        fold<LANES>(_mm512_add_ps(_mm512_add_ps(sum[j][0], sum[j][1]), _mm512_add_ps(sum[j][2], sum[j][3])), h[j] + at);
    }
}

template <typename T, int LANES> void shrink_lanes(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h) {
    for (int at = 0; at < m->padded; at += LANES) {
        const T * a = (const T *) m->a + (size_t) at*m->n_in;
        switch (rows) {
        case 1: shrink_block<T, LANES, 1>(a, i0, i1, x, h, at); break;
        case 2: shrink_block<T, LANES, 2>(a, i0, i1, x, h, at); break;
        case 3: shrink_block<T, LANES, 3>(a, i0, i1, x, h, at); break;
        default: shrink_block<T, LANES, 4>(a, i0, i1, x, h, at);
        }
    }
}

template <typename T> void shrink_of(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h) {
    switch (m->lanes) {
    case 4: shrink_lanes<T, 4>(m, i0, i1, rows, x, h); break;
    case 8: shrink_lanes<T, 8>(m, i0, i1, rows, x, h); break;
    default: shrink_lanes<T, 16>(m, i0, i1, rows, x, h);
    }
}

void shrink(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h) {
    (m->type == LK_LORA_F16 ? shrink_of<uint16_t> : shrink_of<float>)(m, i0, i1, rows, x, h);
}

template <typename T, int ROWS> void expand_tiles(const lk_lora * m, int t0, int t1, const float * h, float * const * y) {
    enum { VECTORS = LORA_TILE/16 };
    for (int tile = t0; tile < t1; tile++) {
        const T * b = (const T *) m->b + (size_t) tile*m->rank*LORA_TILE;
        const int out = tile*LORA_TILE, valid = m->n_out - out;
        const __mmask64 outputs = valid >= LORA_TILE ? ~0ull : (1ull << valid) - 1;
        __m512 sum[ROWS][VECTORS];
        for (int j = 0; j < ROWS; j++) {
            for (int k = 0; k < VECTORS; k++) {
                sum[j][k] = _mm512_maskz_loadu_ps((__mmask16) (outputs >> 16*k), y[j] + out + 16*k);
            }
        }
        for (int r = 0; r < m->rank; r++, b += LORA_TILE) {
            for (size_t line = 0; line < LORA_TILE*sizeof(T); line += 64) {
                prefetch((const char *) b + line);
            }
#pragma GCC unroll 4
            for (int k = 0; k < VECTORS; k++) {
                const __m512 v = load(b + 16*k);
#pragma GCC unroll 4
                for (int j = 0; j < ROWS; j++) {
                    sum[j][k] = _mm512_fmadd_ps(v, _mm512_set1_ps(h[j*LK_MAX_RANK + r]), sum[j][k]);
                }
            }
        }
        for (int j = 0; j < ROWS; j++) {
            for (int k = 0; k < VECTORS; k++) {
                _mm512_mask_storeu_ps(y[j] + out + 16*k, (__mmask16) (outputs >> 16*k), sum[j][k]);
            }
        }
    }
}

template <typename T> void expand_of(const lk_lora * m, int t0, int t1, int rows, const float * h, float * const * y) {
    switch (rows) {
    case 1: expand_tiles<T, 1>(m, t0, t1, h, y); break;
    case 2: expand_tiles<T, 2>(m, t0, t1, h, y); break;
    case 3: expand_tiles<T, 3>(m, t0, t1, h, y); break;
    default: expand_tiles<T, 4>(m, t0, t1, h, y);
    }
}

void expand(const lk_lora * m, int t0, int t1, int rows, const float * h, float * const * y) {
    (m->type == LK_LORA_F16 ? expand_of<uint16_t> : expand_of<float>)(m, t0, t1, rows, h, y);
}

} // namespace

const lk_lora_ops lk_lora_avx512 = { shrink, expand };

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
