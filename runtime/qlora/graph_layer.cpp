// A transformer layer as a graph: x + o(attention(norm(x))), then + down(silu(gate(norm)) * up(norm)); and its backward.
#include "graph_trainer.h"

namespace lq {

// Its output (n_embd, T); without whole only what backward reads, and NULL.
ggml_tensor * GraphTrainer::forward(Graph & g, int layer, LayerNodes & n, bool whole) {
    n.active = {T, active_rows()};
    for (int i = 0; i < LQ_LINEARS; i++) {
        n.linear[i] = use(layer, i, n.active);
    }
    n.x = residual(g, layer);
    ggml_tensor * normed = g.norm(n.x, norm_weight(layer, LQ_ATTN_NORM), model.norm_eps);
    const auto turned = [&](int target, int heads, ggml_tensor * norm, ggml_tensor ** raw) {
        ggml_tensor * y = g.reshaped(linear(g, n.linear[target], normed), model.head_size, heads, T);
        if (norm) {
            *raw = y;
            y = g.norm(y, norm, model.norm_eps);
        }
        return g.swapped(rope(g, y, false));
    };
    n.q = turned(LQ_Q, model.n_heads, norm_weight(layer, LQ_Q_NORM), &n.q_raw);
    n.k = turned(LQ_K, model.n_kv_heads, norm_weight(layer, LQ_K_NORM), &n.k_raw);
    n.v = g.swapped(g.reshaped(linear(g, n.linear[LQ_V], normed), model.head_size, model.n_kv_heads, T));
    n.middle = g.sum(n.x, linear(g, n.linear[LQ_O], attention(g, n)));

    normed = g.norm(n.middle, norm_weight(layer, LQ_FFN_NORM), model.norm_eps);
    n.gate = linear(g, n.linear[LQ_GATE], normed);
    n.up = linear(g, n.linear[LQ_UP], normed);
    n.silu = g.add(ggml_silu(g.ctx(), n.gate));
    LinearNodes & down = n.linear[LQ_DOWN];
    if (!whole && !down.lora) {
        return nullptr;
    }
    ggml_tensor * y = linear(g, down, g.mul(n.silu, n.up), whole);
    return whole ? g.sum(n.middle, y) : nullptr;
}

GraphTrainer::GraphPtr GraphTrainer::forward_graph(int layer) {
    GraphPtr g = graph();
    LayerNodes n = {};
    g->copy(forward(*g, layer, n, true), residual(*g, layer + 1));
    return g;
}

// The gradient of q's or k's linear layer, from that after RoPE (head_size, T, heads) in a flat tensor. raw is what went into the
// norm; NULL: there is none.
ggml_tensor * GraphTrainer::heads_back(Graph & g, ggml_tensor * from, ggml_tensor * raw, int layer, int norm, int heads) {
    ggml_tensor * d = rope(g, g.swapped(g.view(from, 0, model.head_size, T, heads)), true);
    if (raw) {
        add_norm_gradient(g, layer, norm, d, raw);
        d = g.norm_back(d, raw, norm_weight(layer, norm), model.norm_eps);
    }
    return g.reshaped(d, (int64_t) model.head_size*heads, T);
}

// grad comes in as the gradient of the layer's output and leaves as that of its input.
GraphTrainer::GraphPtr GraphTrainer::backward_graph(int layer, bool input_needed) {
    const bool normed_needed = input_needed || own_norm(layer, LQ_ATTN_NORM);
    GraphPtr made = graph();
    Graph & g = *made;
    LayerNodes n = {};
    forward(g, layer, n, false);

    ggml_tensor * dy = g.view(grad, 0, model.n_embd, T);
    ggml_tensor * d_act = linear_back(g, n.linear[LQ_DOWN], dy, true);
    ggml_tensor * d_gate = g.silu_back(g.mul(d_act, n.up), n.gate);
    ggml_tensor * d_normed = linear_back(g, n.linear[LQ_GATE], d_gate, true);
    d_normed = g.sum(d_normed, linear_back(g, n.linear[LQ_UP], g.mul(d_act, n.silu), true));
    add_norm_gradient(g, layer, LQ_FFN_NORM, d_normed, n.middle);
    ggml_tensor * d_middle = g.sum(dy, g.norm_back(d_normed, n.middle, norm_weight(layer, LQ_FFN_NORM), model.norm_eps));

    ggml_tensor * d_attended = linear_back(g, n.linear[LQ_O], d_middle, true);
    attention_back(g, n, g.swapped(g.reshaped(d_attended, model.head_size, model.n_heads, T)));
    d_normed = linear_back(g, n.linear[LQ_Q], heads_back(g, dq, n.q_raw, layer, LQ_Q_NORM, model.n_heads), normed_needed);
    ggml_tensor * from_k = linear_back(g, n.linear[LQ_K], heads_back(g, dk, n.k_raw, layer, LQ_K_NORM, model.n_kv_heads), normed_needed);
    ggml_tensor * d_v = g.swapped(g.view(dv, 0, model.head_size, T, model.n_kv_heads));
    ggml_tensor * from_v = linear_back(g, n.linear[LQ_V], g.reshaped(d_v, (int64_t) model.head_size*model.n_kv_heads, T), normed_needed);
    if (normed_needed) {
        d_normed = g.sum(g.sum(d_normed, from_k), from_v);
        add_norm_gradient(g, layer, LQ_ATTN_NORM, d_normed, n.x);
    }
    if (input_needed) {
        g.copy(g.sum(d_middle, g.norm_back(d_normed, n.x, norm_weight(layer, LQ_ATTN_NORM), model.norm_eps)), dy);
    }
    return made;
}

} // namespace lq
