// LoRA products in plain C++: what runs where there is no faster path, and what the faster paths are read
// against.
#include "internal.h"

namespace {

enum { CHAINS = 4 }; // independent sums over the columns, whatever the number of rows

float load(const float * p) { return *p; }
float load(const uint16_t * p) { return f16_to_f32(*p); }

template <typename T> void shrink_of(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h) {
    const int lanes = m->lanes;
    for (int block = 0; block < m->padded; block += lanes) {
        const T * a = (const T *) m->a + (size_t) block*m->n_in;
        float sum[LORA_ROWS][CHAINS][16] = {};
        for (int i = i0; i < i1; i++) {
            float column[16];
            for (int r = 0; r < lanes; r++) {
                column[r] = load(a + (size_t) i*lanes + r);
            }
            for (int j = 0; j < rows; j++) {
                const float v = x[j][i];
                float * s = sum[j][i % CHAINS];
                for (int r = 0; r < lanes; r++) {
                    s[r] += column[r]*v;
                }
            }
        }
        for (int j = 0; j < rows; j++) {
            for (int r = 0; r < lanes; r++) {
                h[j][block + r] = (sum[j][0][r] + sum[j][1][r]) + (sum[j][2][r] + sum[j][3][r]);
            }
        }
    }
}

template <typename T> void expand_of(const lk_lora * m, int t0, int t1, int rows, const float * h, float * const * y) {
    for (int tile = t0; tile < t1; tile++) {
        const T * b = (const T *) m->b + (size_t) tile*m->rank*LORA_TILE;
        const int out = tile*LORA_TILE, valid = m->n_out - out < LORA_TILE ? m->n_out - out : LORA_TILE;
        float sum[LORA_ROWS][LORA_TILE] = {};
        for (int j = 0; j < rows; j++) {
            memcpy(sum[j], y[j] + out, valid*sizeof(float));
        }
        for (int r = 0; r < m->rank; r++, b += LORA_TILE) {
            float column[LORA_TILE];
            for (int o = 0; o < LORA_TILE; o++) {
                column[o] = load(b + o);
            }
            for (int j = 0; j < rows; j++) {
                const float v = h[j*LK_MAX_RANK + r];
                for (int o = 0; o < LORA_TILE; o++) {
                    sum[j][o] += column[o]*v;
                }
            }
        }
        for (int j = 0; j < rows; j++) {
            memcpy(y[j] + out, sum[j], valid*sizeof(float));
        }
    }
}

void shrink(const lk_lora * m, int i0, int i1, int rows, const float * const * x, float * const * h) {
    (m->type == LK_LORA_F16 ? shrink_of<uint16_t> : shrink_of<float>)(m, i0, i1, rows, x, h);
}

void expand(const lk_lora * m, int t0, int t1, int rows, const float * h, float * const * y) {
    (m->type == LK_LORA_F16 ? expand_of<uint16_t> : expand_of<float>)(m, t0, t1, rows, h, y);
}

} // namespace

const lk_lora_ops lk_lora_portable = { shrink, expand };
