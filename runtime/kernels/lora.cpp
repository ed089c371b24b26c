// Packed LoRA modules, and how shrink and expand are cut into rows, terms, parts and tiles. The inner
// loops are in lora_portable.cpp, lora_avx2.cpp and lora_avx512.cpp.
#include "internal.h"
#include <new>

namespace {

uint16_t f32_to_f16(float f) { // to the nearest, ties to even; f is within fp16's range
    uint32_t bits;
    memcpy(&bits, &f, 4);
    const uint32_t sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) {
        return (uint16_t) (sign | 0x7e00);
    }
    if (rest < 0x38800000) { // subnormal: the sum's last bit is worth 2^-24
        float v, shift = 0.5f;
        memcpy(&v, &rest, 4);
        v += shift;
        memcpy(&bits, &v, 4);
        return (uint16_t) (sign | (bits - 0x3f000000));
    }
    const uint32_t even = rest >> 13 & 1, rounded = (rest - 0x38000000 + 0xfff + even) >> 13;
    return (uint16_t) (sign | (rounded > 0x7c00 ? 0x7c00 : rounded));
}

// The power of two that brings the largest of v into [2^14, 2^15). fp16 then neither overflows nor loses
// the bits of small weights, and since it is a power of two nothing else changes.
int f16_exponent(const float * v, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        const float a = fabsf(v[i]);
        most = a > most ? a : most;
    }
    int e = 0;
    if (most > 0 && most <= 3.4e38f) {
        frexpf(most, &e);
        e = 15 - e;
    }
    return e;
}

void store(const lk_lora * m, uint8_t * to, size_t at, float v, int exponent) {
    if (m->type == LK_LORA_F16) {
        const uint16_t h = f32_to_f16(ldexpf(v, exponent));
        memcpy(to + 2*at, &h, 2);
    } else {
        memcpy(to + 4*at, &v, 4);
    }
}

void fill(lk_lora * m, const float * a, const float * b) {
    const size_t na = (size_t) m->rank*m->n_in, nb = (size_t) m->rank*m->n_out;
    const bool half = m->type == LK_LORA_F16;
    const int ea = half ? f16_exponent(a, na) : 0, eb = half ? f16_exponent(b, nb) : 0;
    m->unit = ldexpf(1, -ea - eb);
    for (int r = 0; r < m->rank; r++) {
        const size_t block = (size_t) (r/m->lanes)*m->n_in*m->lanes + r % m->lanes;
        for (int i = 0; i < m->n_in; i++) {
            store(m, m->a, block + (size_t) i*m->lanes, a[(size_t) r*m->n_in + i], ea);
        }
    }
    for (int o = 0; o < m->n_out; o++) {
        const size_t tile = (size_t) (o/LORA_TILE)*m->rank*LORA_TILE + o % LORA_TILE;
        for (int r = 0; r < m->rank; r++) {
            store(m, m->b, tile + (size_t) r*LORA_TILE, b[(size_t) o*m->rank + r], eb);
        }
    }
}

const lk_lora_ops & ops() {
    return lora_portable;
}

bool same(const lk_row * p, const lk_row * q) { // the same modules; scales may differ
    if (p->n != q->n) {
        return false;
    }
    for (int i = 0; i < p->n && p->terms != q->terms; i++) {
        if (p->terms[i].m != q->terms[i].m) {
            return false;
        }
    }
    return true;
}

// How many rows from `row` on, at most LORA_ROWS, are computed in one pass.
int group(const lk_row * row, int left) {
    int g = 1;
    while (g < LORA_ROWS && g < left && same(row, row + g)) {
        g++;
    }
    return g;
}

// Part p of n_in columns begins here; parts are multiples of 16 columns.
int part_begin(int n_in, int p) { return p == LK_LORA_PARTS ? n_in : (int) ((long) (n_in/16)*p/LK_LORA_PARTS*16); }

// hidden (rows, LK_MAX_RANK) = scale times the sum of the parts of one term. h points at the term's first part.
void gather(const lk_lora * m, const lk_row * row, int term, int rows, const char * h, size_t h_stride, float * hidden) {
    for (int j = 0; j < rows; j++) {
        const float * parts = (const float *) (h + j*h_stride);
        const float scale = row[j].terms[term].scale*m->unit;
        float * out = hidden + j*LK_MAX_RANK;
        for (int r = 0; r < m->rank; r++) {
            float v = parts[r];
            for (int p = 1; p < LK_LORA_PARTS; p++) {
                v += parts[p*m->padded + r];
            }
            out[r] = v*scale;
        }
    }
}

} // namespace

lk_lora * lk_lora_pack(const float * a, const float * b, int rank, int n_in, int n_out, int type) {
    lk_lora * m = new (std::nothrow) lk_lora();
    if (!m) {
        return nullptr;
    }
    m->rank = rank;
    m->n_in = n_in;
    m->n_out = n_out;
    m->type = type;
    m->lanes = rank <= 4 ? 4 : rank <= 8 ? 8 : 16;
    m->padded = (rank + m->lanes - 1)/m->lanes*m->lanes;
    m->tiles = (n_out + LORA_TILE - 1)/LORA_TILE;
    const size_t size = type == LK_LORA_F16 ? 2 : 4;
    const size_t a_bytes = lk_align((size_t) m->padded*n_in*size), b_bytes = (size_t) m->tiles*rank*LORA_TILE*size;
    m->bytes = a_bytes + b_bytes;
    m->a = (uint8_t *) lk_alloc(m->bytes);
    if (!m->a) {
        delete m;
        return nullptr;
    }
    m->b = m->a + a_bytes;
    fill(m, a, b);
    return m;
}

void lk_lora_free(lk_lora * m) {
    if (m) {
        lk_dealloc(m->a);
        delete m;
    }
}

size_t lk_lora_bytes(const lk_lora * m) { return m->bytes; }

int lk_lora_padded(const lk_lora * m) { return m->padded; }

void lk_lora_shrink(const lk_row * row, int rows, const float * x, size_t x_stride, int n_in, float * h, size_t h_stride, int ith, int nth) {
    const lk_lora_ops & run = ops();
    long item = 0;
    for (int t = 0, g; t < rows; t += g) {
        g = group(row + t, rows - t);
        size_t at = 0;
        for (int k = 0; k < row[t].n; k++) {
            const lk_lora * m = row[t].terms[k].m;
            for (int p = 0; p < LK_LORA_PARTS; p++, item++, at += m->padded) {
                if (item % nth != ith) {
                    continue;
                }
                const float * xs[LORA_ROWS];
                float * hs[LORA_ROWS];
                for (int j = 0; j < g; j++) {
                    xs[j] = (const float *) ((const char *) x + (t + j)*x_stride);
                    hs[j] = (float *) ((char *) h + (t + j)*h_stride) + at;
                }
                run.shrink(m, part_begin(n_in, p), part_begin(n_in, p + 1), g, xs, hs);
            }
        }
    }
}

void lk_lora_expand(const lk_row * row, int rows, const float * h, size_t h_stride, float * y, size_t y_stride, int n_out, int ith, int nth) {
    const lk_lora_ops & run = ops();
    const int tiles = (n_out + LORA_TILE - 1)/LORA_TILE;
    const int t0 = (int) ((long) tiles*ith/nth), t1 = (int) ((long) tiles*(ith + 1)/nth);
    float hidden[LORA_ROWS*LK_MAX_RANK];
    for (int t = 0, g; t0 < t1 && t < rows; t += g) {
        g = group(row + t, rows - t);
        float * ys[LORA_ROWS];
        for (int j = 0; j < g; j++) {
            ys[j] = (float *) ((char *) y + (t + j)*y_stride);
        }
        const char * hs = (const char *) h + t*h_stride;
        for (int k = 0; k < row[t].n; k++) {
            const lk_lora * m = row[t].terms[k].m;
            gather(m, row + t, k, g, hs, h_stride, hidden);
            run.expand(m, t0, t1, g, hidden, ys);
            hs += sizeof(float)*LK_LORA_PARTS*m->padded;
        }
    }
}
