// LoRA products with AVX2: like lora_avx512.cpp with half the width and half the registers, so one pass over
// a module serves one or two rows. The sums of a row do not depend on which.
#include "internal.h"

#if defined(__x86_64__)
#if defined(__clang__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#include <immintrin.h>
#endif
#define INLINE inline __attribute__((always_inline))

namespace {

enum { CHAINS = 4, AHEAD = 1024 }; // AHEAD: bytes prefetched ahead; modules are too short for the hardware to warm up

INLINE __m256 load(const uint16_t * p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) p)); }
INLINE __m256 load(const float * p) { return _mm256_loadu_ps(p); }
INLINE __m128 load4(const uint16_t * p) { return _mm_cvtph_ps(_mm_loadl_epi64((const __m128i *) p)); }
INLINE __m128 load4(const float * p) { return _mm_loadu_ps(p); }
INLINE __m256 low_half(__m128 v) { return _mm256_insertf128_ps(_mm256_setzero_ps(), v, 0); }

template <typename T> INLINE void prefetch(const T * p) { _mm_prefetch((const char *) p + AHEAD, _MM_HINT_T0); }

// The activations that meet 8 stored values of A: one column, or with four lanes two.
template <int LANES> INLINE __m256 spread(const float * x) {
    if (LANES > 4) {
        return _mm256_set1_ps(*x);
    }
    double pair;
    memcpy(&pair, x, 8);
    return _mm256_permutevar_ps(_mm256_castpd_ps(_mm256_set1_pd(pair)), _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
}

// A column on its own, where a vector of several would reach past the last one.
template <int LANES, typename T> INLINE __m256 last_column(const T * a) { return LANES > 4 ? load(a) : low_half(load4(a)); }
template <int LANES> INLINE __m256 last_value(float x) { return LANES > 4 ? _mm256_set1_ps(x) : low_half(_mm_set1_ps(x)); }

template <int LANES> INLINE void fold(__m256 v, float * h) {
    if (LANES > 4) {
        _mm256_storeu_ps(h, v);
    } else {
        _mm_storeu_ps(h, _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)));
    }
}

// Eight lanes of a block, or all four of a narrow one, for which a points at the first column.
template <typename T, int LANES, int ROWS> void shrink_lanes(const T * a, int i0, int i1, const float * const * x, float * const * h, int at) {
    enum { COLUMNS = LANES == 4 ? 2 : 1, STEP = CHAINS*COLUMNS };
    __m256 sum[ROWS][CHAINS];
    for (int j = 0; j < ROWS; j++) {
        for (int c = 0; c < CHAINS; c++) {
            sum[j][c] = _mm256_setzero_ps();
        }
    }
    int i = i0;
    for (; i + STEP <= i1; i += STEP) {
#pragma GCC unroll 4
        for (int c = 0; c < CHAINS; c++) {
            const T * p = a + (size_t) (i + c*COLUMNS)*LANES;
            prefetch(p);
            const __m256 v = load(p);
            for (int j = 0; j < ROWS; j++) {
                sum[j][c] = _mm256_fmadd_ps(v, spread<LANES>(x[j] + i + c*COLUMNS), sum[j][c]);
            }
        }
    }
    for (; i < i1; i++) {
        const __m256 v = last_column<LANES>(a + (size_t) i*LANES);
        for (int j = 0; j < ROWS; j++) {
            sum[j][0] = _mm256_fmadd_ps(v, last_value<LANES>(x[j][i]), sum[j][0]);
        }
    }
    for (int j = 0; j < ROWS; j++) {
        fold<LANES>(_mm256_add_ps(_mm256_add_ps(sum[j][0], sum[j][1]), _mm256_add_ps(sum[j][2], sum[j][3])), h[j] + at);
    }
}

template <typename T, int ROWS> void shrink_rows(const lk_lora * m, int i0, int i1, const float * const * x, float * const * h) {
    const T * a = (const T *) m->a;
    if (m->lanes == 4) {
        shrink_lanes<T, 4, ROWS>(a, i0, i1, x, h, 0);
        return;
    }
    if (m->lanes == 8) {
        shrink_lanes<T, 8, ROWS>(a, i0, i1, x, h, 0);
        return;
    }
    for (int at = 0; at < m->padded; at += 16) {
        shrink_lanes<T, 16, ROWS>(a + (size_t) at*m->n_in, i0, i1, x, h, at);
        shrink_lanes<T, 16, ROWS>(a + (size_t) at*m->n_in + 8, i0, i1, x, h, at + 8);
    }
}

template <typename T> void shrink_of(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h) {
    for (; rows >= 2; rows -= 2, x += 2, h += 2) {
        shrink_rows<T, 2>(m, i0, i1, x, h);
    }
    if (rows) {
        shrink_rows<T, 1>(m, i0, i1, x, h);
    }
}

void shrink(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h, const uint8_t *) {
    (m->type == LK_LORA_F16 ? shrink_of<uint16_t> : shrink_of<float>)(m, i0, i1, rows, x, h);
}

// Half a tile: y[j] (32) += B h[j].
template <typename T, int ROWS> INLINE void expand_half(const T * b, int rank, const float * h, float * const * y) {
    enum { VECTORS = LORA_TILE/2/8 };
    __m256 sum[ROWS][VECTORS];
    for (int j = 0; j < ROWS; j++) {
        for (int k = 0; k < VECTORS; k++) {
            sum[j][k] = _mm256_loadu_ps(y[j] + 8*k);
        }
    }
    for (int r = 0; r < rank; r++, b += LORA_TILE) {
        for (size_t line = 0; line < LORA_TILE/2*sizeof(T); line += 64) {
            prefetch((const char *) b + line);
        }
#pragma GCC unroll 4
        for (int k = 0; k < VECTORS; k++) {
            const __m256 v = load(b + 8*k);
            for (int j = 0; j < ROWS; j++) {
                sum[j][k] = _mm256_fmadd_ps(v, _mm256_set1_ps(h[j*LK_MAX_RANK + r]), sum[j][k]);
            }
        }
    }
    for (int j = 0; j < ROWS; j++) {
        for (int k = 0; k < VECTORS; k++) {
            _mm256_storeu_ps(y[j] + 8*k, sum[j][k]);
        }
    }
}

template <typename T, int ROWS> void expand_tiles(const lk_lora * m, int t0, int t1, const float * h, float * const * y) {
    for (int tile = t0; tile < t1; tile++) {
        const T * b = (const T *) m->b + (size_t) tile*m->rank*LORA_TILE;
        const int out = tile*LORA_TILE, valid = m->n_out - out;
        float edge[ROWS][LORA_TILE] = {}; // stands in for the outputs of a last tile that is not full
        float * first[ROWS], * second[ROWS];
        for (int j = 0; j < ROWS; j++) {
            first[j] = y[j] + out;
            if (valid < LORA_TILE) {
                memcpy(edge[j], y[j] + out, valid*sizeof(float));
                first[j] = edge[j];
            }
            second[j] = first[j] + LORA_TILE/2;
        }
        expand_half<T, ROWS>(b, m->rank, h, first);
        expand_half<T, ROWS>(b + LORA_TILE/2, m->rank, h, second);
        for (int j = 0; j < ROWS && valid < LORA_TILE; j++) {
            memcpy(y[j] + out, edge[j], valid*sizeof(float));
        }
    }
}

template <typename T> void expand_of(const lk_lora * m, int t0, int t1, int rows, const float * h, float * const * y) {
    for (; rows >= 2; rows -= 2, h += 2*LK_MAX_RANK, y += 2) {
        expand_tiles<T, 2>(m, t0, t1, h, y);
    }
    if (rows) {
        expand_tiles<T, 1>(m, t0, t1, h, y);
    }
}

void expand(const lk_lora * m, int t0, int t1, int rows, const float * h, float * const * y, const uint8_t *) {
    (m->type == LK_LORA_F16 ? expand_of<uint16_t> : expand_of<float>)(m, t0, t1, rows, h, y);
}

} // namespace

const lk_lora_ops lk_lora_avx2 = { shrink, expand };

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
