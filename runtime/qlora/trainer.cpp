#include "trainer.h"
#include <algorithm>
#include <string.h>

namespace lq {

namespace {

// The operations that a core of the kind does in about two milliseconds.
double two_milliseconds(int isa) {
    switch (isa) {
    case LQ_PORTABLE: return 2e7;
    case LQ_AVX2: return 1e8;
    case LQ_AVX512: return 2e8;
    case LQ_AMX: return 7e8;
    default: return 4e8;
    }
}

// Operations of one slice on one thread. A small model decodes in less than a millisecond, and a slice should not
// take long beside that.
double slice_flops(const lq_model & m, const lq_options & o) {
    if (o.slice_flops > 0) {
        return o.slice_flops;
    }
    double weights = 0;
    for (const Weight & w : m.layers[0].linear) {
        weights += (double) w.n_in*w.n_out*m.n_layers;
    }
    const double full = two_milliseconds(kernels_for(o.isa).isa);
    return std::max(full/10, std::min(full, full*weights/2e8));
}

} // namespace

Trainer::Trainer(const lq_model & m, const lq_options & o)
    : model(m), options(o), modules(o.modules, o.modules + o.n_modules), pool(o.threads), schedule(o.threads*slice_flops(m, o)) {
    options.modules = modules.data();
    loras = adapters_of(model, options, &parameters);
    first_layer = model.n_layers;
    by_target.assign(model.n_layers*LQ_LINEARS + LQ_TARGETS - LQ_LINEARS, nullptr);
    for (size_t i = 0; i < modules.size(); i++) {
        const lq_module & x = modules[i];
        by_target[x.target < LQ_LINEARS ? x.layer*LQ_LINEARS + x.target : model.n_layers*LQ_LINEARS + x.target - LQ_LINEARS] = &loras[i];
        if (x.target < LQ_LINEARS || x.target == LQ_EMBED) {
            first_layer = std::min(first_layer, x.target == LQ_EMBED ? 0 : x.layer);
        }
    }
    options.keep = std::min(options.keep, model.n_layers - first_layer);

    Arena count(nullptr);
    allocate(count, model, options, w);
    mapping = std::make_unique<Mapping>(count.bytes());
    Arena arena(mapping->base());
    allocate(arena, model, options, w);
    place_adapters();

    compute = {kernels_for(options.isa), &pool, w.scratch.data()};
    const float scale = model.attn_scale ? model.attn_scale : 1/__builtin_sqrtf((float) model.head_size);
    attention_shape = {model.n_heads, model.n_kv_heads, model.head_size, scale};
    rotary = {w.cos, w.sin, model.head_size, model.rope_neox != 0};
    init_magnitudes();
}

void Trainer::place_adapters() {
    for (size_t i = 0; i < loras.size(); i++) {
        Lora & l = loras[i];
        l.a = w.parameters + l.at_a;
        l.b = w.parameters + l.at_b;
        l.da = w.gradients + l.at_a;
        l.db = w.gradients + l.at_b;
        l.m = l.dora ? w.parameters + l.at_m : nullptr;
        l.dm = l.dora ? w.gradients + l.at_m : nullptr;
        l.row_norms = l.dora ? w.row_norms + l.at_norm : nullptr;
        l.gain = l.dora ? w.gains + l.at_norm : nullptr;
        draw(l, modules[i].target == LQ_EMBED);
    }
}

Activations & Trainer::activations(int layer) { return kept(layer) ? w.kept[layer - (model.n_layers - (int) w.kept.size())] : w.shared; }

void Trainer::set_batch(const int32_t * tokens, const int32_t * labels, int n, const int32_t * ends, int n_ends) {
    if (n <= 0 || n > options.max_tokens) {
        throw Error{LQ_INVALID, "a micro-batch has " + std::to_string(n) + " tokens; the trainer was made for 1 to " + std::to_string(options.max_tokens)};
    }
    sequences.clear();
    std::vector<int> pos(n);
    for (int i = 0, begin = 0; i < n_ends; i++) {
        if (ends[i] <= begin || ends[i] > n) {
            throw Error{LQ_INVALID, "the sequences' ends do not rise from 1 to the number of tokens"};
        }
        sequences.push_back({begin, ends[i]});
        for (int t = begin; t < ends[i]; t++) {
            pos[t] = t - begin;
        }
        begin = ends[i];
    }
    if (sequences.empty() || sequences.back().end != n) {
        throw Error{LQ_INVALID, "the sequences do not end with the last token"};
    }
    for (int t = 0; t < n; t++) {
        if (tokens[t] < 0 || tokens[t] >= model.n_vocab || labels[t] < -1 || labels[t] >= model.n_vocab) {
            throw Error{LQ_INVALID, "token or label " + std::to_string(t) + " is not in the vocabulary"};
        }
    }
    T = n;
    token.assign(tokens, tokens + n);
    label.assign(labels, labels + n);
    labelled.clear();
    for (int t = 0; t < n; t++) {
        if (label[t] >= 0) {
            labelled.push_back(t);
        }
    }
    blocks = query_blocks(attention_shape, sequences);
    wholes = whole_blocks(attention_shape, sequences);
    make_rotary(model, pos.data(), T, w.cos, w.sin);
}

void Trainer::begin(int m, const int32_t * tokens, const int32_t * labels, int n, const int32_t * ends, int n_ends, double norm) {
    if (m != LQ_EVAL && !(norm > 0)) {
        throw Error{LQ_INVALID, "norm must be positive: the step has no labelled token"};
    }
    set_batch(tokens, labels, n, ends, n_ends);
    schedule.clear();
    drop = m == LQ_EVAL ? 0 : options.dropout;
    if (m != LQ_EVAL) {
        micro = m == LQ_FURTHER ? micro + 1 : 0;
    }
    inv_norm = (float) (1/norm);
    if (m != LQ_FURTHER) {
        schedule_norms();
    }
    if (m == LQ_FIRST) {
        schedule.add([this] { memset(w.gradients, 0, parameters*sizeof(float)); });
    }
    schedule.add([this] { embed(); });
    for (int i = 0; i < model.n_layers; i++) {
        schedule_forward(i, activations(i), true);
    }
    schedule_loss(m != LQ_EVAL);
    if (m == LQ_EVAL || labelled.empty()) {
        return;
    }
    for (int i = model.n_layers - 1; i >= first_layer; i--) {
        if (!kept(i) && i != model.n_layers - 1) { // the last layer's are still in the shared activations
            schedule_forward(i, activations(i), false);
        }
        schedule_backward(i, activations(i), i > first_layer || trains(LQ_EMBED));
    }
    if (trains(LQ_EMBED)) {
        schedule.add([this] { embed_backward(); });
    }
}

bool Trainer::slice() {
    if (!schedule.finished()) {
        schedule.run_next();
    }
    return schedule.finished();
}

} // namespace lq
