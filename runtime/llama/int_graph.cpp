// The nodes of a product with an integer weight: activations are rounded once, then multiplied; or multiplied as they are.
#include "hooks.h"

namespace lorikeet {

static void round_activations(ggml_tensor * dst, int ith, int nth, void *) {
    const ggml_tensor * x = dst->src[0];
    const int n_in = (int) x->ne[0];
    lk_int_activations(n_in, (const float *) x->data, x->nb[1], (int) x->ne[1], aligned(dst), lk_int_activation_bytes(n_in), ith, nth);
}

static void multiply_rounded(ggml_tensor * dst, int ith, int nth, void * weight) {
    const ggml_tensor * xq = dst->src[0];
    lk_int_matmul((const lk_int *) weight, aligned(xq), xq->nb[1], (int) dst->ne[1], (float *) dst->data, dst->nb[1], ith, nth);
}

ggml_tensor * int_product(ggml_context * ctx, const lk_int * w, int n_out, ggml_tensor * x, ggml_tensor *& rounded) {
    if (!rounded) {
        // One row more than there are: space to begin at a multiple of 64 bytes.
        const int64_t row = (int64_t) lk_int_activation_bytes((int) x->ne[0]);
        rounded = ggml_custom_4d(ctx, GGML_TYPE_I8, row, x->ne[1] + 1, 1, 1, &x, 1, round_activations, GGML_N_TASKS_MAX, nullptr);
    }
    return ggml_custom_4d(ctx, GGML_TYPE_F32, n_out, x->ne[1], 1, 1, &rounded, 1, multiply_rounded, GGML_N_TASKS_MAX, const_cast<lk_int *>(w));
}

static void multiply_floats(ggml_tensor * dst, int ith, int nth, void * weight) {
    const ggml_tensor * x = dst->src[0];
    lk_int_matmul_f32((const lk_int *) weight, (const float *) x->data, x->nb[1], (int) dst->ne[1], (float *) dst->data, dst->nb[1], ith, nth);
}

ggml_tensor * int_product_f32(ggml_context * ctx, const lk_int * w, int n_out, ggml_tensor * x) {
    return ggml_custom_4d(ctx, GGML_TYPE_F32, n_out, x->ne[1], 1, 1, &x, 1, multiply_floats, GGML_N_TASKS_MAX, const_cast<lk_int *>(w));
}

} // namespace lorikeet
