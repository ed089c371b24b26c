// NF4 weights: packing, and how a product is cut into strips and chunks of rows. The arithmetic of a
// strip is in nf4_portable.cpp, nf4_avx2.cpp and nf4_avx512.cpp.
#include "internal.h"
#include <new>

const float lk_nf4_codebook[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f,
};
const int16_t lk_nf4_codebook16[16] = {
    -16383, -11406, -8602, -6470, -4660, -3027, -1492, 0, 1304, 2637, 4032, 5536, 7220, 9217, 11844, 16383,
};
const int8_t lk_nf4_codebook8[16] = {
    -127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127,
};

namespace {

// What the source has for each kind: the columns of a block, and the bytes of its scale.
int block_columns(lk_nf4_kind kind) { return kind == LK_NF4_32 ? 32 : 64; }
int scale_bytes(lk_nf4_kind kind) { return kind == LK_NF4_DQ ? 1 : 2; }

size_t row_bytes(lk_nf4_kind kind, int n_in) { return (size_t) (n_in/block_columns(kind))*(scale_bytes(kind) + block_columns(kind)/2); }
int tiles_of(lk_nf4_kind kind, int n_in) { return kind == LK_NF4_DQ ? (n_in/LK_NF4_BLOCK + LK_NF4_TILE - 1)/LK_NF4_TILE : 0; }
size_t strip_of_source(lk_nf4_kind kind, int n_in) { return tiles_of(kind, n_in)*sizeof(float) + LK_NF4_STRIP*row_bytes(kind, n_in); }

bool finite_half(const uint8_t * p) { return (p[1] & 0x7c) != 0x7c; }
bool finite_float(const uint8_t * p) { return !((p[3] & 0x7f) == 0x7f && (p[2] & 0x80)); }

// The low nibbles of bytes 0, 2, 4, 6 of v, in that order, in 16 bits.
uint32_t even_nibbles(uint64_t v) { return (uint32_t) ((v & 0x000f000f000f000full)*0x0001001001001000ull >> 48); }

// One word of codes per group, from the 16 bytes of a source block.
void pack_codes(const uint8_t * source, uint8_t * to) {
    uint64_t bytes[2];
    memcpy(bytes, source, 16);
    for (int g = 0; g < LK_NF4_GROUPS; g++) {
        const uint64_t v = bytes[g % 2] >> 4*(g/2);
        const uint32_t word = even_nibbles(v) | even_nibbles(v >> 8) << 16;
        memcpy(to + 64*g, &word, 4);
    }
}

// Packs the rows of strip s; rows past `rows` stay zero.
void pack_strip(const lk_nf4 * w, int s, const uint8_t * source, int rows) {
    const lk_nf4_kind kind = w->kind;
    const int columns = block_columns(kind), scale = scale_bytes(kind);
    const size_t row = row_bytes(kind, w->n_in);
    uint8_t * strip = w->data + s*w->strip_bytes;
    memcpy(w->tile_scales + (size_t) s*w->tiles, source, w->tiles*sizeof(float));
    source += w->tiles*sizeof(float);
    for (int b = 0; b < w->blocks; b += columns/LK_NF4_BLOCK, source += scale + columns/2) {
        uint8_t * scales = strip + lk_nf4_scales_at(kind, b), * codes = strip + lk_nf4_codes_at(kind, b);
        for (int r = 0; r < rows; r++) {
            const uint8_t * from = source + r*row;
            memcpy(scales + scale*r, from, scale);
            for (int half = 0; half < columns/LK_NF4_BLOCK; half++) {
                pack_codes(from + scale + 16*half, codes + half*LK_NF4_CODES + 4*r);
            }
        }
    }
}

int min_int(int a, int b) { return a < b ? a : b; }

} // namespace

const lk_nf4_ops & lk_nf4_now(void) {
#if defined(__x86_64__)
    switch (lk_isa()) {
    case LK_AVX512: return lk_nf4_avx512;
    case LK_AVX2: return lk_nf4_avx2;
    }
#endif
    return lk_nf4_portable;
}

// Rows whose prepared activations fill about half of a common second-level cache.
int lk_nf4_chunk(size_t stride) {
    const size_t rows = (256 << 10)/(stride ? stride : 1)/8*8;
    return rows < 16 ? 16 : rows > NF4_CHUNK ? (int) NF4_CHUNK : (int) rows;
}

size_t lk_nf4_source_bytes(lk_nf4_kind kind, int n_in, int n_out) {
    const size_t strips = ((size_t) n_out + LK_NF4_STRIP - 1)/LK_NF4_STRIP;
    return strips*tiles_of(kind, n_in)*sizeof(float) + n_out*row_bytes(kind, n_in);
}

int lk_nf4_bad_row(lk_nf4_kind kind, const void * source, int n_in, int n_out) {
    const uint8_t * p = (const uint8_t *) source;
    const size_t row = row_bytes(kind, n_in), block = scale_bytes(kind) + block_columns(kind)/2;
    const int tiles = tiles_of(kind, n_in);
    for (int r = 0; r < n_out; r++, p += row) {
        for (int t = 0; r % LK_NF4_STRIP == 0 && t < tiles; t++, p += sizeof(float)) {
            if (!finite_float(p)) {
                return r;
            }
        }
        for (size_t at = 0; kind != LK_NF4_DQ && at < row; at += block) {
            if (!finite_half(p + at)) {
                return r;
            }
        }
    }
    return -1;
}

lk_nf4 * lk_nf4_pack(lk_nf4_kind kind, const void * source, int n_in, int n_out, int mode) {
    lk_nf4 * w = new (std::nothrow) lk_nf4();
    if (!w) {
        return nullptr;
    }
    w->kind = kind;
    w->n_in = n_in;
    w->n_out = n_out;
    w->mode = mode;
    w->blocks = n_in/LK_NF4_BLOCK;
    w->strips = (n_out + LK_NF4_STRIP - 1)/LK_NF4_STRIP;
    w->tiles = tiles_of(kind, n_in);
    const int groups = (w->blocks + lk_nf4_group_blocks(kind) - 1)/lk_nf4_group_blocks(kind);
    w->strip_bytes = (size_t) groups*LK_NF4_SCALES + (size_t) w->blocks*LK_NF4_CODES;
    w->bytes = w->strips*(w->strip_bytes + w->tiles*sizeof(float));
    w->data = (uint8_t *) lk_alloc(w->bytes);
    if (!w->data) {
        delete w;
        return nullptr;
    }
    w->tile_scales = (float *) (w->data + w->strips*w->strip_bytes);
    const size_t stride = strip_of_source(kind, n_in);
    for (int s = 0; s < w->strips; s++) {
        pack_strip(w, s, (const uint8_t *) source + s*stride, min_int(LK_NF4_STRIP, n_out - s*LK_NF4_STRIP));
    }
    return w;
}

void lk_nf4_free(lk_nf4 * w) {
    if (w) {
        lk_free(w->data, w->bytes);
        delete w;
    }
}

size_t lk_nf4_bytes(const lk_nf4 * w) { return w->bytes; }

void lk_nf4_dequantize_row(const lk_nf4 * w, int row, float * out) {
    const int lane = row % LK_NF4_STRIP;
    const uint8_t * strip = w->data + row/LK_NF4_STRIP*w->strip_bytes;
    for (int b = 0; b < w->blocks; b++, out += LK_NF4_BLOCK) {
        const float scale = lk_nf4_scale(w, row, b);
        for (int g = 0; g < LK_NF4_GROUPS; g++) {
            const uint8_t * word = strip + lk_nf4_codes_at(w->kind, b) + 64*g + 4*lane;
            for (int k = 0; k < 8; k++) {
                out[8*g + lk_nf4_nibble_column(k)] = scale*lk_nf4_codebook[word[k/2] >> 4*(k % 2) & 15];
            }
        }
    }
}

size_t lk_nf4_activation_bytes(int mode, int n_in) {
    const size_t n = (size_t) n_in, blocks = n/LK_NF4_BLOCK;
    switch (mode) {
    case LK_NF4_I16: return lk_align(2*n + 4*blocks);
    case LK_NF4_I8: return lk_align(n + 8*blocks);
    default: return lk_align(4*n);
    }
}

void lk_nf4_activations(int mode, int n_in, const float * x, size_t x_stride, int rows, void * xq, size_t xq_stride, int ith, int nth) {
    const lk_nf4_ops & run = lk_nf4_now();
    const int blocks = n_in/LK_NF4_BLOCK, pieces = 4; // of a row, so that a few rows still use all threads
    for (long item = ith; item < (long) rows*pieces; item += nth) {
        const long t = item/pieces, p = item % pieces;
        run.quantize(mode, blocks, (const float *) ((const char *) x + t*x_stride), (char *) xq + t*xq_stride,
            (int) (blocks*p/pieces), (int) (blocks*(p + 1)/pieces));
    }
}

static void multiply(const lk_nf4 * w, int mode, const void * xq, size_t xq_stride, int rows, float * y, size_t y_stride, int ith, int nth) {
    const lk_nf4_ops & run = lk_nf4_now();
    const int s0 = (int) ((long) w->strips*ith/nth), s1 = (int) ((long) w->strips*(ith + 1)/nth);
    const int chunk = lk_nf4_chunk(xq_stride);
    lk_ahead nothing = {};
    for (int t = 0; t < rows; t += chunk) {
        const char * x = (const char *) xq + t*xq_stride;
        for (int s = s0; s < s1; s++) {
            const int out = s*LK_NF4_STRIP;
            run.strip(w, mode, s, x, xq_stride, min_int(chunk, rows - t), (char *) (y + out) + t*y_stride, y_stride,
                min_int(LK_NF4_STRIP, w->n_out - out), &nothing);
        }
    }
}

void lk_nf4_matmul(const lk_nf4 * w, const void * xq, size_t xq_stride, int rows, float * y, size_t y_stride, int ith, int nth) {
    multiply(w, w->mode, xq, xq_stride, rows, y, y_stride, ith, nth);
}

void lk_nf4_matmul_f32(const lk_nf4 * w, const float * x, size_t x_stride, int rows, float * y, size_t y_stride, int ith, int nth) {
    multiply(w, LK_NF4_F32, x, x_stride, rows, y, y_stride, ith, nth);
}
