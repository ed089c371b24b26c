// Norms whose weights the adapter has its own of, in graphs. See own_norms.cpp.
#include "graph_trainer.h"

namespace lq {

ggml_tensor * GraphTrainer::base_norm(int layer, int norm) const {
    if (norm == LQ_OUT_NORM) {
        return graphs.out_norm;
    }
    const GraphLayer & l = graphs.layers[layer];
    ggml_tensor * const weights[LQ_LAYER_NORMS] = {l.attn_norm, l.ffn_norm, l.q_norm, l.k_norm};
    return weights[norm];
}

// Of a layer without norms of q and k: NULL for these.
ggml_tensor * GraphTrainer::norm_weight(int layer, int norm) const {
    const OwnNorm * own = own_norm(layer, norm);
    return own ? norms_there[own - own_norms.data()] : base_norm(layer, norm);
}

void GraphTrainer::read_norm(const OwnNorm & o, float * to) { ggml_backend_tensor_get(base_norm(o.layer, o.norm), to, 0, o.n*sizeof(float)); }

// The sum over the rows of dy .* x/rms(x) is added to the norm's gradient, where its weight is the adapter's own. x and dy are (n, ...).
void GraphTrainer::add_norm_gradient(Graph & g, int layer, int norm, ggml_tensor * dy, ggml_tensor * x) {
    const OwnNorm * own = own_norm(layer, norm);
    if (!own) {
        return;
    }
    ggml_tensor * y = g.contiguous(g.mul(dy, g.add(ggml_rms_norm(g.ctx(), x, model.norm_eps))));
    y = g.reshaped(y, own->n, ggml_nelements(y)/own->n);
    add_gradient(g, g.add(ggml_sum_rows(g.ctx(), g.transposed(y))), own->dw, (size_t) own->n);
}

} // namespace lq
