// What the AVX-512 and AMX tiles share: bfloat16 pairs, and panels of B, 32 columns wide. Included by tile files
// after they have chosen their target. step is the tile's.
#pragma once
#include "tile.h"
#include "transpose.inc.h"
#include <immintrin.h>
#include <string.h>

namespace lq {
namespace {

enum { NR = 32 };

// The units of a depth, padded to a multiple of step.
template <bool pairs, int step> inline int padded(int depth) { return ((pairs ? (depth + 1)/2 : depth) + step - 1)/step*step; }

inline __mmask16 first(int n) { return n >= 16 ? 0xffff : n > 0 ? (__mmask16) ((1u << n) - 1) : 0; }

// Two vectors of floats to 32 bfloat16: lo in the low half.
inline __m512i to_bf16(__m512 lo, __m512 hi) { return (__m512i) _mm512_cvtne2ps_pbh(hi, lo); }

// Sixteen units of a contiguous row of which `left` elements are there.
template <bool pairs> inline __m512i load_units(const float * p, int left, __m512 scale) {
    const __m512 lo = _mm512_mul_ps(_mm512_maskz_loadu_ps(first(left), p), scale);
    if (!pairs) {
        return _mm512_castps_si512(lo);
    }
    return to_bf16(lo, _mm512_mul_ps(_mm512_maskz_loadu_ps(first(left - 16), p + 16), scale));
}

// Puts the halves of lo and hi side by side: unit j is (a[j], b[j]) of two rows of 32 bfloat16 each.
inline void interleave(__m512i a, __m512i b, __m512i * units0, __m512i * units1) {
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4,
        35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    *units0 = _mm512_permutex2var_epi16(a, low, b);
    *units1 = _mm512_permutex2var_epi16(a, high, b);
}

template <bool pairs, int step> void pack_b_by_column(const float * x, ptrdiff_t ld, int depth, int n, Unit * out) {
    const int units = padded<pairs, step>(depth), per_unit = pairs ? 2 : 1;
    const __m512 one = _mm512_set1_ps(1);
    for (int half = 0; half < NR; half += 16) {
        for (int u = 0; u < units; u += 16) {
            __m512i r[16];
            for (int i = 0; i < 16; i++) {
                r[i] = half + i < n ? load_units<pairs>(x + (half + i)*ld + u*per_unit, depth - u*per_unit, one) : _mm512_setzero_si512();
            }
            transpose(r);
            const int m = units - u < 16 ? units - u : 16;
            for (int j = 0; j < m; j++) {
                _mm512_storeu_si512(out + (size_t) (u + j)*NR + half, r[j]);
            }
        }
    }
}

template <bool pairs, int step> void pack_b_by_depth(const float * x, ptrdiff_t ld, int depth, int n, Unit * out) {
    const __m512 one = _mm512_set1_ps(1);
    const int per_unit = pairs ? 2 : 1, rest = padded<pairs, step>(depth) - padded<pairs, 1>(depth);
    for (int k = 0; k < depth; k += per_unit, out += NR) {
        __m512i a = load_units<pairs>(x + k*ld, n, one), b;
        if (pairs) {
            b = k + 1 < depth ? load_units<pairs>(x + (k + 1)*ld, n, one) : _mm512_setzero_si512();
            interleave(a, b, &a, &b);
        } else {
            b = load_units<pairs>(x + k*ld + 16, n - 16, one);
        }
        _mm512_storeu_si512(out, a);
        _mm512_storeu_si512(out + 16, b);
    }
    memset(out, 0, (size_t) rest*NR*sizeof(Unit));
}

} // namespace
} // namespace lq
