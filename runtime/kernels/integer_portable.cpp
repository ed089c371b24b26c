// Integer products in plain C++: what runs where there is no faster path, and what the faster paths are read
// against. A block of a strip is decoded once for all rows of the chunk. The vectors are the compilers' own (GCC
// and Clang); a lane is a row of the strip.
#include "integer.h"

// Rounding below must see the product as a float: contracted into the addition that rounds it, it would give other
// integers than the other paths do.
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include "integer_f32.h"

namespace {

typedef float   floats __attribute__((vector_size(4*LK_INT_STRIP)));
typedef int32_t ints   __attribute__((vector_size(4*LK_INT_STRIP)));
typedef int8_t  chars  __attribute__((vector_size(LK_INT_STRIP)));

// A block of 32 columns: signed weights (32, 16) and the scales of its halves.
struct block {
    int8_t w[LK_INT_BLOCK][LK_INT_STRIP];
    float scale[2][LK_INT_STRIP];

    void load_q8(const uint8_t * strip, int b) {
        const uint8_t * codes = strip + lk_q8_codes_at(b);
        for (int c = 0; c < LK_INT_BLOCK; c++) {
            for (int r = 0; r < LK_INT_STRIP; r++) {
                w[c][r] = (int8_t) (codes[c/4*64 + 4*r + c % 4] - LK_INT_ZERO);
            }
        }
        for (int r = 0; r < LK_INT_STRIP; r++) {
            uint16_t half;
            memcpy(&half, strip + lk_q8_scales_at(b) + 2*r, 2);
            scale[0][r] = scale[1][r] = lk_half_to_float(half);
        }
    }

    void load_q6(const uint8_t * strip, int b) {
        const uint8_t * codes = strip + lk_q6_codes_at(b);
        for (int c = 0; c < LK_INT_BLOCK; c++) {
            const uint8_t * group = codes + c/16*LK_Q6_GROUP + c % 4;
            const int k = c % 16/4;
            for (int r = 0; r < LK_INT_STRIP; r++) {
                const int low = group[k/2*64 + 4*r] >> k % 2*4 & 15, high = group[128 + 4*r] >> 2*k & 3;
                w[c][r] = (int8_t) ((low | high << 4) - LK_Q6_ZERO);
            }
        }
        for (int r = 0; r < LK_INT_STRIP; r++) {
            uint16_t half;
            memcpy(&half, strip + lk_q6_d_at(b) + 2*r, 2);
            for (int g = 0; g < 2; g++) {
                scale[g][r] = lk_half_to_float(half)*(int8_t) strip[lk_q6_scales_at(b) + 16*g + r];
            }
        }
    }
};

// The products of half a block with a row's activations, times the scales.
inline void half(const int8_t (*w)[LK_INT_STRIP], const float * scale, const int8_t * x, floats * sum) {
    ints a = {};
    for (int c = 0; c < LK_INT_BLOCK/2; c++) {
        chars v;
        memcpy(&v, w[c], sizeof v);
        a += __builtin_convertvector(v, ints)*(int32_t) x[c];
    }
    floats s;
    memcpy(&s, scale, sizeof s);
    *sum += __builtin_convertvector(a, floats)*s;
}

void strip(const lk_int * w, int s, const char * xq, size_t xq_stride, int rows, char * y, size_t y_stride, int valid) {
    floats f[INT_CHUNK];
    memset(f, 0, rows*sizeof(floats));
    const uint8_t * stream = w->data + s*w->strip_bytes;
    for (int b = 0; b < w->blocks; b++) {
        block block; // NOLINT(cppcoreguidelines-pro-type-member-init): filled below
        w->format == LK_Q6_K ? block.load_q6(stream, b) : block.load_q8(stream, b);
        for (int t = 0; t < rows; t++) {
            const int8_t * q = (const int8_t *) xq + t*xq_stride;
            const float scale = ((const float *) (q + w->n_in))[b];
            floats sum = {};
            half(block.w, block.scale[0], q + b*LK_INT_BLOCK, &sum);
            half(block.w + LK_INT_BLOCK/2, block.scale[1], q + b*LK_INT_BLOCK + LK_INT_BLOCK/2, &sum);
            f[t] += sum*scale;
        }
    }
    for (int t = 0; t < rows; t++) {
        memcpy(y + t*y_stride, f + t, valid*sizeof(float));
    }
}

float block_absmax(const float * x) { // of the bits, so that a NaN wins
    uint32_t most = 0;
    for (int i = 0; i < LK_INT_BLOCK; i++) {
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

void quantize(int blocks, const float * x, void * xq, int b0, int b1) {
    const size_t n = (size_t) blocks*LK_INT_BLOCK;
    int8_t * q = (int8_t *) xq;
    float * scales = (float *) (q + n);
    int32_t * sums = (int32_t *) (scales + blocks);
    for (int b = b0; b < b1; b++) {
        const float * v = x + b*LK_INT_BLOCK;
        const float absmax = block_absmax(v), scale = int_activation_scale(absmax), inverse = scale > 0 ? 127/absmax : 0;
        int32_t sum[2] = {};
        for (int i = 0; i < LK_INT_BLOCK; i++) {
            const int32_t k = inverse > 0 ? round_even(v[i]*inverse) : 0;
            q[b*LK_INT_BLOCK + i] = (int8_t) k;
            sum[i/16] += k;
        }
        scales[b] = scale;
        sums[2*b] = -LK_INT_ZERO*sum[0];
        sums[2*b + 1] = -LK_INT_ZERO*sum[1];
    }
}

} // namespace

const lk_int_ops lk_int_portable = { quantize, strip, strip_f32 };
