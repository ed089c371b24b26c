// Attention in ranges of queries, so that the scores of one range exist at a time; going backward they are made again. Heads of a
// group share their keys and values: ggml's product repeats the first operand over them.
#include "graph_trainer.h"

namespace lq {

ggml_tensor * GraphTrainer::rope(Graph & g, ggml_tensor * x, bool back) {
    const float gain = model.rope_gain ? model.rope_gain : 1;
    const int mode = model.rope_neox ? GGML_ROPE_TYPE_NEOX : GGML_ROPE_TYPE_NORMAL;
    const auto f = back ? ggml_rope_ext_back : ggml_rope_ext;
    return g.add(f(g.ctx(), x, g.add(ggml_view_1d(g.ctx(), positions, T, 0)), rope_factors, model.head_size, mode, 0, model.rope_base, 1, 0, gain, 0, 0));
}

namespace {

// A part of the positions as an operand of a product. A copy: ggml's products on Vulkan take a matrix's size for the distance of
// one to the next, whatever it is.
ggml_tensor * operand(Graph & g, ggml_tensor * a, int from, int n) { return g.contiguous(g.part(a, from, n)); }

} // namespace

// (keys, queries, heads)
ggml_tensor * GraphTrainer::probabilities(Graph & g, const LayerNodes & n, const QueryRange & r, ggml_tensor * q) {
    ggml_tensor * scores = g.mul_mat(operand(g, n.k, r.first, r.keys()), q);
    return g.add(ggml_soft_max_ext(g.ctx(), scores, g.view(masks, r.mask, r.keys(), r.queries()), scale(), 0));
}

// (head_size*heads, T)
ggml_tensor * GraphTrainer::attention(Graph & g, const LayerNodes & n) {
    ggml_tensor * out = g.view(attended, 0, model.head_size, T, model.n_heads);
    for (const QueryRange & r : ranges) {
        ggml_tensor * p = probabilities(g, n, r, operand(g, n.q, r.begin, r.queries()));
        ggml_tensor * v = g.transposed(g.part(n.v, r.first, r.keys())); // (keys, head_size, kv_heads)
        g.copy(g.mul_mat(v, p), g.part(out, r.begin, r.queries()));
    }
    return g.reshaped(g.swapped(out), (int64_t) model.head_size*model.n_heads, T);
}

namespace {

// Adds a range's part to dk or dv: positions before the range had theirs from earlier ranges, those of the range are new.
void accumulate(Graph & g, const QueryRange & r, ggml_tensor * part, ggml_tensor * to) {
    const int before = r.begin - r.first;
    if (before > 0) {
        g.add(ggml_add_inplace(g.ctx(), g.part(to, r.first, before), g.part(part, 0, before)));
    }
    g.copy(g.part(part, before, r.queries()), g.part(to, r.begin, r.queries()));
}

} // namespace

// Writes dq, dk and dv, from d_o (head_size, T, heads).
void GraphTrainer::attention_back(Graph & g, const LayerNodes & n, ggml_tensor * d_o) {
    const int64_t size = model.head_size, kv = model.n_kv_heads, group = model.n_heads/kv;
    ggml_tensor * to_q = g.view(dq, 0, size, T, model.n_heads), * to_k = g.view(dk, 0, size, T, kv), * to_v = g.view(dv, 0, size, T, kv);
    for (const QueryRange & r : ranges) {
        // The queries of a group's heads one below the other, transposed: (queries*group, *, kv_heads).
        const auto grouped = [&](ggml_tensor * t) { return g.transposed(g.reshaped(g.contiguous(t), t->ne[0], r.queries()*group, kv)); };
        ggml_tensor * q = operand(g, n.q, r.begin, r.queries()), * dy = operand(g, d_o, r.begin, r.queries());
        ggml_tensor * p = probabilities(g, n, r, q);
        ggml_tensor * transposed_p = grouped(p);
        ggml_tensor * dp = g.mul_mat(operand(g, n.v, r.first, r.keys()), dy); // (keys, queries, heads)
        accumulate(g, r, g.mul_mat(grouped(dy), transposed_p), to_v);
        ggml_tensor * ds = g.add(ggml_soft_max_ext_back(g.ctx(), dp, p, scale(), 0));
        g.copy(g.mul_mat(g.transposed(g.part(n.k, r.first, r.keys())), ds), g.part(to_q, r.begin, r.queries()));
        accumulate(g, r, g.mul_mat(grouped(q), grouped(ds)), to_k);
    }
}

} // namespace lq
