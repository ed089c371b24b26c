// The largest number with AVX-512. Every 64 floats meet 64 lanes, a bit of the mask each; a lane keeps its first largest
// number and which 64 it was of.
#include "internal.h"

#if defined(__x86_64__)
#if defined(__clang__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#include <immintrin.h>
#endif

namespace {

struct lanes {
    __m512 best;
    __m512i word;

    lanes() : best(_mm512_set1_ps(-INFINITY)), word(_mm512_set1_epi32(-1)) {} // one that the compiler makes has not the instructions above

    void add(__mmask16 admitted, const float * x, __m512i number) { // numbers that are not admitted are not read
        const __m512 v = _mm512_maskz_loadu_ps(admitted, x);
        const __mmask16 better = _mm512_mask_cmp_ps_mask(admitted, v, best, _CMP_GT_OQ);
        best = _mm512_mask_mov_ps(best, better, v);
        word = _mm512_mask_mov_epi32(word, better, number);
    }
};

int argmax(const float * x, const uint64_t * mask, int n) {
    lanes all[4];
    for (int from = 0; from < n; from += 64) {
        uint64_t bits = mask ? mask[from/64] : ~(uint64_t) 0;
        if (n - from < 64) {
            bits &= ((uint64_t) 1 << (n - from)) - 1;
        }
        if (bits == 0) {
            continue;
        }
        const __m512i number = _mm512_set1_epi32(from/64);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            all[k].add((__mmask16) (bits >> 16*k), x + from + 16*k, number);
        }
    }
    float best = -INFINITY;
    int at = -1;
    for (int k = 0; k < 4; k++) {
        float values[16];
        int32_t words[16];
        _mm512_storeu_ps(values, all[k].best);
        _mm512_storeu_si512(words, all[k].word);
        for (int lane = 0; lane < 16; lane++) {
            const int i = 64*words[lane] + 16*k + lane;
            if (words[lane] >= 0 && (values[lane] > best || (values[lane] == best && i < at))) {
                best = values[lane];
                at = i;
            }
        }
    }
    return at;
}

} // namespace

const lk_argmax_of lk_argmax_avx512 = argmax;
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
const lk_argmax_of lk_argmax_avx512 = nullptr;
#endif
