// Attention with AVX-512.
#if defined(__x86_64__)
#include "attention.h"
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")
#include <immintrin.h>
#define attend_name attend_avx512
#include "attention_body.h"

INLINE vec load_half(const uint16_t * p) { return (vec) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p)); }

INLINE float sum16(vec v) { return _mm512_reduce_add_ps((__m512) v); }
INLINE float max16(vec v) { return _mm512_reduce_max_ps((__m512) v); }

// Halves are exchanged at distances 8, 4, 2 and 1.
INLINE void transpose16(vec * r) {
    for (int step = 8; step > 0; step /= 2) {
        ivec low, high; // where each lane of the two results comes from; from 16 on, the second register
        for (int i = 0; i < 16; i++) {
            low[i] = i & step ? i - step + 16 : i;
            high[i] = i & step ? i + 16 : i + step;
        }
        for (int i = 0; i < 16; i++) {
            if (!(i & step)) {
                const vec a = r[i], b = r[i + step];
                r[i] = (vec) _mm512_permutex2var_ps((__m512) a, (__m512i) low, (__m512) b);
                r[i + step] = (vec) _mm512_permutex2var_ps((__m512) a, (__m512i) high, (__m512) b);
            }
        }
    }
}
#endif
