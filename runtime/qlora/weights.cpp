// Checks of a weight, and the addresses of its bytes.
#include "kernels.h"
#include "../kernels/kernels.h"
#include <algorithm>

namespace lq {

static bool interleaved(int kind) { return kind == LQ_Q4_0_X8 || kind == LQ_Q4_K_X8 || kind == LQ_IQ4_NL_X8 || kind == LQ_Q2_K_X8; }

const char * kind_name(int kind) {
    static const char * const names[LQ_KINDS] = {"none", "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_0_X8", "Q4_1", "Q5_0", "Q5_1",
        "Q4_K", "Q4_K_X8", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_NL_X8", "NF4",
        "Q8_0_STRIPS", "Q6_K_STRIPS", "a type of ggml's", "Q2_K_X8"};
    return kind >= 0 && kind < LQ_KINDS ? names[kind] : "unknown";
}

const char * weight_fault(const Weight & w) {
    if (w.kind <= LQ_NONE || w.kind >= LQ_KINDS) {
        return "has a type that training cannot read";
    }
    if (w.n_in <= 0 || w.n_out <= 0) {
        return "is missing";
    }
    const bool super = w.kind == LQ_Q4_K || w.kind == LQ_Q4_K_X8 || w.kind == LQ_Q5_K || w.kind == LQ_Q6_K || w.kind == LQ_Q6_K_STRIPS || w.kind == LQ_Q2_K_X8;
    if (w.kind > LQ_BF16 && w.n_in % (w.kind == LQ_GGML ? ggml_block(w) : super ? 256 : 32)) {
        return "has a width that is not a whole number of blocks";
    }
    if (interleaved(w.kind) && w.n_out % 8) {
        return "is stored with eight rows interleaved, but its number of rows is no multiple of eight";
    }
    if (w.kind == LQ_NF4 ? !w.nf4 : in_int_strips(w.kind) ? !w.integer : !w.data) {
        return "has no data";
    }
    return nullptr;
}

namespace {

void prefetch(const uint8_t * p, size_t n) {
    for (const uint8_t * end = p + n; p < end; p += 64) {
        __builtin_prefetch(p, 0, 2);
    }
}

} // namespace

void decode_row(const Kernels & k, const Weight & w, int row, float * out) {
    if (w.kind == LQ_NF4) { // whose Fill decodes sixteen rows at a time
        lk_nf4_dequantize_row(w.nf4, row, out);
    } else if (in_int_strips(w.kind)) {
        lk_int_dequantize_row(w.integer, row, out);
    } else {
        k.fills[w.kind](w, row, 1, 0, w.n_in, out, w.n_in);
    }
}

void prefetch_rows(const Weight & w, int row) {
    const int rows = std::min(32, w.n_out - row);
    if (w.kind == LQ_NF4) {
        prefetch(w.nf4->data + row/LK_NF4_STRIP*w.nf4->strip_bytes, (size_t) (rows + LK_NF4_STRIP - 1)/LK_NF4_STRIP*w.nf4->strip_bytes);
    } else if (in_int_strips(w.kind)) {
        const lk_int * m = w.integer;
        prefetch(m->data + row/LK_INT_STRIP*m->strip_bytes, (size_t) (rows + LK_INT_STRIP - 1)/LK_INT_STRIP*m->strip_bytes);
    } else {
        prefetch((const uint8_t *) w.data + (size_t) row*w.row_bytes, rows*w.row_bytes);
    }
}

void prefetch_columns(const Weight & w, int col) {
    if (w.kind == LQ_NF4) {
        for (int strip = 0; strip < w.nf4->strips; strip++) {
            prefetch(w.nf4->data + strip*w.nf4->strip_bytes + lk_nf4_codes_at(w.nf4->kind, col/LK_NF4_BLOCK), LK_NF4_CODES);
        }
        return;
    }
    if (in_int_strips(w.kind)) {
        const int block = col/LK_INT_BLOCK;
        const size_t at = w.kind == LQ_Q8_0_STRIPS ? lk_q8_codes_at(block) : lk_q6_codes_at(block);
        for (int strip = 0; strip < w.integer->strips; strip++) {
            prefetch(w.integer->data + strip*w.integer->strip_bytes + at, w.kind == LQ_Q8_0_STRIPS ? LK_Q8_CODES : 2*LK_Q6_GROUP);
        }
        return;
    }
    const int step = interleaved(w.kind) ? 8 : 1; // rows that lie together
    const size_t at = (size_t) col*w.row_bytes/w.n_in*step, bytes = (size_t) std::min(32, w.n_in - col)*w.row_bytes/w.n_in*step;
    for (int row = 0; row < w.n_out; row += step) {
        const uint8_t * p = (const uint8_t *) w.data + (size_t) row*w.row_bytes + at;
        prefetch(p, bytes);
        __builtin_prefetch(p + bytes - 1, 0, 2); // the last line, where the bytes do not begin on one
    }
}

} // namespace lq
