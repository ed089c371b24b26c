// Integer weights (Q8_0 and Q6_K): packing, and how a product is cut into strips and chunks of rows. The
// arithmetic of a strip is in integer_portable.cpp, integer_avx2.cpp and integer_avx512.cpp.
#include "integer.h"
#include <new>

namespace {

enum { SOURCE_Q8 = 34, SOURCE_Q6 = 210 }; // bytes of ggml's block_q8_0 (32 weights) and block_q6_K (256)

// fp16 scale, 32 int8.
void pack_q8_row(const lk_int * w, uint8_t * strip, const uint8_t * source, int row) {
    for (int b = 0; b < w->blocks; b++, source += SOURCE_Q8) {
        memcpy(strip + lk_q8_scales_at(b) + 2*row, source, 2);
        uint8_t * codes = strip + lk_q8_codes_at(b) + 4*row;
        for (int g = 0; g < 8; g++) {
            uint32_t word;
            memcpy(&word, source + 2 + 4*g, 4);
            word ^= 0x80808080; // plus 128
            memcpy(codes + 64*g, &word, 4);
        }
    }
}

// Weight `column` of a block_q6_K, plus 32: ql (128), qh (64), int8 scales (16), fp16 d.
uint32_t q6_source(const uint8_t * source, int column) {
    const int half = column/128, quarter = column % 128/32, l = column % 32;
    const int low = source[half*64 + quarter % 2*32 + l] >> quarter/2*4 & 15;
    return (uint32_t) (low | (source[128 + half*32 + l] >> quarter*2 & 3) << 4);
}

void pack_q6_row(const lk_int * w, uint8_t * strip, const uint8_t * source, int row) {
    for (int b = 0; b < w->blocks; b += 8, source += SOURCE_Q6) {
        memcpy(strip + lk_q6_d_at(b) + 2*row, source + 208, 2);
        for (int group = 0; group < 16; group++) {
            strip[lk_q6_scales_at(b) + group*16 + row] = source[192 + group];
            uint8_t * to = strip + lk_q6_codes_at(b) + group*LK_Q6_GROUP + 4*row;
            for (int byte = 0; byte < 4; byte++) {
                uint32_t q[4];
                for (int k = 0; k < 4; k++) {
                    q[k] = q6_source(source, 16*group + 4*k + byte);
                }
                to[byte] = (uint8_t) ((q[0] & 15) | (q[1] & 15) << 4);
                to[64 + byte] = (uint8_t) ((q[2] & 15) | (q[3] & 15) << 4);
                to[128 + byte] = (uint8_t) (q[0] >> 4 | q[1] >> 4 << 2 | q[2] >> 4 << 4 | q[3] >> 4 << 6);
            }
        }
    }
}

const lk_int_ops & ops() {
#if defined(__x86_64__)
    switch (lk_isa()) {
    case LK_AVX512: return lk_int_avx512;
    case LK_AVX2: return lk_int_avx2;
    }
#endif
    return lk_int_portable;
}

int min_int(int a, int b) { return a < b ? a : b; }

// Rows whose prepared activations fill about half of a common second-level cache.
int chunk_rows(size_t stride) {
    const size_t rows = (256 << 10)/(stride ? stride : 1)/8*8;
    return rows < 16 ? 16 : rows > INT_CHUNK ? (int) INT_CHUNK : (int) rows;
}

void dequantize_q8(const lk_int * w, const uint8_t * strip, int lane, float * out) {
    for (int b = 0; b < w->blocks; b++, out += LK_INT_BLOCK) {
        uint16_t half;
        memcpy(&half, strip + lk_q8_scales_at(b) + 2*lane, 2);
        const float scale = lk_half_to_float(half);
        const uint8_t * codes = strip + lk_q8_codes_at(b) + 4*lane;
        for (int i = 0; i < LK_INT_BLOCK; i++) {
            const int code = codes[i/4*64 + i % 4] - LK_INT_ZERO;
            out[i] = scale*(float) code;
        }
    }
}

void dequantize_q6(const lk_int * w, const uint8_t * strip, int lane, float * out) {
    for (int b = 0; b < w->blocks; b++) {
        uint16_t half;
        memcpy(&half, strip + lk_q6_d_at(b) + 2*lane, 2);
        const float d = lk_half_to_float(half);
        for (int group = 0; group < 2; group++, out += 16) {
            const float scale = d*(int8_t) strip[lk_q6_scales_at(b) + group*16 + lane];
            const uint8_t * codes = strip + lk_q6_codes_at(b) + group*LK_Q6_GROUP + 4*lane;
            for (int i = 0; i < 16; i++) {
                const int k = i/4, low = codes[k/2*64 + i % 4] >> k % 2*4 & 15, high = codes[128 + i % 4] >> 2*k & 3;
                out[i] = scale*((low | high << 4) - LK_Q6_ZERO);
            }
        }
    }
}

} // namespace

lk_int * lk_int_pack(const void * rows, size_t row_bytes, int n_in, int n_out, int format) {
    lk_int * w = new (std::nothrow) lk_int();
    if (!w) {
        return nullptr;
    }
    w->n_in = n_in;
    w->n_out = n_out;
    w->format = format;
    w->blocks = n_in/LK_INT_BLOCK;
    w->strips = (n_out + LK_INT_STRIP - 1)/LK_INT_STRIP;
    w->strip_bytes = format == LK_Q6_K ? (size_t) (w->blocks/8)*LK_Q6_SUPER
                                       : (size_t) (w->blocks/2)*LK_Q8_PAIR + w->blocks % 2*(64 + LK_Q8_CODES);
    w->bytes = w->strips*w->strip_bytes;
    w->data = (uint8_t *) lk_alloc(w->bytes);
    if (!w->data) {
        delete w;
        return nullptr;
    }
    for (int row = 0; row < n_out; row++) {
        const uint8_t * from = (const uint8_t *) rows + row*row_bytes;
        (format == LK_Q6_K ? pack_q6_row : pack_q8_row)(w, w->data + row/LK_INT_STRIP*w->strip_bytes, from, row % LK_INT_STRIP);
    }
    return w;
}

void lk_int_free(lk_int * w) {
    if (w) {
        lk_free(w->data, w->bytes);
        delete w;
    }
}

size_t lk_int_bytes(const lk_int * w) { return w->bytes; }

void lk_int_dequantize_row(const lk_int * w, int row, float * out) {
    (w->format == LK_Q6_K ? dequantize_q6 : dequantize_q8)(w, w->data + row/LK_INT_STRIP*w->strip_bytes, row % LK_INT_STRIP, out);
}

size_t lk_int_activation_bytes(int n_in) { return lk_align((size_t) n_in + 12*(size_t) (n_in/LK_INT_BLOCK)); }

void lk_int_activations(int n_in, const float * x, size_t x_stride, int rows, void * xq, size_t xq_stride, int ith, int nth) {
    const lk_int_ops & run = ops();
    const int blocks = n_in/LK_INT_BLOCK, pieces = 4; // of a row, so that a few rows still use all threads
    for (long item = ith; item < (long) rows*pieces; item += nth) {
        const long t = item/pieces, p = item % pieces;
        run.quantize(blocks, (const float *) ((const char *) x + t*x_stride), (char *) xq + t*xq_stride,
            (int) (blocks*p/pieces), (int) (blocks*(p + 1)/pieces));
    }
}

typedef void strip_function(const lk_int * w, int strip, const char * x, size_t x_stride, int rows, char * y, size_t y_stride, int valid);

static void multiply(strip_function * run, const lk_int * w, const void * x, size_t x_stride, int rows, float * y, size_t y_stride, int ith, int nth) {
    const int s0 = (int) ((long) w->strips*ith/nth), s1 = (int) ((long) w->strips*(ith + 1)/nth);
    const int chunk = chunk_rows(x_stride);
    for (int t = 0; t < rows; t += chunk) {
        const char * from = (const char *) x + t*x_stride;
        for (int s = s0; s < s1; s++) {
            const int out = s*LK_INT_STRIP;
            run(w, s, from, x_stride, min_int(chunk, rows - t), (char *) (y + out) + t*y_stride, y_stride,
                min_int(LK_INT_STRIP, w->n_out - out));
        }
    }
}

void lk_int_matmul(const lk_int * w, const void * xq, size_t xq_stride, int rows, float * y, size_t y_stride, int ith, int nth) {
    multiply(ops().strip, w, xq, xq_stride, rows, y, y_stride, ith, nth);
}

void lk_int_matmul_f32(const lk_int * w, const float * x, size_t x_stride, int rows, float * y, size_t y_stride, int ith, int nth) {
    multiply(ops().strip_f32, w, x, x_stride, rows, y, y_stride, ith, nth);
}
