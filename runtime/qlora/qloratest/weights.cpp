// Weights of random numbers in every kind, made by ggml's own quantizers, and ggml's own decoders as the reference.
#include "weights.h"
#include "../../kernels/kernels.h"
#include "plain.h"
#include "ggml-backend.h"
#include <algorithm>
#include <math.h>
#include <string.h>

ggml_backend_buffer_type_t ggml_backend_cpu_repack_buffer_type(void); // of ggml-cpu/repack.h, which includes the whole back end

namespace lq {

namespace {

const GgmlKind * find(int kind) {
    const GgmlKind * end = ggml_kinds + GGML_KINDS;
    const GgmlKind * k = std::find_if(ggml_kinds + 0, end, [kind](const GgmlKind & k) { return k.kind == kind; });
    return k == end ? nullptr : k;
}

// One row of an interleaved weight, as it was before ggml repacked it: eight codes of a row, then the next row's.
void unpack_row(const Weight & w, int row, std::vector<uint8_t> & out) {
    const uint8_t * group = (const uint8_t *) w.data + (size_t) (row/8*8)*w.row_bytes;
    const int lane = row % 8, head = w.kind == LQ_Q4_K_X8 ? 16 : 2, block = w.kind == LQ_Q4_K_X8 ? 144 : 18;
    out.resize(w.row_bytes);
    for (size_t b = 0; b < w.row_bytes/block; b++) {
        const uint8_t * from = group + b*8*block, * codes = from + 8*head;
        uint8_t * to = out.data() + b*block;
        memcpy(to, from + 2*lane, 2);
        if (w.kind == LQ_Q4_K_X8) {
            memcpy(to + 2, from + 16 + 2*lane, 2);
            uint8_t scale[8], least[8];
            for (int j = 0; j < 8; j++) { // sub-block j of all eight rows is packed as one row's eight sub-blocks are
                const uint8_t * s = from + 32 + 12*j;
                scale[j] = lane < 4 ? s[lane] & 63 : (s[lane + 4] & 15) | (s[lane - 4] >> 6) << 4;
                least[j] = lane < 4 ? s[lane + 4] & 63 : (s[lane + 4] >> 4) | (s[lane] >> 6) << 4;
            }
            for (int j = 0; j < 4; j++) {
                to[4 + j] = scale[j] | (scale[j + 4] >> 4) << 6;
                to[8 + j] = least[j] | (least[j + 4] >> 4) << 6;
                to[12 + j] = (scale[j + 4] & 15) | (least[j + 4] & 15) << 4;
            }
        }
        for (int i = 0; i < (block - head)/8; i++) {
            memcpy(to + head + 8*i, codes + (8*i + lane)*8, 8);
        }
        if (w.kind == LQ_Q4_0_X8) {
            for (int i = 0; i < 16; i++) {
                to[head + i] ^= 0x88;
            }
        }
    }
}

// The same of Q2_K: the scales of two sub-blocks at a time, then the codes.
void unpack_q2_k(const Weight & w, int row, std::vector<uint8_t> & out) {
    out.resize(w.row_bytes);
    for (size_t b = 0; b < w.row_bytes/84; b++) {
        const uint8_t * d = (const uint8_t *) w.data + (size_t) (row/8*8)*w.row_bytes + b*8*84, * scales = d + 32, * codes = scales + 128;
        uint8_t * to = out.data() + b*84;
        for (int i = 0; i < 128; i++) {
            if (i % 16/2 == row % 8) {
                to[i/16*2 + i % 2] = scales[i];
            }
        }
        for (int i = 0; i < 512; i++) {
            if (i/8 % 8 == row % 8) {
                to[16 + i/64*8 + i % 8] = codes[i];
            }
        }
        memcpy(to + 80, d + row % 8*2, 2);
        memcpy(to + 82, d + 16 + row % 8*2, 2);
    }
}

// The nearest NormalFloat code of each of 32 weights, in 16 bytes.
void nf4_codes(const float * x, float scale, uint8_t * out) {
    for (int j = 0; j < 32; j++) {
        int best = 7;
        for (int k = 0; k < 16; k++) {
            if (fabsf(x[j] - scale*lk_nf4_codebook[k]) < fabsf(x[j] - scale*lk_nf4_codebook[best])) {
                best = k;
            }
        }
        out[j % 16] |= (uint8_t) (best << j/16*4);
    }
}

float largest(const float * x, size_t n) {
    float most = 0;
    for (size_t j = 0; j < n; j++) {
        most = fmaxf(most, fabsf(x[j]));
    }
    return most;
}

// Rows of blocks as lk_nf4_pack reads them, their scales the largest of their weights (QLoRA, Dettmers et al. 2023);
// in DQ a tile's scale is that of its strip.
std::vector<uint8_t> nf4_blocks(lk_nf4_kind kind, const float * x, int n_in, int n_out) {
    const int width = kind == LK_NF4_32 ? 32 : 64;
    std::vector<uint8_t> out(lk_nf4_source_bytes(kind, n_in, n_out));
    uint8_t * to = out.data();
    float tile = 0;
    for (int r = 0; r < n_out; r++, x += n_in) {
        if (kind == LK_NF4_DQ && r % LK_NF4_STRIP == 0) {
            tile = largest(x, (size_t) std::min((int) LK_NF4_STRIP, n_out - r)*n_in)/127;
            for (int b = 0; b < n_in/32; b += LK_NF4_TILE, to += sizeof tile) {
                memcpy(to, &tile, sizeof tile);
            }
        }
        for (int b = 0; b < n_in; b += width) {
            float scale = largest(x + b, width);
            if (kind == LK_NF4_DQ) {
                *to = (uint8_t) (tile > 0 ? (int) lroundf(scale/tile) : 0);
                scale = tile**to++;
            } else {
                const ggml_fp16_t half = ggml_fp32_to_fp16(scale);
                memcpy(to, &half, 2);
                scale = ggml_fp16_to_fp32(half);
                to += 2;
            }
            for (int i = 0; i < width; i += 32, to += 16) {
                nf4_codes(x + b + i, scale, to);
            }
        }
    }
    return out;
}

// Lets ggml itself repack the rows of a quantized matrix.
bool repack(const GgmlKind & k, const std::vector<uint8_t> & from, int n_in, int n_out, std::vector<uint8_t> & to) {
    ggml_init_params params = {2*ggml_tensor_overhead(), nullptr, true};
    ggml_context * ctx = ggml_init(params);
    if (!ctx) {
        return false;
    }
    ggml_tensor * t = ggml_new_tensor_2d(ctx, k.type, n_in, n_out);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors_from_buft(ctx, ggml_backend_cpu_repack_buffer_type());
    const bool ok = buffer && t->extra; // extra: ggml's choice of layout on this CPU, NULL where it has none
    if (ok) {
        ggml_backend_tensor_set(t, from.data(), 0, from.size());
        to.assign((const uint8_t *) t->data, (const uint8_t *) t->data + from.size());
    }
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
    return ok;
}

// Codes x as the file's type has it and packs that in strips.
void make_strips(int kind, const float * x, int n_in, int n_out, MadeWeight & m) {
    const ggml_type type = kind == LQ_Q6_K_STRIPS ? GGML_TYPE_Q6_K : GGML_TYPE_Q8_0;
    if (n_in % ggml_blck_size(type)) {
        return;
    }
    const size_t row_bytes = ggml_row_size(type, n_in);
    std::vector<uint8_t> rows(row_bytes*n_out);
    ggml_quantize_init(type);
    ggml_quantize_chunk(type, x, rows.data(), 0, n_out, n_in, nullptr);
    m.integer.reset(lk_int_pack(rows.data(), row_bytes, n_in, n_out, kind == LQ_Q6_K_STRIPS ? LK_Q6_K : LK_Q8_0));
    m.weight.integer = m.integer.get();
    m.weight.kind = m.integer ? kind : (int) LQ_NONE;
}

} // namespace

bool file_type(const Weight & w, ggml_type * type) {
    if (w.kind == LQ_GGML) {
        *type = (ggml_type) w.type;
        return true;
    }
    const GgmlKind * k = find(w.kind);
    if (!k || k->interleaved) {
        return false;
    }
    *type = k->type;
    return true;
}

void plain_row(const Weight & w, int row, float * out) {
    if (w.kind == LQ_NF4) {
        lk_nf4_dequantize_row(w.nf4, row, out);
        return;
    }
    if (in_int_strips(w.kind)) {
        lk_int_dequantize_row(w.integer, row, out);
        return;
    }
    const uint8_t * from = (const uint8_t *) w.data + (size_t) row*w.row_bytes;
    if (w.kind == LQ_GGML) {
        ggml_get_type_traits((ggml_type) w.type)->to_float(from, out, w.n_in);
        return;
    }
    const GgmlKind * k = find(w.kind);
    std::vector<uint8_t> row_bytes;
    if (k->interleaved) {
        w.kind == LQ_Q2_K_X8 ? unpack_q2_k(w, row, row_bytes) : unpack_row(w, row, row_bytes);
        from = row_bytes.data();
    }
    if (k->type == GGML_TYPE_F32) {
        memcpy(out, from, (size_t) w.n_in*sizeof(float));
    } else {
        ggml_get_type_traits(k->type)->to_float(from, out, w.n_in);
    }
}

namespace {

// Codes x as a type of ggml's with its own encoder, every weight as important as another.
void make_by_ggml(ggml_type type, const float * x, int n_in, int n_out, MadeWeight & m) {
    if (n_in % ggml_blck_size(type)) {
        return;
    }
    m.weight.row_bytes = ggml_row_size(type, n_in);
    m.bytes.resize(m.weight.row_bytes*n_out);
    const std::vector<float> importance(n_in, 1.0f);
    ggml_quantize_init(type);
    ggml_quantize_chunk(type, x, m.bytes.data(), 0, n_out, n_in, importance.data());
    m.weight.data = m.bytes.data();
    m.weight.kind = LQ_GGML;
    m.weight.type = type;
}

} // namespace

MadeWeight make_weight(int kind, const float * x, int n_in, int n_out) {
    MadeWeight m;
    m.weight.n_in = n_in;
    m.weight.n_out = n_out;
    if (kind >= LQ_MAKE_GGML) {
        make_by_ggml((ggml_type) (kind - LQ_MAKE_GGML), x, n_in, n_out, m);
        return m;
    }
    if (kind == LQ_NF4 || kind >= LQ_MAKE_NF4) {
        const lk_nf4_kind packed = kind == LQ_NF4 ? LK_NF4_32 : (lk_nf4_kind) (kind - LQ_MAKE_NF4);
        if (n_in % (packed == LK_NF4_32 ? 32 : 64) == 0) {
            m.nf4.reset(lk_nf4_pack(packed, nf4_blocks(packed, x, n_in, n_out).data(), n_in, n_out, LK_NF4_F32));
        }
        m.weight.nf4 = m.nf4.get();
        m.weight.kind = m.nf4 ? (int) LQ_NF4 : (int) LQ_NONE;
        return m;
    }
    if (in_int_strips(kind)) {
        make_strips(kind, x, n_in, n_out, m);
        return m;
    }
    const GgmlKind * k = find(kind);
    if (!k || n_in % ggml_blck_size(k->type)) {
        return m;
    }
    m.weight.row_bytes = ggml_row_size(k->type, n_in);
    std::vector<uint8_t> rows(m.weight.row_bytes*n_out);
    ggml_quantize_init(k->type);
    if (k->type == GGML_TYPE_F32) {
        memcpy(rows.data(), x, rows.size());
    } else {
        ggml_quantize_chunk(k->type, x, rows.data(), 0, n_out, n_in, nullptr);
    }
    if (!k->interleaved) {
        m.bytes = std::move(rows);
    } else if (!repack(*k, rows, n_in, n_out, m.bytes)) {
        return m;
    }
    m.weight.data = m.bytes.data();
    m.weight.kind = kind;
    return m;
}

} // namespace lq
