// Norms whose weights the adapter has its own of: they train whole, beside the low-rank updates.
#include "trainer.h"
#include <algorithm>

namespace lq {

namespace {

int width_of(const lq_model & m, int norm) { return norm == LQ_Q_NORM || norm == LQ_K_NORM ? m.head_size : m.n_embd; }

} // namespace

std::vector<OwnNorm> norms_of(const lq_model & m, const lq_options & o, size_t * parameters) {
    std::vector<OwnNorm> norms;
    for (int i = 0; i < o.n_norms; i++) {
        const lq_whole_norm & x = o.norms[i];
        norms.push_back({x.norm < LQ_LAYER_NORMS ? x.layer : 0, x.norm, width_of(m, x.norm), *parameters, nullptr, nullptr});
        *parameters += (size_t) norms.back().n;
    }
    return norms;
}

static const float * base_norm(const lq_model & m, int layer, int norm) {
    if (norm == LQ_OUT_NORM) {
        return m.out_norm;
    }
    const lq_layer & l = m.layers[layer];
    const float * weights[LQ_LAYER_NORMS] = {l.attn_norm, l.ffn_norm, l.q_norm, l.k_norm};
    return weights[norm];
}

const float * Trainer::norm_weight(int layer, int norm) const {
    const OwnNorm * own = own_norm(layer, norm);
    return own ? own->w : base_norm(model, layer, norm);
}

void Trainer::read_norm(const OwnNorm & o, float * to) { std::copy_n(base_norm(model, o.layer, o.norm), o.n, to); }

// dw += the sum over the rows of dy .* x/rms(x), x and dy (rows, n) before and behind the norm; nothing where the weight is the
// base's. An element is summed by one thread in one order.
void Trainer::add_norm_gradient(int layer, int norm, const float * x, const float * dy, int rows) {
    const OwnNorm * own = own_norm(layer, norm);
    if (own) {
        rms_norm_weight_backward(compute, x, dy, model.norm_eps, rows, own->n, w.inverse_rms, own->dw);
    }
}

} // namespace lq
