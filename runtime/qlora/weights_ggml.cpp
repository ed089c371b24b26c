// How ggml's tensors are read: the one file of the engine that knows them.
#include "weights_ggml.h"
#include "ggml-backend.h"
#include <string.h>

namespace lq {

const GgmlKind ggml_kinds[GGML_KINDS] = {
    {LQ_F32, GGML_TYPE_F32, false}, {LQ_F16, GGML_TYPE_F16, false}, {LQ_BF16, GGML_TYPE_BF16, false}, {LQ_Q8_0, GGML_TYPE_Q8_0, false},
    {LQ_Q4_0, GGML_TYPE_Q4_0, false}, {LQ_Q4_0_X8, GGML_TYPE_Q4_0, true}, {LQ_Q4_1, GGML_TYPE_Q4_1, false}, {LQ_Q5_0, GGML_TYPE_Q5_0, false},
    {LQ_Q5_1, GGML_TYPE_Q5_1, false}, {LQ_Q4_K, GGML_TYPE_Q4_K, false}, {LQ_Q4_K_X8, GGML_TYPE_Q4_K, true}, {LQ_Q5_K, GGML_TYPE_Q5_K, false},
    {LQ_Q6_K, GGML_TYPE_Q6_K, false}, {LQ_IQ4_NL, GGML_TYPE_IQ4_NL, false}, {LQ_IQ4_NL_X8, GGML_TYPE_IQ4_NL, true},
};

namespace {

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
    return w;
}

} // namespace lq
