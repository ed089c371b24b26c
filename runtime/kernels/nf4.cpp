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

enum { SOURCE_BLOCK = 18 }; // fp16 absmax, 16 bytes of codes

// The low nibbles of bytes 0, 2, 4, 6 of v, in that order, in 16 bits.
uint32_t even_nibbles(uint64_t v) { return (uint32_t) ((v & 0x000f000f000f000full)*0x0001001001001000ull >> 48); }

// One word of codes per group, from the 16 bytes of a source block.
void pack_codes(const uint8_t * source, uint8_t * to) {
    uint64_t bytes[2];
    memcpy(bytes, source, 16);
    for (int g = 0; g < NF4_GROUPS; g++) {
        const uint64_t v = bytes[g % 2] >> 4*(g/2);
        const uint32_t word = even_nibbles(v) | even_nibbles(v >> 8) << 16;
        memcpy(to + 64*g, &word, 4);
    }
}

// Packs the rows of one strip; rows past `rows` stay zero.
void pack_strip(const lk_nf4 * w, uint8_t * strip, const uint8_t * source, size_t row_bytes, int rows) {
    for (int b = 0; b < w->blocks; b++, source += SOURCE_BLOCK) {
        uint8_t * absmax = strip + nf4_absmax_at(b), * codes = strip + nf4_codes_at(b);
        for (int r = 0; r < rows; r++) {
            memcpy(absmax + 2*r, source + r*row_bytes, 2);
            pack_codes(source + r*row_bytes + 2, codes + 4*r);
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

lk_nf4 * lk_nf4_pack(const void * blocks, size_t row_bytes, int n_in, int n_out, int mode) {
    lk_nf4 * w = new (std::nothrow) lk_nf4();
    if (!w) {
        return nullptr;
    }
    w->n_in = n_in;
    w->n_out = n_out;
    w->mode = mode;
    w->blocks = n_in/NF4_BLOCK;
    w->strips = (n_out + NF4_STRIP - 1)/NF4_STRIP;
    w->strip_bytes = (size_t) (w->blocks/2)*NF4_PAIR + w->blocks % 2*(64 + NF4_CODES);
    w->bytes = w->strips*w->strip_bytes;
    w->data = (uint8_t *) lk_alloc(w->bytes);
    if (!w->data) {
        delete w;
        return nullptr;
    }
    for (int s = 0; s < w->strips; s++) {
        const int row = s*NF4_STRIP;
        pack_strip(w, w->data + s*w->strip_bytes, (const uint8_t *) blocks + row*row_bytes, row_bytes, min_int(NF4_STRIP, n_out - row));
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
    const int lane = row % NF4_STRIP;
    const uint8_t * strip = w->data + row/NF4_STRIP*w->strip_bytes;
    for (int b = 0; b < w->blocks; b++, out += NF4_BLOCK) {
        uint16_t half;
        memcpy(&half, strip + nf4_absmax_at(b) + 2*lane, 2);
        const float absmax = f16_to_f32(half);
        for (int g = 0; g < NF4_GROUPS; g++) {
            const uint8_t * word = strip + nf4_codes_at(b) + 64*g + 4*lane;
            for (int k = 0; k < 8; k++) {
                out[8*g + nf4_nibble_column(k)] = absmax*lk_nf4_codebook[word[k/2] >> 4*(k % 2) & 15];
            }
        }
    }
}

size_t lk_nf4_activation_bytes(int mode, int n_in) {
    const size_t n = (size_t) n_in, blocks = n/NF4_BLOCK;
    switch (mode) {
    case LK_NF4_I16: return lk_align(2*n + 4*blocks);
    case LK_NF4_I8: return lk_align(n + 8*blocks);
    default: return lk_align(4*n);
    }
}

void lk_nf4_activations(int mode, int n_in, const float * x, size_t x_stride, int rows, void * xq, size_t xq_stride, int ith, int nth) {
    const lk_nf4_ops & run = lk_nf4_now();
    const int blocks = n_in/NF4_BLOCK, pieces = 4; // of a row, so that a few rows still use all threads
    for (long item = ith; item < (long) rows*pieces; item += nth) {
        const long t = item/pieces, p = item % pieces;
        run.quantize(mode, blocks, (const float *) ((const char *) x + t*x_stride), (char *) xq + t*xq_stride,
            (int) (blocks*p/pieces), (int) (blocks*(p + 1)/pieces));
    }
}

void lk_nf4_matmul(const lk_nf4 * w, const void * xq, size_t xq_stride, int rows, float * y, size_t y_stride, int ith, int nth) {
    const lk_nf4_ops & run = lk_nf4_now();
    const int s0 = (int) ((long) w->strips*ith/nth), s1 = (int) ((long) w->strips*(ith + 1)/nth);
    const int chunk = lk_nf4_chunk(xq_stride);
    lk_ahead nothing = {};
    for (int t = 0; t < rows; t += chunk) {
        const char * x = (const char *) xq + t*xq_stride;
        for (int s = s0; s < s1; s++) {
            const int out = s*NF4_STRIP;
            run.strip(w, s, x, xq_stride, min_int(chunk, rows - t), (char *) (y + out) + t*y_stride, y_stride,
                min_int(NF4_STRIP, w->n_out - out), &nothing);
        }
    }
}
