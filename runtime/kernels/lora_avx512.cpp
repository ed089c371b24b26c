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

enum { CHAINS = 4 };

INLINE __m512 load(const uint16_t * p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p)); }
INLINE __m512 load(const float * p) { return _mm512_loadu_ps(p); }
INLINE __m512 load(const uint16_t * p, __mmask16 m) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, p)); }
INLINE __m512 load(const float * p, __mmask16 m) { return _mm512_maskz_loadu_ps(m, p); }

// The lines of [p, p+bytes), LORA_AHEAD on.
INLINE void prefetch(const void * p, size_t bytes, const uint8_t * end, const uint8_t * next) {
    for (size_t line = 0; line < bytes; line += 64) {
        _mm_prefetch((const char *) lora_ahead((const char *) p + line, end, next), _MM_HINT_T0);
    }
}

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

template <typename T, int LANES, int ROWS> void shrink_block(const T * a, int i0, int i1, const float * const * x, float * const * h, int at, const uint8_t * next) {
    enum { COLUMNS = 16/LANES, STEP = CHAINS*COLUMNS };
    __m512 sum[ROWS][CHAINS];
    for (int j = 0; j < ROWS; j++) {
        for (int c = 0; c < CHAINS; c++) {
            sum[j][c] = _mm512_setzero_ps();
        }
    }
    const uint8_t * end = (const uint8_t *) (a + (size_t) i1*LANES);
    int i = i0;
    for (; i + STEP <= i1; i += STEP) {
        prefetch(a + (size_t) i*LANES, STEP*LANES*sizeof(T), end, next);
#pragma GCC unroll 4
        for (int c = 0; c < CHAINS; c++) {
            const __m512 v = load(a + (size_t) (i + c*COLUMNS)*LANES);
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

template <typename T, int LANES> void shrink_lanes(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h, const uint8_t * next) {
    for (int at = 0; at < m->padded; at += LANES) {
        const T * a = (const T *) m->a + (size_t) at*m->n_in;
        const uint8_t * after = at + LANES < m->padded ? (const uint8_t *) (a + (size_t) (m->n_in + i0)*LANES) : next;
        switch (rows) {
        case 1: shrink_block<T, LANES, 1>(a, i0, i1, x, h, at, after); break;
        case 2: shrink_block<T, LANES, 2>(a, i0, i1, x, h, at, after); break;
        case 3: shrink_block<T, LANES, 3>(a, i0, i1, x, h, at, after); break;
        default: shrink_block<T, LANES, 4>(a, i0, i1, x, h, at, after);
        }
    }
}

template <typename T> void shrink_of(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h, const uint8_t * next) {
    switch (m->lanes) {
    case 4: shrink_lanes<T, 4>(m, i0, i1, rows, x, h, next); break;
    case 8: shrink_lanes<T, 8>(m, i0, i1, rows, x, h, next); break;
    default: shrink_lanes<T, 16>(m, i0, i1, rows, x, h, next);
    }
}

void shrink(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h, const uint8_t * next) {
    (m->type == LK_LORA_F16 ? shrink_of<uint16_t> : shrink_of<float>)(m, i0, i1, rows, x, h, next);
}

template <typename T, int ROWS> void expand_tiles(const lk_lora * m, int t0, int t1, const float * h, float * const * y, const uint8_t * next) {
    enum { VECTORS = LORA_TILE/16 };
    const uint8_t * end = (const uint8_t *) ((const T *) m->b + (size_t) t1*m->rank*LORA_TILE);
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
            if (next) {
                prefetch(b, LORA_TILE*sizeof(T), end, next);
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

template <typename T> void expand_of(const lk_lora * m, int t0, int t1, int rows, const float * h, float * const * y, const uint8_t * next) {
    switch (rows) {
    case 1: expand_tiles<T, 1>(m, t0, t1, h, y, next); break;
    case 2: expand_tiles<T, 2>(m, t0, t1, h, y, next); break;
    case 3: expand_tiles<T, 3>(m, t0, t1, h, y, next); break;
    default: expand_tiles<T, 4>(m, t0, t1, h, y, next);
    }
}

void expand(const lk_lora * m, int t0, int t1, int rows, const float * h, float * const * y, const uint8_t * next) {
    (m->type == LK_LORA_F16 ? expand_of<uint16_t> : expand_of<float>)(m, t0, t1, rows, h, y, next);
}

} // namespace

const lk_lora_ops lk_lora_avx512 = { shrink, expand };

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
