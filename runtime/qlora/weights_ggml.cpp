// How ggml's tensors are read: the one file of the engine that knows them.
#include "weights_ggml.h"
#include "ggml-backend.h"
#include <algorithm>
#include <string.h>

namespace lq {

const GgmlKind ggml_kinds[GGML_KINDS] = {
    {LQ_F32, GGML_TYPE_F32, false}, {LQ_F16, GGML_TYPE_F16, false}, {LQ_BF16, GGML_TYPE_BF16, false}, {LQ_Q8_0, GGML_TYPE_Q8_0, false},
    {LQ_Q4_0, GGML_TYPE_Q4_0, false}, {LQ_Q4_0_X8, GGML_TYPE_Q4_0, true}, {LQ_Q4_1, GGML_TYPE_Q4_1, false}, {LQ_Q5_0, GGML_TYPE_Q5_0, false},
    {LQ_Q5_1, GGML_TYPE_Q5_1, false}, {LQ_Q4_K, GGML_TYPE_Q4_K, false}, {LQ_Q4_K_X8, GGML_TYPE_Q4_K, true}, {LQ_Q5_K, GGML_TYPE_Q5_K, false},
    {LQ_Q6_K, GGML_TYPE_Q6_K, false}, {LQ_IQ4_NL, GGML_TYPE_IQ4_NL, false}, {LQ_IQ4_NL_X8, GGML_TYPE_IQ4_NL, true},
    {LQ_Q2_K_X8, GGML_TYPE_Q2_K, true},
};

namespace {

constexpr int BLOCK = 256; // most weights of a block

bool repacked(const ggml_tensor * t) { return t->buffer && strcmp(ggml_backend_buffer_name(t->buffer), "CPU_REPACK") == 0; }

} // namespace

bool in_host_memory(const ggml_tensor * t) { return !t->buffer || repacked(t) || ggml_backend_buffer_is_host(t->buffer); }

Weight view_of(const ggml_tensor * t, const lk_packed & packed) {
    Weight w = {};
    if (!t) {
        return w;
    }
    w.n_in = (int) t->ne[0];
    w.n_out = (int) t->ne[1];
    if (packed.nf4 || packed.integer) {
        w.kind = packed.nf4 ? LQ_NF4 : packed.integer->format == LK_Q6_K ? LQ_Q6_K_STRIPS : LQ_Q8_0_STRIPS;
        w.row_bytes = t->nb[1];
        w.nf4 = packed.nf4;
        w.integer = packed.integer;
        return w;
    }
    if (t->ne[2] != 1 || t->ne[3] != 1 || !in_host_memory(t)) {
        return w;
    }
    w.data = t->data;
    w.row_bytes = t->nb[1];
    for (const GgmlKind & k : ggml_kinds) {
        if (k.type == t->type && k.interleaved == repacked(t)) {
            w.kind = k.kind;
        }
    }
    const ggml_type_traits * traits = ggml_get_type_traits(t->type);
    if (w.kind == LQ_NONE && !repacked(t) && traits->to_float && traits->is_quantized && traits->blck_size <= BLOCK && traits->blck_size % 32 == 0) {
        w.kind = LQ_GGML;
        w.type = t->type;
    }
    return w;
}

void round_to_half(float * x, size_t n) {
    ggml_fp16_t half[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK) {
        const int64_t some = (int64_t) std::min((size_t) BLOCK, n - i);
        ggml_fp32_to_fp16_row(x + i, half, some);
        ggml_fp16_to_fp32_row(half, x + i, some);
    }
}

int ggml_block(const Weight & w) { return (int) ggml_blck_size((ggml_type) w.type); }

namespace {

// Decodes blocks of `width` weights that lie in `bytes` bytes each. block_at(row, block) is where one lies, or is copied to; a
// block of which only a part is wanted is decoded beside the output.
template <typename At>
void fill_blocks_of(ggml_to_float_t decode, int width, int row, int rows, int col, int cols, float * out, int ld, const At & block_at) {
    float whole[BLOCK];
    for (int r = 0; r < rows; r++) {
        float * to = out + (size_t) r*ld;
        for (int c = col; c < col + cols;) {
            const int from = c % width, n = std::min(width - from, col + cols - c);
            const void * block = block_at(row + r, c/width);
            if (n == width) {
                decode(block, to + (c - col), width);
            } else {
                decode(block, whole, width);
                memcpy(to + (c - col), whole + from, n*sizeof(float));
            }
            c += n;
        }
    }
}

} // namespace

void fill_by_ggml(const Weight & w, int row, int rows, int col, int cols, float * out, int ld) {
    const ggml_type_traits * traits = ggml_get_type_traits((ggml_type) w.type);
    fill_blocks_of(traits->to_float, (int) traits->blck_size, row, rows, col, cols, out, ld,
        [&](int r, int block) { return (const uint8_t *) w.data + (size_t) r*w.row_bytes + block*traits->type_size; });
}

// Eight rows together: their scales and their minimums' scales in half precision, then in turns of 16 bytes the scales of two
// sub-blocks of every row, then the codes in turns of 8 bytes.
void fill_q2_k_x8(const Weight & w, int row, int rows, int col, int cols, float * out, int ld) {
    enum { SCALES = 16, CODES = 64, BYTES = SCALES + CODES + 4 }; // of a row's block, which has the two halves at its end
    uint8_t block[BYTES];
    fill_blocks_of(ggml_get_type_traits(GGML_TYPE_Q2_K)->to_float, 256, row, rows, col, cols, out, ld, [&](int r, int b) {
        const int lane = r % 8;
        const uint8_t * group = (const uint8_t *) w.data + (size_t) (r/8*8)*w.row_bytes + b*8*BYTES;
        for (int i = 0; i < SCALES; i++) {
            block[i] = group[32 + i/2*16 + lane*2 + i % 2];
        }
        for (int i = 0; i < CODES; i += 8) {
            memcpy(block + SCALES + i, group + 32 + 8*SCALES + i*8 + lane*8, 8);
        }
        memcpy(block + SCALES + CODES, group + 2*lane, 2);
        memcpy(block + SCALES + CODES + 2, group + 16 + 2*lane, 2);
        return (const void *) block;
    });
}

} // namespace lq
