// The AVX-512 tiles, 12 x 32: 24 of the 32 registers hold C, two a row of B's panel. One multiplies floats,
// the other bfloat16 pairs (vdpbf16ps sums two products into each float).
#if defined(__x86_64__)
#pragma GCC target("arch=x86-64-v4,avx512bf16")
#include "pack_avx512.inc.h"
#include "tiles.h"

namespace lq {
namespace {

enum { MR = 12 };

template <bool pairs> void pack_a_by_row(const float * x, ptrdiff_t ld, int m, int depth, float scale, Unit * out) {
    const int units = pairs ? (depth + 1)/2 : depth, per_unit = pairs ? 2 : 1;
    const __m512 s = _mm512_set1_ps(scale);
    for (int u = 0; u < units; u += 16) {
        __m512i r[16];
        for (int i = 0; i < 16; i++) {
            r[i] = i < m ? load_units<pairs>(x + i*ld + u*per_unit, depth - u*per_unit, s) : _mm512_setzero_si512();
        }
        transpose(r);
        const int n = units - u < 16 ? units - u : 16;
        for (int j = 0; j < n; j++) {
            _mm512_mask_storeu_epi32(out + (size_t) (u + j)*MR, first(MR), r[j]);
        }
    }
}

template <bool pairs> void pack_a_by_depth(const float * x, ptrdiff_t ld, int m, int depth, float scale, Unit * out) {
    const __m512 s = _mm512_set1_ps(scale);
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
        19, 3, 18, 2, 17, 1, 16, 0);
    for (int k = 0; k < depth; k += pairs ? 2 : 1, out += MR) {
        const __m512 a = _mm512_mul_ps(_mm512_maskz_loadu_ps(first(m), x + k*ld), s);
        if (!pairs) {
            _mm512_mask_storeu_ps(out, first(MR), a);
            continue;
        }
        const __m512 b = _mm512_mul_ps(_mm512_maskz_loadu_ps(k + 1 < depth ? first(m) : 0, x + (k + 1)*ld), s);
        _mm512_mask_storeu_epi32(out, first(MR), _mm512_permutexvar_epi16(order, to_bf16(a, b)));
    }
}

template <bool pairs> inline __m512 multiply_add(__m512 c, Unit a, __m512 b) {
    const __m512i av = _mm512_set1_epi32((int) a);
    return pairs ? _mm512_dpbf16_ps(c, (__m512bh) av, (__m512bh) _mm512_castps_si512(b)) : _mm512_fmadd_ps(_mm512_castsi512_ps(av), b, c);
}

// `wide` registers of columns: panels of at most 16 columns do half the work.
template <bool pairs, int wide>
void run_wide(int units1, const Unit * a1, const Unit * b1, int units2, const Unit * a2, const Unit * b2, float alpha, bool accumulate,
    int m, int n, float * c, ptrdiff_t ldc) {
    __m512 acc[MR][wide];
#pragma GCC unroll 12
    for (int i = 0; i < MR; i++) {
        for (int v = 0; v < wide; v++) {
            acc[i][v] = _mm512_setzero_ps();
        }
    }
    for (int part = 0; part < 2; part++) {
        const Unit * a = part ? a2 : a1, * b = part ? b2 : b1;
        for (int k = part ? units2 : units1; k > 0; k--, a += MR, b += NR) {
            __m512 bv[wide];
            for (int v = 0; v < wide; v++) {
                bv[v] = _mm512_loadu_ps(b + 16*v);
                _mm_prefetch((const char *) (b + NR*8 + 16*v), _MM_HINT_T0);
            }
#pragma GCC unroll 12
            for (int i = 0; i < MR; i++) {
                for (int v = 0; v < wide; v++) {
                    acc[i][v] = multiply_add<pairs>(acc[i][v], a[i], bv[v]);
                }
            }
        }
    }
    const __m512 al = _mm512_set1_ps(alpha);
#pragma GCC unroll 12
    for (int i = 0; i < MR; i++) {
        if (i >= m) {
            break;
        }
        for (int v = 0; v < wide; v++) {
            const __mmask16 some = first(n - 16*v);
            float * p = c + i*ldc + 16*v;
            const __m512 old = accumulate ? _mm512_maskz_loadu_ps(some, p) : _mm512_setzero_ps();
            _mm512_mask_storeu_ps(p, some, _mm512_fmadd_ps(acc[i][v], al, old));
        }
    }
}

template <bool pairs>
void run(int units1, const Unit * a1, const Unit * b1, int units2, const Unit * a2, const Unit * b2, float alpha, bool accumulate, int m,
    int n, float * c, ptrdiff_t ldc) {
    if (n > 16) {
        run_wide<pairs, 2>(units1, a1, b1, units2, a2, b2, alpha, accumulate, m, n, c, ldc);
    } else {
        run_wide<pairs, 1>(units1, a1, b1, units2, a2, b2, alpha, accumulate, m, n, c, ldc);
    }
}

template <bool pairs> constexpr Tile tile() {
    return {MR, NR, pairs, 1, pack_a_by_row<pairs>, pack_a_by_depth<pairs>, pack_b_by_column<pairs, 1>, pack_b_by_depth<pairs, 1>, run<pairs>};
}

} // namespace

const Tile tile_avx512 = tile<false>(), tile_avx512_bf16 = tile<true>();

} // namespace lq
#endif
