// NF4 products in plain C++: what runs where there is no faster path, and what the faster paths are read
// against. A block of a strip is decoded once for all rows of the chunk; compilers vectorize over its 16 rows.
#include "internal.h"

namespace {

// The codebook and the place of nibble k among the 8 activations it meets, by the type of the products.
const int16_t * book(int16_t) { return lk_nf4_codebook16; }
const int8_t * book(int8_t) { return lk_nf4_codebook8; }
const float * book(float) { return lk_nf4_codebook; }
int place(int16_t, int k) { return nf4_nibble_column(k); }
int place(int8_t, int k) { return nf4_nibble_place(k); }
int place(float, int k) { return nf4_nibble_column(k); }

// w (32, 16): the weights of one block, the columns in the order of the activations.
template <typename T> void decode(const uint8_t * codes, T (*w)[NF4_STRIP]) {
    for (int g = 0; g < NF4_GROUPS; g++) {
        for (int r = 0; r < NF4_STRIP; r++) {
            const uint8_t * word = codes + 64*g + 4*r;
            for (int k = 0; k < 8; k++) {
                w[8*g + place(T(), k)][r] = book(T())[word[k/2] >> 4*(k % 2) & 15];
            }
        }
    }
}

// The integer products of half a block.
template <typename T> void half(const T (*w)[NF4_STRIP], const T * x, float * sum) {
    int32_t a[NF4_STRIP] = {};
    for (int c = 0; c < NF4_BLOCK/2; c++) {
        for (int r = 0; r < NF4_STRIP; r++) {
            a[r] += (int32_t) w[c][r]*x[c];
        }
    }
    for (int r = 0; r < NF4_STRIP; r++) {
        sum[r] += (float) a[r];
    }
}

// f (16) += one block of W times one block of a row's activations.
template <typename T> void row_block(const T (*w)[NF4_STRIP], const float * absmax, const char * x, int blocks, int b, float * f) {
    const T * q = (const T *) x + b*NF4_BLOCK;
    const float dx = ((const float *) ((const T *) x + (size_t) blocks*NF4_BLOCK))[b];
    float sum[NF4_STRIP] = {};
    half(w, q, sum);
    half(w + NF4_BLOCK/2, q + NF4_BLOCK/2, sum);
    for (int r = 0; r < NF4_STRIP; r++) {
        f[r] += sum[r]*(absmax[r]*dx);
    }
}

template <> void row_block<float>(const float (*w)[NF4_STRIP], const float * absmax, const char * x, int, int b, float * f) {
    const float * v = (const float *) x + b*NF4_BLOCK;
    float sum[NF4_STRIP] = {};
    for (int c = 0; c < NF4_BLOCK; c++) {
        for (int r = 0; r < NF4_STRIP; r++) {
            sum[r] += w[c][r]*v[c];
        }
    }
    for (int r = 0; r < NF4_STRIP; r++) {
        f[r] += sum[r]*absmax[r];
    }
}

template <typename T> void strip_of(const lk_nf4 * w, int strip, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid) {
    float f[NF4_CHUNK][NF4_STRIP] = {};
    const uint8_t * stream = w->data + strip*w->strip_bytes;
    for (int b = 0; b < w->blocks; b++) {
        T block[NF4_BLOCK][NF4_STRIP];
        float absmax[NF4_STRIP];
        const uint16_t * halves = (const uint16_t *) (stream + nf4_absmax_at(b));
        decode(stream + nf4_codes_at(b), block);
        for (int r = 0; r < NF4_STRIP; r++) {
            absmax[r] = f16_to_f32(halves[r]);
        }
        for (int t = 0; t < rows; t++) {
            row_block<T>(block, absmax, xq + t*xq_stride, w->blocks, b, f[t]);
        }
    }
    for (int t = 0; t < rows; t++) {
        memcpy(y + t*y_stride, f[t], valid*sizeof(float));
    }
}

void strip(const lk_nf4 * w, int s, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid) {
    switch (w->mode) {
    case LK_NF4_I16: strip_of<int16_t>(w, s, xq, xq_stride, rows, y, y_stride, valid); break;
    case LK_NF4_I8: strip_of<int8_t>(w, s, xq, xq_stride, rows, y, y_stride, valid); break;
    default: strip_of<float>(w, s, xq, xq_stride, rows, y, y_stride, valid);
    }
}

float block_absmax(const float * x) { // of the bits, so that a NaN wins
    uint32_t most = 0;
    for (int i = 0; i < NF4_BLOCK; i++) {
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
    const size_t n = (size_t) blocks*NF4_BLOCK;
    int16_t * q16 = (int16_t *) xq;
    int8_t * q8 = (int8_t *) xq;
    float * scales = (float *) ((char *) xq + (mode == LK_NF4_I16 ? 2*n : n));
    int32_t * sums = (int32_t *) (scales + blocks);
    for (int b = b0; b < b1; b++) {
        const float * v = x + b*NF4_BLOCK;
        const float absmax = block_absmax(v), scale = nf4_activation_scale(mode, absmax);
        const float inverse = scale > 0 ? (mode == LK_NF4_I16 ? NF4_X16 : NF4_X8)/absmax : 0;
        scales[b] = scale;
        if (mode == LK_NF4_I16) {
            for (int i = 0; i < NF4_BLOCK; i++) {
                q16[b*NF4_BLOCK + i] = inverse > 0 ? (int16_t) round_even(v[i]*inverse) : 0;
            }
            continue;
        }
        int32_t sum = 0;
        for (int i = 0; i < NF4_BLOCK; i++) {
            const int k = i % 8, column = i - k + nf4_nibble_column(k);
            const int32_t q = inverse > 0 ? round_even(v[column]*inverse) : 0;
            q8[b*NF4_BLOCK + i - k + nf4_nibble_place(k)] = (int8_t) q;
            sum += q;
        }
        sums[b] = -128*sum;
    }
}

} // namespace

const lk_nf4_ops lk_nf4_portable = { quantize, strip };
