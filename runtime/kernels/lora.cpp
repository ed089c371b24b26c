// Packed LoRA modules, and how shrink and expand are cut into rows, terms, parts and tiles. The inner
// loops are in lora_portable.cpp, lora_avx2.cpp and lora_avx512.cpp.
#include "internal.h"
#include <initializer_list>
#include <new>

namespace {

// To the nearest fp16, ties to even, for |f| < 2^15 or NaN. Without branches, so that it vectorizes.
inline uint16_t f32_to_f16(float f) {
    uint32_t bits, sum_bits;
    memcpy(&bits, &f, 4);
    const uint32_t sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    const uint32_t normal = (rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13;
    float magnitude;
    memcpy(&magnitude, &rest, 4);
    const float sum = magnitude + 0.5f; // its last bit is worth 2^-24, as a subnormal's is
    memcpy(&sum_bits, &sum, 4);
    const uint32_t finite = rest < 0x38800000 ? sum_bits - 0x3f000000 : normal;
    return (uint16_t) (sign | (rest > 0x7f800000 ? 0x7e00 : finite));
}

// The power of two that brings the largest of v into [2^14, 2^15). fp16 then neither overflows nor loses
// the bits of small weights, and since it is a power of two nothing else changes.
int f16_exponent(const float * v, size_t n) {
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, v + i, 4);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    const int exponent = (int) (most >> 23) - 127; // of the largest
    if (exponent < -112 || exponent > 127) { // nothing to gain, or infinite: leave it
        return 0;
    }
    return 14 - exponent;
}

// Writes n values times 2^exponent from v to element `at` of a stored matrix.
void store(const lk_lora * m, uint8_t * to, size_t at, const float * v, int n, int exponent) {
    if (m->type == LK_LORA_F32) {
        memcpy(to + 4*at, v, n*sizeof(float));
        return;
    }
    const float scale = ldexpf(1, exponent);
    uint16_t * halves = (uint16_t *) to + at;
    for (int i = 0; i < n; i++) {
        halves[i] = f32_to_f16(v[i]*scale);
    }
}

void fill_a(const lk_lora * m, const float * a, int exponent) {
    enum { COLUMNS = 16 };
    for (int first = 0; first < m->rank; first += m->lanes) {
        const int ranks = m->rank - first < m->lanes ? m->rank - first : m->lanes;
        for (int i = 0; i < m->n_in; i += COLUMNS) {
            float piece[COLUMNS*16] = {};
            const int columns = m->n_in - i < COLUMNS ? m->n_in - i : COLUMNS;
            for (int r = 0; r < ranks; r++) {
                for (int c = 0; c < columns; c++) {
                    piece[c*m->lanes + r] = a[(size_t) (first + r)*m->n_in + i + c];
                }
            }
            store(m, m->a, (size_t) first*m->n_in + (size_t) i*m->lanes, piece, columns*m->lanes, exponent);
        }
    }
}

void fill_b(const lk_lora * m, const float * b, int exponent) {
    for (int out = 0; out < m->n_out; out += LORA_TILE) {
        const int outputs = m->n_out - out < LORA_TILE ? m->n_out - out : (int) LORA_TILE;
        for (int r = 0; r < m->rank; r++) {
            float piece[LORA_TILE] = {};
            for (int o = 0; o < outputs; o++) {
                piece[o] = b[(size_t) (out + o)*m->rank + r];
            }
            store(m, m->b, (size_t) out*m->rank + (size_t) r*LORA_TILE, piece, LORA_TILE, exponent);
        }
    }
}

const lk_lora_ops & ops() {
#if defined(__x86_64__)
    switch (lk_isa()) {
    case LK_AVX512: return lk_lora_avx512;
    case LK_AVX2: return lk_lora_avx2;
    }
#endif
    return lk_lora_portable;
}

size_t element_size(const lk_lora * m) { return m->type == LK_LORA_F16 ? 2 : 4; }

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

// y += scale .* (gain .* y + shift) over the outputs of tiles [t0, t1), of all terms at once.
void add_gains(const lk_row * row, int rows, int t0, int t1, char * y, size_t y_stride) {
    bool any = false;
    for (int k = 0; k < row->n; k++) {
        any |= row->terms[k].m->gain || row->terms[k].m->shift;
    }
    const int end = !any ? 0 : row->terms[0].m->n_out < t1*LORA_TILE ? row->terms[0].m->n_out : t1*LORA_TILE;
    for (int out = t0*LORA_TILE; out < end; out += LORA_TILE) {
        const int outputs = end - out < LORA_TILE ? end - out : (int) LORA_TILE;
        for (int j = 0; j < rows; j++) {
            float * to = (float *) (y + j*y_stride) + out;
            float gain[LORA_TILE] = {}, shift[LORA_TILE] = {};
            for (int k = 0; k < row[j].n; k++) {
                const lk_lora * m = row[j].terms[k].m;
                const float scale = row[j].terms[k].scale;
                for (int o = 0; m->gain && o < outputs; o++) {
                    gain[o] += scale*m->gain[out + o];
                }
                for (int o = 0; m->shift && o < outputs; o++) {
                    shift[o] += scale*m->shift[out + o];
                }
            }
            for (int o = 0; o < outputs; o++) {
                to[o] += gain[o]*to[o] + shift[o];
            }
        }
    }
}

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

// Everything but the memory; returns the bytes of A.
static size_t lay_out(lk_lora * m, int rank, int n_in, int n_out, int type) {
    m->rank = rank;
    m->n_in = n_in;
    m->n_out = n_out;
    m->type = type;
    m->lanes = rank <= 4 ? 4 : rank <= 8 ? 8 : 16;
    m->padded = (rank + m->lanes - 1)/m->lanes*m->lanes;
    m->tiles = (n_out + LORA_TILE - 1)/LORA_TILE;
    const size_t a_bytes = lk_align((size_t) m->padded*n_in*element_size(m)), b_bytes = (size_t) m->tiles*rank*LORA_TILE*element_size(m);
    m->bytes = a_bytes + b_bytes > 0 ? a_bytes + b_bytes : 64;
    return a_bytes;
}

size_t lk_lora_need(int rank, int n_in, int n_out, int type) {
    lk_lora m = {};
    lay_out(&m, rank, n_in, n_out, type);
    return lk_arena_need(m.bytes);
}

static void * allocate(const lk_lora * m, size_t bytes) { return m->arena ? lk_arena_alloc(m->arena, bytes) : lk_alloc(bytes); }

lk_lora * lk_lora_pack(lk_arena * arena, const float * a, const float * b, int rank, int n_in, int n_out, int type) {
    lk_lora * m = new (std::nothrow) lk_lora();
    if (!m) {
        return nullptr;
    }
    m->arena = arena;
    const size_t a_bytes = lay_out(m, rank, n_in, n_out, type);
    m->a = (uint8_t *) allocate(m, m->bytes);
    if (!m->a) {
        delete m;
        return nullptr;
    }
    m->b = m->a + a_bytes;
    const bool half = type == LK_LORA_F16;
    const int ea = half ? f16_exponent(a, (size_t) rank*n_in) : 0, eb = half ? f16_exponent(b, (size_t) rank*n_out) : 0;
    m->unit = ldexpf(1, -ea - eb);
    fill_a(m, a, ea);
    fill_b(m, b, eb);
    return m;
}

void lk_lora_round_f16(const float * v, size_t n, float * out) {
    const int exponent = f16_exponent(v, n);
    const float scale = ldexpf(1, exponent), back = ldexpf(1, -exponent);
    for (size_t i = 0; i < n; i++) {
        out[i] = lk_half_to_float(f32_to_f16(v[i]*scale))*back;
    }
}

// values (n_out)
static int set(const lk_lora * m, float *& to, const float * values) {
    const size_t bytes = (size_t) m->n_out*sizeof(float);
    if (!to && !(to = (float *) allocate(m, bytes))) {
        return 0;
    }
    memcpy(to, values, bytes);
    return 1;
}

int lk_lora_set_gain(lk_lora * m, const float * gain) { return set(m, m->gain, gain); }

int lk_lora_set_shift(lk_lora * m, const float * shift) { return set(m, m->shift, shift); }

void lk_lora_free(lk_lora * m) {
    if (!m) {
        return;
    }
    if (!m->arena) {
        lk_free(m->a, m->bytes);
        for (float * values : {m->gain, m->shift}) {
            if (values) {
                lk_free(values, (size_t) m->n_out*sizeof(float));
            }
        }
    }
    delete m;
}

size_t lk_lora_bytes(const lk_lora * m) { return m->bytes + ((m->gain != nullptr) + (m->shift != nullptr))*m->n_out*sizeof(float); }

int lk_lora_padded(const lk_lora * m) { return m->padded; }

void lk_lora_shrink(const lk_row * row, int rows, const float * x, size_t x_stride, int n_in, float * h, size_t h_stride, int ith, int nth) {
    const lk_lora_ops & run = ops();
    struct pass { // part p of one term of g rows from t on
        const lk_lora * m;
        int t, g, p;
        size_t at; // in a row of h
        const uint8_t * begin(int n_in) const { return m->a + (size_t) part_begin(n_in, p)*m->lanes*element_size(m); }
    } last = {};
    const auto compute = [&](const pass & k, const uint8_t * next) {
        const float * xs[LORA_ROWS];
        float * hs[LORA_ROWS];
        for (int j = 0; j < k.g; j++) {
            xs[j] = (const float *) ((const char *) x + (k.t + j)*x_stride);
            hs[j] = (float *) ((char *) h + (k.t + j)*h_stride) + k.at;
        }
        run.shrink(k.m, part_begin(n_in, k.p), part_begin(n_in, k.p + 1), k.g, xs, hs, next);
    };
    long item = 0;
    for (int t = 0, g; t < rows; t += g) {
        g = group(row + t, rows - t);
        size_t at = 0;
        for (int k = 0; k < row[t].n; k++) {
            const lk_lora * m = row[t].terms[k].m;
            for (int p = 0; p < LK_LORA_PARTS; p++, item++, at += m->padded) {
                if (item % nth != ith || m->rank == 0) {
                    continue;
                }
                const pass now = {m, t, g, p, at};
                if (last.m) {
                    compute(last, now.begin(n_in));
                }
                last = now;
            }
        }
    }
    if (last.m) {
        compute(last, last.begin(n_in)); // nothing follows
    }
}

void lk_lora_expand(const lk_row * row, int rows, const float * h, size_t h_stride, float * y, size_t y_stride, int n_out, int ith, int nth) {
    const int tiles = (n_out + LORA_TILE - 1)/LORA_TILE;
    lk_lora_expand_tiles(row, rows, h, h_stride, y, y_stride, (int) ((long) tiles*ith/nth), (int) ((long) tiles*(ith + 1)/nth), false);
}

void lk_lora_expand_tiles(const lk_row * row, int rows, const float * h, size_t h_stride, float * y, size_t y_stride, int t0, int t1, bool cached) {
    const lk_lora_ops & run = ops();
    float hidden[LORA_ROWS*LK_MAX_RANK];
    struct pass { // term k of g rows from t on
        const lk_lora * m;
        int t, g, k;
        const char * h;
        const uint8_t * begin(int tile) const { return m->b + (size_t) tile*m->rank*LORA_TILE*element_size(m); }
    } last = {};
    const auto compute = [&](const pass & k, const uint8_t * next) {
        float * ys[LORA_ROWS];
        for (int j = 0; j < k.g; j++) {
            ys[j] = (float *) ((char *) y + (k.t + j)*y_stride);
        }
        gather(k.m, row + k.t, k.k, k.g, k.h, h_stride, hidden);
        run.expand(k.m, t0, t1, k.g, hidden, ys, cached ? nullptr : next);
    };
    for (int t = 0, g; t0 < t1 && t < rows; t += g) {
        g = group(row + t, rows - t);
        const char * hs = (const char *) h + t*h_stride;
        add_gains(row + t, g, t0, t1, (char *) y + t*y_stride, y_stride);
        for (int k = 0; k < row[t].n; k++) {
            const pass now = {row[t].terms[k].m, t, g, k, hs};
            if (last.m) {
                compute(last, now.begin(t0));
            }
            last = now;
            hs += sizeof(float)*LK_LORA_PARTS*now.m->padded;
        }
    }
    if (last.m) {
        compute(last, last.begin(t0)); // nothing follows
    }
}

int lk_lora_pieces(const lk_row * row, int rows, int n_in, int ith, int nth, lk_piece * out, int capacity) {
    int n = 0;
    long item = 0; // as in lk_lora_shrink
    for (int t = 0, g; t < rows; t += g) {
        g = group(row + t, rows - t);
        for (int k = 0; k < row[t].n; k++) {
            const lk_lora * m = row[t].terms[k].m;
            const size_t size = element_size(m);
            for (int p = 0; p < LK_LORA_PARTS; p++, item++) {
                const int i0 = part_begin(n_in, p), i1 = part_begin(n_in, p + 1);
                for (int at = 0; item % nth == ith && at < m->padded && n < capacity; at += m->lanes) {
                    out[n++] = {m->a + ((size_t) at*m->n_in + (size_t) i0*m->lanes)*size, (size_t) (i1 - i0)*m->lanes*size};
                }
            }
        }
    }
    return n;
}

int lk_lora_tile_pieces(const lk_row * row, int rows, int tile, lk_piece * out, int capacity) {
    int n = 0;
    for (int t = 0; t < rows; t++) {
        for (int k = 0; k < row[t].n && n < capacity && !(t > 0 && same(row + t - 1, row + t)); k++) {
            const lk_lora * m = row[t].terms[k].m;
            const size_t bytes = (size_t) m->rank*LORA_TILE*element_size(m);
            out[n++] = {m->b + tile*bytes, bytes};
        }
    }
    return n;
}
