// The nodes that add adapters to a product: the fused kernels, ggml's own mul_mat_id, and the embedding.
#include "seam.h"

namespace lorikeet {

// ---- fused -----------------------------------------------------------------------------------------
// Two nodes: hidden = A x for every row, then y += scale B hidden. The first node's tensor is one float that
// nothing reads; it is there to order the second after it. The hidden rows are not a tensor of the graph,
// because their width follows from the adapters placed, which change under the same graph.

static void shrink(ggml_tensor * dst, int ith, int nth, void * data) {
    const auto * node = (const Rows::Node *) data;
    const Rows::Span & s = *node->span;
    const ggml_tensor * x = dst->src[0];
    if (s.used[(size_t) node->target]) {
        lk_lora_shrink(&s.rows[(size_t) node->target*s.n], (int) s.n, (const float *) x->data, x->nb[1], (int) x->ne[0],
            node->rows->hidden, node->rows->hidden_stride*sizeof(float), ith, nth);
    }
}

static void expand(ggml_tensor * dst, int ith, int nth, void * data) {
    const auto * node = (const Rows::Node *) data;
    const Rows::Span & s = *node->span;
    if (s.used[(size_t) node->target]) {
        lk_lora_expand(&s.rows[(size_t) node->target*s.n], (int) s.n, node->rows->hidden, node->rows->hidden_stride*sizeof(float),
            (float *) dst->data, dst->nb[1], (int) dst->ne[0], ith, nth);
    }
}

ggml_tensor * add_fused(ggml_context * ctx, Rows & rows, int target, ggml_tensor * y, ggml_tensor * x) {
    Rows::Node * node = rows.node(rows.span(x->ne[1]), target);
    ggml_tensor * order = ggml_custom_4d(ctx, GGML_TYPE_F32, 1, 1, 1, 1, &x, 1, shrink, GGML_N_TASKS_MAX, node);
    return ggml_custom_inplace(ctx, y, &order, 1, expand, GGML_N_TASKS_MAX, node);
}

// ---- mmid ------------------------------------------------------------------------------------------
// ggml's own operations over the stacked slots. They run on every back end and in plain F32: the oracle that
// the fused kernels are tested against, and the way where there are none.

ggml_tensor * add_mmid(ggml_context * ctx, Rows & rows, int target, ggml_tensor * y, ggml_tensor * x) {
    Rows::Span & s = rows.span(x->ne[1]);
    if (!s.slots) {
        s.slots = ggml_new_tensor_2d(ctx, GGML_TYPE_I32, 1, s.n);
        ggml_set_input(s.slots);
    }
    const Slots & slots = *rows.placement.slots;
    if (!ggml_is_contiguous(x)) {
        x = ggml_cont(ctx, x);
    }
    ggml_tensor * h = ggml_mul_mat_id(ctx, slots.a[(size_t) target], ggml_reshape_3d(ctx, x, x->ne[0], 1, x->ne[1]), s.slots); // (rank, 1, n)
    ggml_tensor * d = ggml_mul_mat_id(ctx, slots.b[(size_t) target], h, s.slots);                                              // (n_out, 1, n)
    return ggml_add(ctx, y, ggml_reshape_2d(ctx, d, d->ne[0], d->ne[2]));
}

// ---- embedding -------------------------------------------------------------------------------------
// Row t of W + s B A is W[t] + s B[t] A: a sum of `rank` rows of A. Both back ends add it this way.

static void embed(ggml_tensor * dst, int ith, int nth, void * data) {
    const auto * node = (const Rows::Node *) data;
    const Rows::Span & s = *node->span;
    const int32_t * ids = (const int32_t *) dst->src[1]->data;
    const int64_t width = dst->ne[0];
    for (int64_t i = ith; i < dst->ne[1]; i += nth) {
        float * y = (float *) ((char *) dst->data + i*dst->nb[1]);
        for (const Term & term : node->rows->placement.terms(s.seq[(size_t) i])) {
            const Plain & p = term.pack->plain[(size_t) node->target];
            const float * b = p.b.data() + (int64_t) ids[i]*p.rank;
            const float scale = term.scale*term.pack->scale[(size_t) node->target];
            for (int r = 0; r < p.rank; r++) {
                const float k = scale*b[r];
                const float * a = p.a.data() + r*width;
                for (int64_t e = 0; e < width; e++) {
                    y[e] += k*a[e];
                }
            }
        }
    }
}

ggml_tensor * add_embedding(ggml_context * ctx, Rows & rows, int target, ggml_tensor * y, ggml_tensor * ids) {
    return ggml_custom_inplace(ctx, y, &ids, 1, embed, GGML_N_TASKS_MAX, rows.node(rows.span(ids->ne[0]), target));
}

} // namespace lorikeet
