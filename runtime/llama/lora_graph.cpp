// The nodes of our kernels that add adapters to a product, and those of the embedding.
#include "hooks.h"
#include <algorithm>

namespace lorikeet {

// ---- fused -----------------------------------------------------------------------------------------
// hidden = A x for every row and every product of x, in one node; then y += scale B hidden. The first node's tensor
// holds the prepared activations, or is one float that nothing reads and that is there to order the others after it.
// The hidden rows are not a tensor of the graph, because their width follows from the sequences' adapters, which change
// under the same graph.

void Rows::Group::shrink(const ggml_tensor * x, int ith, int nth) const {
    for (size_t slot = 0; slot < targets.size(); slot++) {
        if (span->used[(size_t) targets[slot]]) {
            lk_lora_shrink(&span->rows[(size_t) targets[slot]*span->n], (int) span->n, (const float *) x->data, x->nb[1], (int) x->ne[0],
                rows->hidden_of((int) slot), rows->hidden_stride*sizeof(float), ith, nth);
        }
    }
}

int Rows::Group::prefetch_pieces(int slot, int ith, int nth, lk_piece * out, int capacity) const {
    enum { FEW = 64 }; // rows beyond that hardly wait for the adapters' memory
    int n = 0;
    for (size_t i = 0; next && next->span->n <= FEW && i < next->targets.size(); i++) {
        const int target = next->targets[i];
        if (next->span->used[(size_t) target]) {
            n += lk_lora_pieces(&next->span->rows[(size_t) target*next->span->n], (int) next->span->n,
                rows->mixes.model->targets[(size_t) target].n_in, ith, nth, out + n, capacity - n);
        }
    }
    const int of = (int) targets.size(), begin = n*slot/of, end = n*(slot + 1)/of;
    std::copy(out + begin, out + end, out);
    return end - begin;
}

static void shrink(ggml_tensor * dst, int ith, int nth, void * group) { ((const Rows::Group *) group)->shrink(dst->src[0], ith, nth); }

static void expand(ggml_tensor * dst, int ith, int nth, void * data) {
    const auto * node = (const Rows::Node *) data;
    const Rows::Span & s = *node->span;
    if (s.used[(size_t) node->target]) {
        lk_lora_expand(&s.rows[(size_t) node->target*s.n], (int) s.n, node->rows->hidden_of(node->slot),
            node->rows->hidden_stride*sizeof(float), (float *) dst->data, dst->nb[1], (int) dst->ne[0], ith, nth);
    }
}

ggml_tensor * add_fused(ggml_context * ctx, Rows & rows, int target, ggml_tensor * y, ggml_tensor * x) {
    Rows::Group & g = rows.group(x);
    if (!g.prepared) {
        g.prepared = ggml_custom_4d(ctx, GGML_TYPE_F32, 1, 1, 1, 1, &x, 1, shrink, GGML_N_TASKS_MAX, &g);
    }
    return ggml_custom_inplace(ctx, y, &g.prepared, 1, expand, GGML_N_TASKS_MAX, rows.node(g, target));
}

static void prepare_and_shrink(ggml_tensor * dst, int ith, int nth, void * data) {
    const auto * group = (const Rows::Group *) data;
    const ggml_tensor * x = dst->src[0];
    const int n_in = (int) x->ne[0];
    lk_nf4_activations(group->mode, n_in, (const float *) x->data, x->nb[1], (int) x->ne[1],
        aligned(dst), lk_nf4_activation_bytes(group->mode, n_in), ith, nth);
    group->shrink(x, ith, nth);
}

static void multiply_and_expand(ggml_tensor * dst, int ith, int nth, void * data) {
    enum { CAPACITY = 256 };
    const auto * node = (const Rows::Node *) data;
    const Rows::Span & s = *node->span;
    const ggml_tensor * xq = dst->src[0];
    lk_piece ahead[CAPACITY];
    const int n = node->group->prefetch_pieces(node->slot, ith, nth, ahead, CAPACITY);
    lk_nf4_matmul_lora(node->weight, aligned(xq), xq->nb[1], &s.rows[(size_t) node->target*s.n], (int) s.n, node->rows->hidden_of(node->slot),
        node->rows->hidden_stride*sizeof(float), (float *) dst->data, dst->nb[1], ahead, n, ith, nth);
}

ggml_tensor * nf4_fused(ggml_context * ctx, Rows & rows, int target, const lk_nf4 * w, int mode, int n_out, ggml_tensor * x) {
    Rows::Group & g = rows.group(x);
    if (mode == LK_NF4_F32 || (g.prepared && g.mode != mode)) {
        return nullptr;
    }
    if (!g.prepared) {
        g.mode = mode;
        // One row more than there are: space to begin at a multiple of 64 bytes.
        const int64_t row = (int64_t) lk_nf4_activation_bytes(mode, (int) x->ne[0]);
        g.prepared = ggml_custom_4d(ctx, GGML_TYPE_I8, row, x->ne[1] + 1, 1, 1, &x, 1, prepare_and_shrink, GGML_N_TASKS_MAX, &g);
    }
    Rows::Node * node = rows.node(g, target);
    node->weight = w;
    return ggml_custom_4d(ctx, GGML_TYPE_F32, n_out, x->ne[1], 1, 1, &g.prepared, 1, multiply_and_expand, GGML_N_TASKS_MAX, node);
}

// ---- embedding -------------------------------------------------------------------------------------
// Row t of W + s B A is W[t] + s B[t] A: a sum of `rank` rows of A. Both back ends add it this way. DoRA's gains of
// the columns meet the base's row first.

static void gain_row(const std::vector<Term> & terms, int target, float * y, int64_t width) {
    auto gain = [target](const Term & t) -> const InArena<float> & { return t.pack->plain[(size_t) target].gain; };
    if (std::all_of(terms.begin(), terms.end(), [&](const Term & t) { return gain(t).empty(); })) {
        return;
    }
    for (int64_t e = 0; e < width; e++) {
        float sum = 0;
        for (const Term & t : terms) {
            sum += gain(t).empty() ? 0 : t.scale*gain(t)[(size_t) e];
        }
        y[e] += sum*y[e];
    }
}

static void embed(ggml_tensor * dst, int ith, int nth, void * data) {
    const auto * node = (const Rows::Node *) data;
    const Rows::Span & s = *node->span;
    const int32_t * ids = (const int32_t *) dst->src[1]->data;
    const int64_t width = dst->ne[0];
    for (int64_t i = ith; i < dst->ne[1]; i += nth) {
        float * y = (float *) ((char *) dst->data + i*dst->nb[1]);
        const std::vector<Term> & terms = node->rows->mixes.terms(s.mix[(size_t) i]);
        gain_row(terms, node->target, y, width);
        for (const Term & term : terms) {
            const Plain & p = term.pack->plain[(size_t) node->target];
            const float * b = p.floats_b() + (int64_t) ids[i]*p.rank;
            const float scale = term.scale*term.pack->scale[(size_t) node->target];
            for (int r = 0; r < p.rank; r++) {
                const float k = scale*b[r];
                const float * a = p.floats_a() + r*width;
                for (int64_t e = 0; e < width; e++) {
                    y[e] += k*a[e];
                }
            }
            const auto replaced = term.pack->rows.find(node->target);
            if (const uint8_t * d = replaced == term.pack->rows.end() ? nullptr : replaced->second.of(ids[i])) {
                for (int64_t e = 0; e < width; e++) {
                    y[e] += term.scale*(replaced->second.f32 ? ((const float *) d)[e] : ggml_fp16_to_fp32(((const ggml_fp16_t *) d)[e]));
                }
            }
        }
    }
}

ggml_tensor * add_embedding(ggml_context * ctx, Rows & rows, int target, ggml_tensor * y, ggml_tensor * ids) {
    return ggml_custom_inplace(ctx, y, &ids, 1, embed, GGML_N_TASKS_MAX, rows.node(rows.span(ids->ne[0]), target));
}

} // namespace lorikeet
