// The largest number with AVX2. Every 64 floats meet 64 lanes, a bit of the mask each; a lane keeps its first largest
// number and which 64 it was of.
#include "internal.h"

#if defined(__x86_64__)
#if defined(__clang__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#include <immintrin.h>
#endif

namespace {

struct lanes {
    __m256 best;
    __m256i word;

    lanes() : best(_mm256_set1_ps(-INFINITY)), word(_mm256_set1_epi32(-1)) {} // one that the compiler makes has not the instructions above

    void add(int admitted, const float * x, __m256i number) { // numbers that are not admitted are not read
        const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        const __m256i wanted = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(admitted), bit), bit);
        const __m256 v = _mm256_maskload_ps(x, wanted);
        const __m256 better = _mm256_and_ps(_mm256_cmp_ps(v, best, _CMP_GT_OQ), _mm256_castsi256_ps(wanted));
        best = _mm256_blendv_ps(best, v, better);
        word = _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(word), _mm256_castsi256_ps(number), better));
    }
};

int argmax(const float * x, const uint64_t * mask, int n) {
    lanes all[8];
    for (int from = 0; from < n; from += 64) {
        uint64_t bits = mask ? mask[from/64] : ~(uint64_t) 0;
        if (n - from < 64) {
            bits &= ((uint64_t) 1 << (n - from)) - 1;
        }
        if (bits == 0) {
            continue;
        }
        const __m256i number = _mm256_set1_epi32(from/64);
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) {
            all[k].add((int) (bits >> 8*k & 255), x + from + 8*k, number);
        }
    }
    float best = -INFINITY;
    int at = -1;
    for (int k = 0; k < 8; k++) {
        float values[8];
        int32_t words[8];
        _mm256_storeu_ps(values, all[k].best);
        _mm256_storeu_si256((__m256i *) words, all[k].word);
        for (int lane = 0; lane < 8; lane++) {
            const int i = 64*words[lane] + 8*k + lane;
            if (words[lane] >= 0 && (values[lane] > best || (values[lane] == best && i < at))) {
                best = values[lane];
                at = i;
            }
        }
    }
    return at;
}

} // namespace

const lk_argmax_of lk_argmax_avx2 = argmax;
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
const lk_argmax_of lk_argmax_avx2 = nullptr;
#endif
