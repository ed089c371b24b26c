// Sixteen floats at a time, written once for every instruction set: GCC's vector types become one AVX-512
// register, two AVX2 registers or four SSE/NEON ones. Only the files of an instruction set include this.
//
// No C++ library here: those files are compiled for wider targets than the rest, and an inline function of
// the library that they instantiate could be the copy that the linker keeps for all files.
//
// LQ_VECTORS is defined by them as well, 512, 256 or 0 bits: g++ does not tell the preprocessor of a target pragma.
#pragma once
#include <stdint.h>
#include <string.h>
#if LQ_VECTORS
#include <immintrin.h>
#endif
#pragma GCC diagnostic ignored "-Wpsabi"

#define VEC_FN static inline __attribute__((always_inline)) // no vector crosses a call

namespace lq {

typedef float   vec  __attribute__((vector_size(64)));
typedef int32_t ivec __attribute__((vector_size(64)));
typedef float   vec_at  __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t ivec_at __attribute__((vector_size(64), aligned(4), may_alias));

enum { LANES = 16 };

VEC_FN vec load(const float * p) { return *(const vec_at *) p; }
VEC_FN void store(float * p, vec v) { *(vec_at *) p = v; }
VEC_FN vec splat(float x) { return vec{} + x; }

// The first n of 16 lanes, the others zero; and the first n lanes written.
VEC_FN vec load_part(const float * p, int n) {
    if (n >= LANES) {
        return load(p);
    }
    vec v = {};
    memcpy(&v, p, n*sizeof(float));
    return v;
}
VEC_FN void store_part(float * p, vec v, int n) {
    if (n >= LANES) {
        store(p, v);
    } else {
        memcpy(p, &v, n*sizeof(float));
    }
}

// Lane i of the result is lane at[i] of a table of sixteen.
VEC_FN vec look_up(vec table, ivec at) {
#if defined(__clang__) // which has no shuffle by a vector
    vec v = {};
    for (int i = 0; i < LANES; i++) {
        v[i] = table[at[i]];
    }
    return v;
#else
    return __builtin_shuffle(table, at);
#endif
}

// Sums in a fixed tree, so that a sum does not depend on the instruction set's own order.
VEC_FN float sum(vec v) {
    float a[LANES];
    memcpy(a, &v, sizeof a);
    for (int half = LANES/2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            a[i] += a[i + half];
        }
    }
    return a[0];
}
VEC_FN float biggest(vec v) {
    float a[LANES];
    memcpy(a, &v, sizeof a);
    for (int half = LANES/2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            a[i] = a[i] > a[i + half] ? a[i] : a[i + half];
        }
    }
    return a[0];
}
VEC_FN vec max(vec a, vec b) { return a > b ? a : b; }
VEC_FN vec min(vec a, vec b) { return a < b ? a : b; }

// Lanes at and above n take the value fill.
VEC_FN vec keep_first(vec v, int n, float fill) {
    const ivec lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return lane < n ? v : splat(fill);
}

// e^x with a relative error of 2e-7, clamped to [e^-87.3, e^88]. A NaN stays a NaN.
// Source: the polynomial of Cephes' expf.
VEC_FN vec exp(vec x) {
    const vec whole = splat(12582912.0f); // 1.5 * 2^23: adding it rounds to an integer in the low bits
    vec y = max(x, splat(-87.3f));
    y = min(y, splat(88.0f));
    y = x == x ? y : x;
    const vec shifted = y*1.44269504f + whole;
    const vec n = shifted - whole;
    vec f = y - n*0.693359375f;
    f = f - n*-2.12194440e-4f;
    vec p = f*1.9875691500e-4f + 1.3981999507e-3f;
    p = p*f + 8.3334519073e-3f;
    p = p*f + 4.1665795894e-2f;
    p = p*f + 1.6666665459e-1f;
    p = p*f + 5.0000001201e-1f;
    p = p*(f*f) + (f + 1.0f);
    const ivec power = ((ivec) shifted - (ivec) whole + 127) << 23;
    return p*(vec) power;
}

VEC_FN vec sigmoid(vec x) { return 1.0f/(exp(-x) + 1.0f); }

// Sixteen bytes as integers. GCC takes them apart one by one where it is not told the instruction.
#if LQ_VECTORS == 512
VEC_FN ivec load_bytes(const uint8_t * p) { return (ivec) _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *) p)); }
VEC_FN ivec load_signed(const uint8_t * p) { return (ivec) _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *) p)); }
#elif LQ_VECTORS == 256
VEC_FN ivec join(__m256i low, __m256i high) {
    ivec v;
    memcpy(&v, &low, sizeof low);
    memcpy((char *) &v + sizeof low, &high, sizeof high);
    return v;
}
VEC_FN __m128i half_of(const uint8_t * p) { return _mm_loadl_epi64((const __m128i *) p); }
VEC_FN ivec load_bytes(const uint8_t * p) { return join(_mm256_cvtepu8_epi32(half_of(p)), _mm256_cvtepu8_epi32(half_of(p + 8))); }
VEC_FN ivec load_signed(const uint8_t * p) { return join(_mm256_cvtepi8_epi32(half_of(p)), _mm256_cvtepi8_epi32(half_of(p + 8))); }
#else
VEC_FN ivec load_bytes(const uint8_t * p) {
    ivec v;
    for (int i = 0; i < LANES; i++) {
        v[i] = p[i];
    }
    return v;
}
VEC_FN ivec load_signed(const uint8_t * p) {
    ivec v;
    for (int i = 0; i < LANES; i++) {
        v[i] = (int8_t) p[i];
    }
    return v;
}
#endif

// Half precision to single; subnormals included, infinities not (a weight has none).
VEC_FN float half_to_float(uint16_t h) {
    uint32_t bits = (uint32_t) (h & 0x7fff) << 13;
    float f;
    memcpy(&f, &bits, 4);
    f *= 0x1p112f; // moves the exponent's bias
    memcpy(&bits, &f, 4);
    bits |= (uint32_t) (h & 0x8000) << 16;
    memcpy(&f, &bits, 4);
    return f;
}

} // namespace lq
