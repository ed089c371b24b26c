// Attention with AVX2.
#if defined(__x86_64__)
#include "attention.h"
#pragma GCC target("avx2,fma,f16c")
#include <immintrin.h>
#define attend_name attend_avx2
#include "attention_body.h"

INLINE vec load_half(const uint16_t * p) {
    float f[16];
    _mm256_storeu_ps(f, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) p)));
    _mm256_storeu_ps(f + 8, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) (p + 8))));
    return load(f);
}

// The two halves, then by halves again.
INLINE __m256 low_half(vec v) {
    __m256 h;
    memcpy(&h, &v, sizeof h);
    return h;
}

INLINE __m256 high_half(vec v) {
    __m256 h;
    memcpy(&h, (const char *) &v + sizeof h, sizeof h);
    return h;
}

INLINE float sum16(vec v) {
    const __m256 a = _mm256_add_ps(low_half(v), high_half(v));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
}

INLINE float max16(vec v) {
    const __m256 a = _mm256_max_ps(low_half(v), high_half(v));
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_shuffle_ps(b, b, 1)));
}

// Four 8x8 quarters; the two off the diagonal change places.
INLINE void transpose8(const float * from, float * to) {
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        const __m256 x = _mm256_loadu_ps(from + 16*i), y = _mm256_loadu_ps(from + 16*(i + 1));
        a[i] = _mm256_unpacklo_ps(x, y);
        a[i + 1] = _mm256_unpackhi_ps(x, y);
    }
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + 16*i, _mm256_permute2f128_ps(b[i], b[i + 4], 0x20));
        _mm256_storeu_ps(to + 16*(i + 4), _mm256_permute2f128_ps(b[i], b[i + 4], 0x31));
    }
}

INLINE void transpose16(vec * r) {
    float from[256], to[256];
    memcpy(from, r, sizeof from);
    transpose8(from, to);
    transpose8(from + 8, to + 128);
    transpose8(from + 128, to + 8);
    transpose8(from + 136, to + 136);
    memcpy((void *) r, to, sizeof to);
}
#endif
