// The AVX2 tile, 6 x 16 floats: twelve of the sixteen registers hold C, two a row of B's panel.
#if defined(__x86_64__)
#pragma GCC target("arch=x86-64-v3")
#include "tiles.h"
#include <immintrin.h>

namespace lq {
namespace {
enum { MR = 6, NR = 16 };
}
} // namespace lq
#include "pack.inc.h"

namespace lq {
namespace {

void add_row(const __m256 * acc, float alpha, bool accumulate, int n, float * c) {
    float row[NR];
    _mm256_storeu_ps(row, acc[0]);
    _mm256_storeu_ps(row + 8, acc[1]);
    for (int j = 0; j < n; j++) {
        c[j] = row[j]*alpha + (accumulate ? c[j] : 0.0f);
    }
}

void run(int units1, const Unit * a1, const Unit * b1, int units2, const Unit * a2, const Unit * b2, float alpha, bool accumulate, int m,
    int n, float * c, ptrdiff_t ldc) {
    __m256 acc[MR][2];
#pragma GCC unroll 6
    for (int i = 0; i < MR; i++) {
        acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    }
    for (int part = 0; part < 2; part++) {
        const float * a = (const float *) (part ? a2 : a1), * b = (const float *) (part ? b2 : b1);
        for (int k = part ? units2 : units1; k > 0; k--, a += MR, b += NR) {
            const __m256 b0 = _mm256_loadu_ps(b), b1v = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 6
            for (int i = 0; i < MR; i++) {
                const __m256 av = _mm256_broadcast_ss(a + i);
                acc[i][0] = _mm256_fmadd_ps(av, b0, acc[i][0]);
                acc[i][1] = _mm256_fmadd_ps(av, b1v, acc[i][1]);
            }
        }
    }
    for (int i = 0; i < m; i++, c += ldc) {
        add_row(acc[i], alpha, accumulate, n, c);
    }
}

} // namespace

const Tile tile_avx2 = {MR, NR, false, 1, pack_a_by_row, pack_a_by_depth, pack_b_by_column, pack_b_by_depth, run};

} // namespace lq
#endif
