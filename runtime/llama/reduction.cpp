#include "reduction.h"
#include "model.h"
#include <algorithm>
#include <cfloat>
#include <cmath>

namespace lorikeet {

enum { LEAST_TOP = 64, MOST_TOP = 512 };

Reduction::Wants Reduction::wants_of(const std::vector<const Sampler *> & samplers, int n_vocab) {
    Wants w;
    for (const Sampler * s : samplers) {
        const Sampler::Asks asks = s ? s->asks() : Sampler::ALL;
        w.best |= asks == Sampler::BEST;
        if (asks == Sampler::TOP && s->top() < std::min((int) MOST_TOP, n_vocab)) {
            for (w.top = std::max(w.top, (int) LEAST_TOP); w.top <= s->top(); w.top *= 2) {
            }
        }
    }
    w.top = std::min(w.top, n_vocab);
    return w;
}

// How many tokens of each row are as good as the best, which a device's ARGMAX chooses as it likes: 1 where x, the distance
// to the best one, is 0, summed up.
static ggml_tensor * count_ties(ggml_context * ctx, ggml_tensor * logits, ggml_tensor * best) {
    const int64_t n = logits->ne[1];
    ggml_tensor * most = ggml_get_rows(ctx, ggml_reshape_3d(ctx, logits, 1, logits->ne[0], n), ggml_reshape_2d(ctx, best, 1, n)); // (1, 1, n)
    ggml_tensor * x = ggml_sub(ctx, logits, ggml_reshape_2d(ctx, most, 1, n));
    return ggml_sum_rows(ctx, ggml_step(ctx, ggml_scale_bias(ctx, x, 1, FLT_MIN)));
}

// Whether a device computes a node and what it is computed from, down to `from`.
static bool supported(ggml_backend_dev_t device, const ggml_tensor * node, const ggml_tensor * from) {
    if (!node || node == from || node->op == GGML_OP_NONE) {
        return true;
    }
    return ggml_backend_dev_supports_op(device, node) && supported(device, node->src[0], from) && supported(device, node->src[1], from);
}

void Reduction::add(llm_graph_result & graph, ggml_backend_dev_t device) {
    built = wanted;
    logits = best = ties = top_ids = top_values = nullptr;
    ggml_tensor * l = graph.get_logits();
    if (!l || l->op == GGML_OP_CUSTOM || l->type != GGML_TYPE_F32 || !ggml_is_contiguous(l) || l->ne[1] == 0) {
        return; // it is computed on the host
    }
    ggml_context * ctx = graph.get_ctx();
    ggml_tensor * b = wanted.best ? ggml_argmax(ctx, l) : nullptr, * t = b ? count_ties(ctx, l, b) : nullptr;
    ggml_tensor * sorted = wanted.top > 0 ? ggml_argsort_top_k(ctx, l, wanted.top) : nullptr;
    ggml_tensor * values = sorted ? ggml_get_rows(ctx, ggml_reshape_3d(ctx, l, 1, l->ne[0], l->ne[1]), sorted) : nullptr;
    if (!supported(device, t, l) || !supported(device, values, l)) {
        return;
    }
    ggml_set_output(l);
    for (ggml_tensor * end : {b, t, sorted, values}) {
        if (end) {
            ggml_set_output(end);
            if (end->view_src) {
                ggml_set_output(end->view_src); // else its memory is free after its last use, and a back end may put other nodes after that
            }
            ggml_build_forward_expand(graph.get_gf(), end);
        }
    }
    logits = l;
    best = b;
    ties = t;
    top_ids = sorted;
    top_values = values;
    graph.t_logits = nullptr;
}

void Reduction::read() {
    const size_t n = (size_t) logits->ne[1], top = (size_t) built.top;
    if (best) {
        best_of.resize(n);
        ties_of.resize(n);
        ggml_backend_tensor_get(best, best_of.data(), 0, n*sizeof(int32_t));
        ggml_backend_tensor_get(ties, ties_of.data(), 0, n*sizeof(float));
    }
    if (top_values) {
        top_of.resize(n*top);
        values_of.resize(n*top);
        ggml_backend_tensor_get(top_values, values_of.data(), 0, n*top*sizeof(float));
        for (size_t i = 0; i < n; i++) { // a view of all tokens in order
            ggml_backend_tensor_get(top_ids, &top_of[i*top], i*top_ids->nb[1], top*sizeof(int32_t));
        }
    }
}

bool Reduction::draw(Sampler & s, int output, Scratch & scratch, llama_token & token) const {
    const size_t at = (size_t) output;
    if (s.asks() == Sampler::BEST && best && ties_of[at] == 1) {
        token = s.take_best(best_of[at]);
        return true;
    }
    const size_t top = (size_t) built.top, k = (size_t) s.top();
    if (s.asks() != Sampler::TOP || !top_values || k >= top) {
        return false;
    }
    const float * value = &values_of[at*top];
    if (!std::all_of(value, value + top, [](float x) { return std::isfinite(x); }) || value[k - 1] == value[top - 1]) {
        return false; // which of the equal ones are the first few is not told
    }
    std::vector<llama_token_data> & c = scratch.candidates;
    c.clear();
    for (size_t i = 0; i < top; i++) {
        c.push_back({top_of[at*top + i], value[i], 0});
    }
    std::sort(c.begin(), c.end(), better);
    c.resize(k);
    token = s.draw_top(c);
    return true;
}

const float * Reduction::row(int output) {
    one.resize((size_t) logits->ne[0]);
    ggml_backend_tensor_get(logits, one.data(), (size_t) output*logits->nb[1], one.size()*sizeof(float));
    copied++;
    return one.data();
}

} // namespace lorikeet
