// LoRA products in plain C++: what runs where there is no faster path, and what the faster paths are read
// against. The vectors are the compilers' own (GCC and Clang), which they lower to whatever the CPU has.
#include "internal.h"

namespace {

enum { CHAINS = 4 }; // independent sums over the columns, whatever the number of rows

typedef float    floats __attribute__((vector_size(16)));
typedef uint32_t words  __attribute__((vector_size(16)));
typedef uint16_t halves __attribute__((vector_size(8)));

inline floats load(const float * p) {
    floats v;
    memcpy(&v, p, sizeof v);
    return v;
}

inline floats load(const uint16_t * p) { // lk_half_to_float of four values
    halves h;
    memcpy(&h, p, sizeof h);
    const words w = __builtin_convertvector(h, words), rest = (w & 0x7fff) << 13;
    const floats moved = (floats) rest*0x1p112f;
    return (floats) ((words) moved | (w & 0x8000) << 16 | ((words) (rest >= 0x0f800000) & 0x7f800000));
}

template <typename T, int LANES> void shrink_lanes(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h) {
    enum { VECTORS = LANES/4 };
    for (int at = 0; at < m->padded; at += LANES) {
        const T * a = (const T *) m->a + (size_t) at*m->n_in;
        floats sum[LORA_ROWS][CHAINS][VECTORS] = {};
        for (int i = i0; i < i1; i++) {
            for (int k = 0; k < VECTORS; k++) {
                const floats v = load(a + (size_t) i*LANES + 4*k);
                for (int j = 0; j < rows; j++) {
                    sum[j][i % CHAINS][k] += v*x[j][i];
                }
            }
        }
        for (int j = 0; j < rows; j++) {
            for (int k = 0; k < VECTORS; k++) {
                const floats s = (sum[j][0][k] + sum[j][1][k]) + (sum[j][2][k] + sum[j][3][k]);
                memcpy(h[j] + at + 4*k, &s, sizeof s);
            }
        }
    }
}

template <typename T> void shrink_of(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h) {
    switch (m->lanes) {
    case 4: shrink_lanes<T, 4>(m, i0, i1, rows, x, h); break;
    case 8: shrink_lanes<T, 8>(m, i0, i1, rows, x, h); break;
    default: shrink_lanes<T, 16>(m, i0, i1, rows, x, h);
    }
}

void shrink(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h, const uint8_t *) {
    (m->type == LK_LORA_F16 ? shrink_of<uint16_t> : shrink_of<float>)(m, i0, i1, rows, x, h);
}

template <typename T> void expand_of(const lk_lora * m, int t0, int t1, int rows, const float * h, float * const * y) {
    enum { VECTORS = LORA_TILE/4 };
    for (int tile = t0; tile < t1; tile++) {
        const T * b = (const T *) m->b + (size_t) tile*m->rank*LORA_TILE;
        const int out = tile*LORA_TILE, valid = m->n_out - out < LORA_TILE ? m->n_out - out : (int) LORA_TILE;
        floats sum[LORA_ROWS][VECTORS] = {};
        for (int j = 0; j < rows; j++) {
            memcpy(sum[j], y[j] + out, valid*sizeof(float));
        }
        for (int r = 0; r < m->rank; r++, b += LORA_TILE) {
            for (int k = 0; k < VECTORS; k++) {
                const floats v = load(b + 4*k);
                for (int j = 0; j < rows; j++) {
                    sum[j][k] += v*h[j*LK_MAX_RANK + r];
                }
            }
        }
        for (int j = 0; j < rows; j++) {
            memcpy(y[j] + out, sum[j], valid*sizeof(float));
        }
    }
}

void expand(const lk_lora * m, int t0, int t1, int rows, const float * h, float * const * y, const uint8_t *) {
    (m->type == LK_LORA_F16 ? expand_of<uint16_t> : expand_of<float>)(m, t0, t1, rows, h, y);
}

} // namespace

const lk_lora_ops lk_lora_portable = { shrink, expand };
