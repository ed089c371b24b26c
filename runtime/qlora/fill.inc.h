// The source of the Fill functions for every instruction set. Included by rows_*.cpp after they have chosen an instruction set.
// The formats are ggml's (ggml-common.h); every one is read here in blocks of 32 columns.
#include "../kernels/layout.h"
#include "vec.h"
#include "weights.h"

namespace lq {
namespace {

VEC_FN vec to_float(ivec v) { return __builtin_convertvector(v, vec); }
VEC_FN float half_at(const uint8_t * p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return half_to_float(h);
}

VEC_FN const uint8_t * row_at(const Weight & w, int row) { return (const uint8_t *) w.data + (size_t) row*w.row_bytes; }

// A block that stores element j in the low nibble of byte j and element 16+j in the high one.
VEC_FN void nibbles(ivec q, float * out, float d, float m) {
    store(out, to_float(q & 15)*d + m);
    store(out + 16, to_float(q >> 4)*d + m);
}

void q4_0(const Weight & w, int row, int block, float * out) {
    const uint8_t * b = row_at(w, row) + block*18;
    const float d = half_at(b);
    nibbles(load_bytes(b + 2), out, d, -8*d);
}

void q4_1(const Weight & w, int row, int block, float * out) {
    const uint8_t * b = row_at(w, row) + block*20;
    nibbles(load_bytes(b + 4), out, half_at(b), half_at(b + 2));
}

// The fifth bits of Q5_0 and Q5_1: bit j of a 32-bit word belongs to element j.
VEC_FN void five_bits(const uint8_t * high, const uint8_t * q, float * out, float d, float m) {
    const ivec lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    int32_t h;
    memcpy(&h, high, 4);
    const ivec hv = ivec{} + h, v = load_bytes(q);
    store(out, to_float((v & 15) | ((hv >> lane) & 1) << 4)*d + m);
    store(out + 16, to_float((v >> 4) | ((hv >> (lane + 16)) & 1) << 4)*d + m);
}

void q5_0(const Weight & w, int row, int block, float * out) {
    const uint8_t * b = row_at(w, row) + block*22;
    const float d = half_at(b);
    five_bits(b + 2, b + 6, out, d, -16*d);
}

void q5_1(const Weight & w, int row, int block, float * out) {
    const uint8_t * b = row_at(w, row) + block*24;
    five_bits(b + 4, b + 8, out, half_at(b), half_at(b + 2));
}

void q8_0(const Weight & w, int row, int block, float * out) {
    const uint8_t * b = row_at(w, row) + block*34;
    const float d = half_at(b);
    store(out, to_float(load_signed(b + 2))*d);
    store(out + 16, to_float(load_signed(b + 18))*d);
}

// Scale and minimum of sub-block j: six bits each, packed in 12 bytes.
VEC_FN void k_scale(const uint8_t * s, int j, int * scale, int * minimum) {
    if (j < 4) {
        *scale = s[j] & 63;
        *minimum = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *minimum = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
    }
}

void q4_k(const Weight & w, int row, int block, float * out) {
    const uint8_t * b = row_at(w, row) + block/8*144;
    const int j = block % 8;
    int scale, minimum;
    k_scale(b + 4, j, &scale, &minimum);
    const float d = half_at(b)*scale, m = -half_at(b + 2)*minimum;
    const uint8_t * q = b + 16 + j/2*32;
    const int shift = j % 2*4;
    store(out, to_float((load_bytes(q) >> shift) & 15)*d + m);
    store(out + 16, to_float((load_bytes(q + 16) >> shift) & 15)*d + m);
}

void q5_k(const Weight & w, int row, int block, float * out) {
    const uint8_t * b = row_at(w, row) + block/8*176;
    const int j = block % 8;
    int scale, minimum;
    k_scale(b + 4, j, &scale, &minimum);
    const float d = half_at(b)*scale, m = -half_at(b + 2)*minimum;
    const uint8_t * high = b + 16, * q = b + 48 + j/2*32;
    const int shift = j % 2*4;
    for (int i = 0; i < 32; i += 16) {
        const ivec five = ((load_bytes(high + i) >> j) & 1) << 4;
        store(out + i, to_float(((load_bytes(q + i) >> shift) & 15) | five)*d + m);
    }
}

void q6_k(const Weight & w, int row, int block, float * out) {
    const uint8_t * b = row_at(w, row) + block/8*210;
    const int half = block % 8/4, quarter = block % 4;
    const uint8_t * low = b + half*64 + quarter % 2*32, * high = b + 128 + half*32;
    const int8_t * scale = (const int8_t *) b + 192 + half*8 + quarter*2;
    const float d = half_at(b + 208);
    for (int i = 0; i < 2; i++) {
        const ivec q = ((load_bytes(low + 16*i) >> quarter/2*4) & 15) | ((load_bytes(high + 16*i) >> quarter*2) & 3) << 4;
        store(out + 16*i, to_float(q - 32)*(d*scale[i]));
    }
}

VEC_FN void iq4_nl_codes(ivec q, float d, float * out) {
    const vec book = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    store(out, look_up(book, q & 15)*d);
    store(out + 16, look_up(book, q >> 4)*d);
}

void iq4_nl(const Weight & w, int row, int block, float * out) {
    const uint8_t * b = row_at(w, row) + block*18;
    iq4_nl_codes(load_bytes(b + 2), half_at(b), out);
}

// The X8 layouts hold eight rows together: their scales, then their codes in turns of 8 bytes.
struct Interleaved {
    float d;
    ivec q;
};
VEC_FN Interleaved of_eight(const Weight & w, int row, int block, uint8_t flip) {
    const uint8_t * b = row_at(w, row/8*8) + block*8*18, * q = b + 16 + row % 8*8;
    uint8_t both[16];
    memcpy(both, q, 8);
    memcpy(both + 8, q + 64, 8);
    return {half_at(b + row % 8*2), load_bytes(both) ^ flip};
}

void q4_0_x8(const Weight & w, int row, int block, float * out) {
    const Interleaved b = of_eight(w, row, block, 0x88);
    nibbles(b.q, out, b.d, -8*b.d);
}

void iq4_nl_x8(const Weight & w, int row, int block, float * out) {
    const Interleaved b = of_eight(w, row, block, 0);
    iq4_nl_codes(b.q, b.d, out);
}

void q4_k_x8(const Weight & w, int row, int block, float * out) {
    const uint8_t * b = row_at(w, row/8*8) + block/8*8*144;
    const int lane = row % 8, j = block % 8;
    int scale, minimum;
    k_scale(b + 32 + j*12, lane, &scale, &minimum); // the 12 bytes hold one sub-block of all eight rows
    const float d = half_at(b + lane*2)*scale, m = -half_at(b + 16 + lane*2)*minimum;
    uint8_t bytes[32];
    for (int i = 0; i < 4; i++) {
        memcpy(bytes + 8*i, b + 128 + (j/2*4 + i)*64 + lane*8, 8);
    }
    const int shift = j % 2*4;
    store(out, to_float((load_bytes(bytes) >> shift) & 15)*d + m);
    store(out + 16, to_float((load_bytes(bytes + 16) >> shift) & 15)*d + m);
}

template <void (*block_of)(const Weight &, int, int, float *)>
void fill_blocks(const Weight & w, int row, int rows, int col, int cols, float * out, int ld) {
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < cols; c += 32) {
            block_of(w, row + r, (col + c)/32, out + (size_t) r*ld + c);
        }
    }
}

VEC_FN float from_f32(const uint8_t * p) {
    float f;
    memcpy(&f, p, 4);
    return f;
}
VEC_FN float from_f16(const uint8_t * p) { return half_at(p); }
VEC_FN float from_bf16(const uint8_t * p) {
    uint16_t h;
    memcpy(&h, p, 2);
    const uint32_t bits = (uint32_t) h << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

template <float (*value)(const uint8_t *), int size>
void fill_floats(const Weight & w, int row, int rows, int col, int cols, float * out, int ld) {
    for (int r = 0; r < rows; r++) {
        const uint8_t * p = row_at(w, row + r) + (size_t) col*size;
        for (int c = 0; c < cols; c++) {
            out[(size_t) r*ld + c] = value(p + c*size);
        }
    }
}

// Sixteen rows are the lanes: one 32-bit word holds eight columns of a row.
void fill_nf4(const Weight & w, int row, int rows, int col, int cols, float * out, int ld) {
    vec book;
    memcpy(&book, lk_nf4_codebook, sizeof book);
    for (int r = 0; r < rows; r += LK_NF4_STRIP) {
        const int strip = (row + r)/LK_NF4_STRIP;
        for (int c = 0; c < cols; c += LK_NF4_BLOCK) {
            const int block = (col + c)/LK_NF4_BLOCK;
            const uint8_t * codes = w.nf4->data + strip*w.nf4->strip_bytes + lk_nf4_codes_at(w.nf4->kind, block);
            float scales[LK_NF4_STRIP];
            for (int i = 0; i < LK_NF4_STRIP; i++) {
                scales[i] = lk_nf4_scale(w.nf4, strip*LK_NF4_STRIP + i, block);
            }
            const vec scale = load(scales);
            for (int g = 0; g < LK_NF4_GROUPS; g++, codes += 64) {
                ivec words;
                memcpy(&words, codes, sizeof words);
                for (int k = 0; k < 8; k++) {
                    store(out + (size_t) (c + 8*g + lk_nf4_nibble_column(k))*ld + r, look_up(book, (words >> 4*k) & 15)*scale);
                }
            }
        }
    }
}

// Register g (four columns of sixteen rows, one per byte) of a block of an integer weight.
template <int kind> VEC_FN ivec int_words(const uint8_t * strip, int block, int g) {
    ivec v, high;
    if (kind == LQ_Q8_0_STRIPS) {
        memcpy(&v, strip + lk_q8_codes_at(block) + 64*g, sizeof v);
        return v;
    }
    const uint8_t * codes = strip + lk_q6_codes_at(block) + g/4*LK_Q6_GROUP;
    const int k = g % 4;
    memcpy(&v, codes + k/2*64, sizeof v);
    memcpy(&high, codes + 128, sizeof high);
    return ((v >> k % 2*4) & 0x0f0f0f0f) | ((high >> 2*k) & 0x03030303) << 4;
}

// The scales of half h of a block.
template <int kind> VEC_FN vec int_scales(const uint8_t * strip, int block, int h) {
    const uint8_t * halves = strip + (kind == LQ_Q8_0_STRIPS ? lk_q8_scales_at(block) : lk_q6_d_at(block));
    float d[LK_INT_STRIP];
    for (int i = 0; i < LK_INT_STRIP; i++) {
        d[i] = half_at(halves + 2*i);
        if (kind == LQ_Q6_K_STRIPS) {
            d[i] *= (int8_t) strip[lk_q6_scales_at(block) + LK_INT_STRIP*h + i];
        }
    }
    return load(d);
}

template <int kind> void fill_int(const Weight & w, int row, int rows, int col, int cols, float * out, int ld) {
    const int zero = kind == LQ_Q8_0_STRIPS ? (int) LK_INT_ZERO : (int) LK_Q6_ZERO;
    for (int r = 0; r < rows; r += LK_INT_STRIP) {
        const uint8_t * strip = w.integer->data + (row + r)/LK_INT_STRIP*w.integer->strip_bytes;
        for (int c = 0; c < cols; c += LK_INT_BLOCK) {
            const int block = (col + c)/LK_INT_BLOCK;
            const vec scales[2] = {int_scales<kind>(strip, block, 0), int_scales<kind>(strip, block, 1)};
            for (int g = 0; g < 8; g++) {
                const vec scale = scales[g/4];
                const ivec words = int_words<kind>(strip, block, g);
                for (int k = 0; k < 4; k++) {
                    store(out + (size_t) (c + 4*g + k)*ld + r, to_float(((words >> 8*k) & 255) - zero)*scale);
                }
            }
        }
    }
}

// By lq_kind.
Fill * const fills[LQ_KINDS] = {
    nullptr, fill_floats<from_f32, 4>, fill_floats<from_f16, 2>, fill_floats<from_bf16, 2>, fill_blocks<q8_0>,
    fill_blocks<q4_0>, fill_blocks<q4_0_x8>, fill_blocks<q4_1>, fill_blocks<q5_0>, fill_blocks<q5_1>,
    fill_blocks<q4_k>, fill_blocks<q4_k_x8>, fill_blocks<q5_k>, fill_blocks<q6_k>, fill_blocks<iq4_nl>,
    fill_blocks<iq4_nl_x8>, fill_nf4, fill_int<LQ_Q8_0_STRIPS>, fill_int<LQ_Q6_K_STRIPS>,
    fill_by_ggml, fill_q2_k_x8,
};

} // namespace
} // namespace lq
