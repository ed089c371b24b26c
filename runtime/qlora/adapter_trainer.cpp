#include "adapter_trainer.h"
#include "random.h"
#include <algorithm>

namespace lq {

AdapterTrainer::AdapterTrainer(const lq_model & m, const lq_options & o, double slice_flops)
    : model(m), options(o), modules(o.modules, o.modules + o.n_modules), pool(o.threads), schedule(o.threads*slice_flops) {
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
}

void AdapterTrainer::place_adapters() {
    for (size_t i = 0; i < loras.size(); i++) {
        Lora & l = loras[i];
        l.a = arrays.parameters + l.at_a;
        l.b = arrays.parameters + l.at_b;
        l.da = arrays.gradients + l.at_a;
        l.db = arrays.gradients + l.at_b;
        l.m = l.dora ? arrays.parameters + l.at_m : nullptr;
        l.dm = l.dora ? arrays.gradients + l.at_m : nullptr;
        l.row_norms = l.dora ? arrays.row_norms + l.at_norm : nullptr;
        l.gain = l.dora ? arrays.gains + l.at_norm : nullptr;
        draw(l, modules[i].target == LQ_EMBED);
    }
}

// The magnitudes of a new adapter are the norms themselves: with B zero the gains are 1, to the bit.
void AdapterTrainer::init_magnitudes() {
    while (!schedule.finished()) {
        schedule.run_next();
    }
    schedule.clear();
    for (const Lora & l : loras) {
        if (l.dora) {
            std::copy(l.row_norms, l.row_norms + l.n_out, l.m);
        }
    }
}

std::vector<int> AdapterTrainer::take_batch(const int32_t * tokens, const int32_t * labels, int n, const int32_t * ends, int n_ends) {
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
    return pos;
}

void AdapterTrainer::check_norm(int mode, double norm) {
    if (mode != LQ_EVAL && !(norm > 0)) {
        throw Error{LQ_INVALID, "norm must be positive: the step has no labelled token"};
    }
}

void AdapterTrainer::start(int mode, double norm) {
    schedule.clear();
    drop = mode == LQ_EVAL ? 0 : options.dropout;
    if (mode != LQ_EVAL) {
        micro = mode == LQ_FURTHER ? micro + 1 : 0;
    }
    inv_norm = (float) (1/norm);
}

uint64_t AdapterTrainer::mask_key(const Lora & l) const { return random_key(random_key(l.key, steps), micro); }

bool AdapterTrainer::slice() {
    if (!schedule.finished()) {
        schedule.run_next();
    }
    return schedule.finished();
}

} // namespace lq
