// Weights of norms that an adapter has its own of: packed as differences to the base's, and the nodes that multiply each row
// with its own. They stand in the place of llama.cpp's product of the normed rows and the base's weight. On the CPU that is one
// node of ours. On a device the differences lie in slots (slots.h), and ggml's operations sum them.
#include "hooks.h"
#include <cmath>

namespace lorikeet {

void Pack::add_norm(int norm, const float * values) {
    if (norm < 0 || (size_t) norm >= model->norms.size()) {
        throw std::runtime_error("there is no such norm");
    }
    const Norm & n = model->norms[(size_t) norm];
    if (norms.count(norm)) {
        throw std::runtime_error(n.name + " occurs twice");
    }
    const InArena<float> d = in_arena<float>(nullptr, (size_t) n.width);
    const float most = n.on_device() && !f32 ? HALF_MOST : 3e38f; // of a value in its slot
    for (int i = 0; i < n.width; i++) {
        d[(size_t) i] = values[i] - n.base[(size_t) i];
        if (!(std::fabs(d[(size_t) i]) <= most)) {
            throw std::runtime_error(n.name + ": value " + std::to_string(i) + " is not a finite number of a weight's size");
        }
    }
    norms[norm] = d;
}

// to (width) = from times the base's weight w plus the terms' differences to it.
static void multiply(const std::vector<Term> & terms, int norm, const float * from, const float * w, float * to, int64_t width) {
    const float * d[MAX_TERMS];
    float scale[MAX_TERMS];
    int n = 0;
    for (const Term & term : terms) {
        const auto own = term.pack->norms.find(norm);
        if (own != term.pack->norms.end()) {
            d[n] = own->second.data();
            scale[n++] = term.scale;
        }
    }
    for (int64_t e = 0; e < width; e++) {
        float factor = w[e];
        for (int k = 0; k < n; k++) {
            factor += scale[k]*d[k][e];
        }
        to[e] = from[e]*factor;
    }
}

static void run_norm(ggml_tensor * dst, int ith, int nth, void * data) {
    const auto * node = (const Rows::Node *) data;
    const ggml_tensor * x = dst->src[0], * w = dst->src[1];
    const bool by_head = node->rows->mixes.model->norms[(size_t) node->target].by_head;
    const int64_t heads = by_head ? dst->ne[1] : 1, rows = by_head ? dst->ne[2] : dst->ne[1];
    const size_t from_row = by_head ? x->nb[2] : x->nb[1], to_row = by_head ? dst->nb[2] : dst->nb[1];
    for (int64_t i = ith; i < rows; i += nth) {
        const std::vector<Term> & terms = node->rows->mixes.terms(node->span->mix[(size_t) i]);
        for (int64_t h = 0; h < heads; h++) {
            multiply(terms, node->target, (const float *) ((const char *) x->data + (size_t) i*from_row + (size_t) h*x->nb[1]),
                (const float *) w->data, (float *) ((char *) dst->data + (size_t) i*to_row + (size_t) h*dst->nb[1]), dst->ne[0]);
        }
    }
}

// The weight of each row, (width, rows), and x times that. A row without norms of its own has the base's weight plus 0.
static ggml_tensor * multiply_on_device(ggml_context * ctx, Rows & rows, const Norm & n, ggml_tensor * x) {
    const int64_t count = n.by_head ? x->ne[2] : x->ne[1];
    if (count == 0) {
        return real_mul(ctx, x, const_cast<ggml_tensor *>(n.weight)); // no row of the ubatch has an output
    }
    ggml_tensor * w = ggml_add(ctx, norms_in_slots(ctx, rows, n.host, n.width, count), const_cast<ggml_tensor *>(n.weight));
    return real_mul(ctx, x, n.by_head ? ggml_reshape_3d(ctx, w, n.width, 1, count) : w);
}

ggml_tensor * multiply_norm(ggml_context * ctx, Rows & rows, int norm, ggml_tensor * x) {
    const Norm & n = rows.mixes.model->norms[(size_t) norm];
    if (x->type != GGML_TYPE_F32 || x->nb[0] != sizeof(float) || x->ne[0] != n.width || x->ne[3] != 1 || (!n.by_head && x->ne[2] != 1)) {
        throw std::runtime_error(n.name + ": the graph multiplies it with something that is not a batch of rows");
    }
    if (n.on_device()) {
        return multiply_on_device(ctx, rows, n, x);
    }
    ggml_tensor * args[] = {x, const_cast<ggml_tensor *>(n.weight)};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, x->ne[0], x->ne[1], x->ne[2], 1, args, 2, run_norm, GGML_N_TASKS_MAX,
        rows.node(rows.span(n.by_head ? x->ne[2] : x->ne[1]), norm));
}

} // namespace lorikeet
