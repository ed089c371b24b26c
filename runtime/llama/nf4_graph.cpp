// The nodes of a product with an NF4 weight: activations are prepared once, then multiplied.
#include "hooks.h"

namespace lorikeet {

static void prepare(ggml_tensor * dst, int ith, int nth, void * data) {
    const ggml_tensor * x = dst->src[0];
    const int mode = (int) (intptr_t) data, n_in = (int) x->ne[0];
    lk_nf4_activations(mode, n_in, (const float *) x->data, x->nb[1], (int) x->ne[1],
        aligned(dst), lk_nf4_activation_bytes(mode, n_in), ith, nth);
}

static void multiply_prepared(ggml_tensor * dst, int ith, int nth, void * data) {
    const ggml_tensor * xq = dst->src[0];
    lk_nf4_matmul((const lk_nf4 *) data, aligned(xq), xq->nb[1], (int) dst->ne[1], (float *) dst->data, dst->nb[1], ith, nth);
}

static void multiply_floats(ggml_tensor * dst, int ith, int nth, void * data) {
    const ggml_tensor * x = dst->src[0];
    lk_nf4_matmul_f32((const lk_nf4 *) data, (const float *) x->data, x->nb[1], (int) dst->ne[1], (float *) dst->data, dst->nb[1], ith, nth);
}

ggml_tensor * nf4_product_f32(ggml_context * ctx, const lk_nf4 * w, int n_out, ggml_tensor * x) {
    return ggml_custom_4d(ctx, GGML_TYPE_F32, n_out, x->ne[1], 1, 1, &x, 1, multiply_floats, GGML_N_TASKS_MAX, const_cast<lk_nf4 *>(w));
}

ggml_tensor * nf4_product(ggml_context * ctx, const lk_nf4 * w, int mode, int n_out, ggml_tensor * x, ggml_tensor *& prepared) {
    if (mode == LK_NF4_F32) {
        return nf4_product_f32(ctx, w, n_out, x);
    }
    if (!prepared) {
        // One row more than there are: space to begin at a multiple of 64 bytes.
        const int64_t row = (int64_t) lk_nf4_activation_bytes(mode, (int) x->ne[0]);
        prepared = ggml_custom_4d(ctx, GGML_TYPE_I8, row, x->ne[1] + 1, 1, 1, &x, 1, prepare, GGML_N_TASKS_MAX, (void *) (intptr_t) mode);
    }
    return ggml_custom_4d(ctx, GGML_TYPE_F32, n_out, x->ne[1], 1, 1, &prepared, 1, multiply_prepared, GGML_N_TASKS_MAX, const_cast<lk_nf4 *>(w));
}

} // namespace lorikeet
