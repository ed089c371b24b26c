// NF4 products in plain C++: what runs where there is no faster path, and what the faster paths are read
// against. A block of a strip is decoded once for all rows of the chunk. The vectors are the compilers' own
// (GCC and Clang), which they lower to whatever the CPU has; a lane is a row of the strip.
#include "internal.h"

// Rounding below must see the product as a float: contracted into the addition that rounds it, it would give other
// integers than the other paths do.
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

namespace {

typedef float   floats  __attribute__((vector_size(4*LK_NF4_STRIP)));
typedef int32_t ints    __attribute__((vector_size(4*LK_NF4_STRIP)));
typedef int16_t shorts  __attribute__((vector_size(2*LK_NF4_STRIP)));
typedef int8_t  chars   __attribute__((vector_size(LK_NF4_STRIP)));

// What a mode multiplies with: the type of the products' factors, the codebook, and the place of nibble k among
// the 8 activations that it meets.
struct mode32 {
    typedef float factor;
    typedef floats factors;
    static const factor * book() { return lk_nf4_codebook; }
    static int place(int k) { return lk_nf4_nibble_column(k); }
};
struct mode16 {
    typedef int16_t factor;
    typedef shorts factors;
    static const factor * book() { return lk_nf4_codebook16; }
    static int place(int k) { return lk_nf4_nibble_column(k); }
};
struct mode8 {
    typedef int8_t factor;
    typedef chars factors;
    static const factor * book() { return lk_nf4_codebook8; }
    static int place(int k) { return nf4_nibble_place(k); }
};

// w (32, 16): the weights of one block, the columns in the order of the activations. Two nibbles a lookup.
template <typename M> void decode(const uint8_t * codes, const typename M::factor (*pairs)[2], typename M::factor (*w)[LK_NF4_STRIP]) {
    for (int g = 0; g < LK_NF4_GROUPS; g++) {
        for (int r = 0; r < LK_NF4_STRIP; r++) {
            const uint8_t * word = codes + 64*g + 4*r;
#pragma GCC unroll 4
            for (int k = 0; k < 8; k += 2) {
                const typename M::factor * pair = pairs[word[k/2]];
                w[8*g + M::place(k)][r] = pair[0];
                w[8*g + M::place(k + 1)][r] = pair[1];
            }
        }
    }
}

// The integer products of half a block; sixteen of them are what an int32 holds in I16.
template <typename M> inline void half(const typename M::factors * w, const typename M::factor * x, floats * sum) {
    ints a = {};
    for (int c = 0; c < LK_NF4_BLOCK/2; c++) {
        a += __builtin_convertvector(w[c], ints)*(int32_t) x[c];
    }
    *sum += __builtin_convertvector(a, floats);
}

// f += one block of W times one block of a row's activations.
template <typename M> inline void row_block(const typename M::factors * w, const floats * scales, const char * x, int blocks, int b, floats * f) {
    const typename M::factor * q = (const typename M::factor *) x;
    const float dx = ((const float *) (q + (size_t) blocks*LK_NF4_BLOCK))[b];
    q += b*LK_NF4_BLOCK;
    floats sum = {};
    half<M>(w, q, &sum);
    half<M>(w + LK_NF4_BLOCK/2, q + LK_NF4_BLOCK/2, &sum);
    *f += sum*(*scales*dx);
}

template <> inline void row_block<mode32>(const floats * w, const floats * scales, const char * x, int, int b, floats * f) {
    const float * v = (const float *) x + b*LK_NF4_BLOCK;
    floats even = {}, odd = {};
    for (int c = 0; c < LK_NF4_BLOCK; c += 2) {
        even += w[c]*v[c];
        odd += w[c + 1]*v[c + 1];
    }
    *f += (even + odd)**scales;
}

template <typename M> void strip_of(const lk_nf4 * w, int strip, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid, lk_ahead * ahead) {
    floats f[NF4_CHUNK];
    memset(f, 0, rows*sizeof(floats));
    const uint8_t * stream = w->data + strip*w->strip_bytes;
    typename M::factor pairs[256][2];
    for (int i = 0; i < 256; i++) {
        pairs[i][0] = M::book()[i & 15];
        pairs[i][1] = M::book()[i >> 4];
    }
    for (int b = 0; b < w->blocks; b++) {
        lk_prefetch(ahead);
        typename M::factors block[LK_NF4_BLOCK];
        decode<M>(stream + lk_nf4_codes_at(w->kind, b), pairs, (typename M::factor (*)[LK_NF4_STRIP]) block);
        floats scales;
        for (int r = 0; r < LK_NF4_STRIP; r++) {
            scales[r] = lk_nf4_scale(w, strip*LK_NF4_STRIP + r, b);
        }
        for (int t = 0; t < rows; t++) {
            row_block<M>(block, &scales, xq + t*xq_stride, w->blocks, b, f + t);
        }
    }
    for (int t = 0; t < rows; t++) {
        memcpy(y + t*y_stride, f + t, valid*sizeof(float));
    }
}

void strip(const lk_nf4 * w, int mode, int s, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid, lk_ahead * ahead) {
    switch (mode) {
    case LK_NF4_I16: strip_of<mode16>(w, s, xq, xq_stride, rows, y, y_stride, valid, ahead); break;
    case LK_NF4_I8: strip_of<mode8>(w, s, xq, xq_stride, rows, y, y_stride, valid, ahead); break;
    default: strip_of<mode32>(w, s, xq, xq_stride, rows, y, y_stride, valid, ahead);
    }
}

float block_absmax(const float * x) { // of the bits, so that a NaN wins
    uint32_t most = 0;
    for (int i = 0; i < LK_NF4_BLOCK; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float f;
    memcpy(&f, &most, 4);
    return f;
}

// Rounds to the nearest integer, ties to even, for |v| < 2^22.
int32_t round_even(float v) {
    v += 12582912.0f; // 1.5 * 2^23: the integer stands in the low bits
    int32_t bits;
    memcpy(&bits, &v, 4);
    return bits - 0x4b400000;
}

void quantize(int mode, int blocks, const float * x, void * xq, int b0, int b1) {
    const size_t n = (size_t) blocks*LK_NF4_BLOCK;
    int16_t * q16 = (int16_t *) xq;
    int8_t * q8 = (int8_t *) xq;
    float * scales = (float *) ((char *) xq + (mode == LK_NF4_I16 ? 2*n : n));
    int32_t * sums = (int32_t *) (scales + blocks);
    for (int b = b0; b < b1; b++) {
        const float * v = x + b*LK_NF4_BLOCK;
        const float absmax = block_absmax(v), scale = nf4_activation_scale(mode, absmax);
        const float inverse = scale > 0 ? (mode == LK_NF4_I16 ? NF4_X16 : NF4_X8)/absmax : 0;
        scales[b] = scale;
        if (mode == LK_NF4_I16) {
            for (int i = 0; i < LK_NF4_BLOCK; i++) {
                q16[b*LK_NF4_BLOCK + i] = inverse > 0 ? (int16_t) round_even(v[i]*inverse) : 0;
            }
            continue;
        }
        int32_t sum = 0;
        for (int i = 0; i < LK_NF4_BLOCK; i++) {
            const int k = i % 8, column = i - k + lk_nf4_nibble_column(k);
            const int32_t q = inverse > 0 ? round_even(v[column]*inverse) : 0;
            q8[b*LK_NF4_BLOCK + i - k + nf4_nibble_place(k)] = (int8_t) q;
            sum += q;
        }
        sums[b] = -128*sum;
    }
}

} // namespace

const lk_nf4_ops lk_nf4_portable = { quantize, strip };
