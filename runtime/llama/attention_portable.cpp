// Attention in plain C++, and which one runs.
#include "attention.h"
#include "../kernels/kernels.h"
#define attend_name attend_portable
#include "attention_body.h"

INLINE vec load_half(const uint16_t * p) {
    float f[16];
    for (int i = 0; i < 16; i++) {
        const uint32_t h = p[i], sign = (h & 0x8000) << 16, rest = (h & 0x7fff) << 13;
        // Shifting a half's bits into a float's leaves the exponent 112 too small; infinity and NaN keep theirs.
        const uint32_t bits = rest >= 0x0f800000 ? rest | 0x70000000 : rest;
        memcpy(&f[i], &bits, 4);
        f[i] = rest >= 0x0f800000 ? f[i] : f[i]*0x1p112f;
        f[i] = sign ? -f[i] : f[i];
    }
    return load(f);
}

INLINE void transpose16(vec * r) {
    float from[16][16], to[16][16];
    memcpy(from, r, sizeof from);
    for (int i = 0; i < 16; i++) {
        for (int j = 0; j < 16; j++) {
            to[j][i] = from[i][j];
        }
    }
    memcpy((void *) r, to, sizeof to);
}

// By halves.
INLINE float sum16(vec v) {
    float f[16];
    store(f, v);
    for (int n = 8; n > 0; n /= 2) {
        for (int i = 0; i < n; i++) {
            f[i] += f[i + n];
        }
    }
    return f[0];
}

INLINE float max16(vec v) {
    float f[16];
    store(f, v);
    for (int n = 8; n > 0; n /= 2) {
        for (int i = 0; i < n; i++) {
            f[i] = f[i + n] > f[i] ? f[i + n] : f[i];
        }
    }
    return f[0];
}

attend_function * attend_now(void) {
#if defined(__x86_64__)
    switch (lk_isa()) {
    case LK_AVX512: return attend_avx512;
    case LK_AVX2: return attend_avx2;
    }
#endif
    return attend_portable;
}
