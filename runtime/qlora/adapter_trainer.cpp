#include "adapter_trainer.h"
#include "random.h"
#include <algorithm>
#include <cmath>

namespace lq {

AdapterTrainer::AdapterTrainer(const lq_model & m, lq_workspace & w, const lq_options & o, double slice_flops)
    : model(m), options(o), modules(o.modules, o.modules + o.n_modules), whole_norms(o.norms, o.norms + o.n_norms), shared(w), pool(w.threads(o.threads)), schedule(o.threads*slice_flops) {
    options.modules = modules.data();
    options.norms = whole_norms.data();
    loras = adapters_of(model, options, &parameters);
    own_norms = norms_of(model, options, &parameters);
    first_layer = model.n_layers;
    by_target.assign(model.n_layers*LQ_LINEARS + LQ_TARGETS - LQ_LINEARS, nullptr);
    for (size_t i = 0; i < modules.size(); i++) {
        const lq_module & x = modules[i];
        by_target[x.target < LQ_LINEARS ? x.layer*LQ_LINEARS + x.target : model.n_layers*LQ_LINEARS + x.target - LQ_LINEARS] = &loras[i];
        if (x.target < LQ_LINEARS || x.target == LQ_EMBED) {
            first_layer = std::min(first_layer, x.target == LQ_EMBED ? 0 : x.layer);
        }
    }
    by_norm.assign(model.n_layers*LQ_LAYER_NORMS + 1, nullptr);
    for (const OwnNorm & o : own_norms) {
        by_norm[o.norm < LQ_LAYER_NORMS ? o.layer*LQ_LAYER_NORMS + o.norm : model.n_layers*LQ_LAYER_NORMS] = &o;
        first_layer = o.norm < LQ_LAYER_NORMS ? std::min(first_layer, o.layer) : first_layer;
    }
}

AdapterTrainer::~AdapterTrainer() {
    give_back();
    shared.leave(&need);
}

void AdapterTrainer::allocate_own() {
    mapping = std::make_unique<Mapping>(array_bytes(model, options));
    Arena arena(mapping->base());
    allocate_arrays(arena, model, options, arrays);
    for (Lora & l : loras) {
        l.a = arrays.parameters + l.at_a;
        l.b = arrays.parameters + l.at_b;
        l.da = arrays.gradients + l.at_a;
        l.db = arrays.gradients + l.at_b;
        l.m = l.dora ? arrays.parameters + l.at_m : nullptr;
        l.dm = l.dora ? arrays.gradients + l.at_m : nullptr;
        l.row_norms = l.dora ? arrays.row_norms + l.at_norm : nullptr;
        l.gain = l.dora ? arrays.gains + l.at_norm : nullptr;
    }
    for (OwnNorm & o : own_norms) {
        o.w = arrays.parameters + o.at;
        o.dw = arrays.gradients + o.at;
    }
}

void AdapterTrainer::join(const WorkspaceNeed & n) {
    need = n;
    shared.join(&need);
}

void AdapterTrainer::check_batch(int mode, const lq_batch & b) const {
    const auto bad = [](const std::string & message) { throw Error{LQ_INVALID, message}; };
    if (mode != LQ_EVAL && !(b.norm > 0)) {
        bad("norm must be positive: the step has no labelled token");
    }
    if (mode != LQ_EVAL && b.base) {
        bad("the base model is evaluated, not trained: base needs the mode of an evaluation");
    }
    if (b.n <= 0 || b.n > options.max_tokens) {
        bad("a micro-batch has " + std::to_string(b.n) + " tokens; the trainer was made for 1 to " + std::to_string(options.max_tokens));
    }
    for (int i = 0, begin = 0; i < b.n_ends; begin = b.ends[i++]) {
        if (b.ends[i] <= begin || b.ends[i] > b.n) {
            bad("the sequences' ends do not rise from 1 to the number of tokens");
        }
        if (b.active && (b.active[i] < begin || b.active[i] > b.ends[i])) {
            bad("the adapter acts from position " + std::to_string(b.active[i]) + " on, which is not one of its sequence");
        }
    }
    if (b.active && !options.activated) {
        bad("the adapter acts on every token: there are no positions from which on it does");
    }
    if (b.n_ends <= 0 || b.ends[b.n_ends - 1] != b.n) {
        bad("the sequences do not end with the last token");
    }
    for (int t = 0; t < b.n; t++) {
        if (b.tokens[t] < 0 || b.tokens[t] >= model.n_vocab || b.labels[t] < -1 || b.labels[t] >= model.n_vocab) {
            bad("token or label " + std::to_string(t) + " is not in the vocabulary");
        }
        if (b.weights && !std::isfinite(b.weights[t])) {
            bad("the weight of token " + std::to_string(t) + " is not a finite number");
        }
    }
}

std::vector<int> AdapterTrainer::take_batch(int mode, const lq_batch & b) {
    schedule.clear();
    check_batch(mode, b);
    result.n_tokens = 0;
    result.log_probs = result.entropies = nullptr;
    T = b.n;
    token.assign(b.tokens, b.tokens + T);
    label.assign(b.labels, b.labels + T);
    weight.assign(b.weights, b.weights + (b.weights ? T : 0));
    base = b.base != 0;
    entropies = b.entropies != 0;
    labelled.clear();
    for (int t = 0; t < T; t++) {
        if (label[t] >= 0) {
            labelled.push_back(t);
        }
    }
    take_active(b);
    losses.assign(labelled.size(), {});
    log_probs.assign(T, 0);
    entropy.assign(entropies ? T : 0, 0);
    sequences.clear();
    std::vector<int> pos(T);
    for (int i = 0, begin = 0; i < b.n_ends; begin = b.ends[i++]) {
        sequences.push_back({begin, b.ends[i]});
        for (int t = begin; t < b.ends[i]; t++) {
            pos[t] = t - begin;
        }
    }
    drop = mode == LQ_EVAL ? 0 : options.dropout;
    noise = mode == LQ_EVAL ? 0 : options.noise;
    if (mode != LQ_EVAL) {
        micro = mode == LQ_FURTHER ? micro + 1 : 0;
    }
    inv_norm = (float) (1/b.norm);
    return pos;
}

void AdapterTrainer::begin(int m, const lq_batch & b) {
    give_back();
    waiting = false;
    position = take_batch(m, b);
    mode = m;
    waiting = true;
}

bool AdapterTrainer::take(size_t most) {
    if (!borrowed) {
        if (!take_workspace(most)) {
            return false;
        }
        borrowed = true;
        schedule.clear();
        if (!started) {
            schedule_start();
        }
        if (waiting) {
            schedule_batch(position);
        }
        waiting = false;
    }
    return true;
}

// What is not finished is dropped: it would go on in memory that is another one's.
void AdapterTrainer::give_back() {
    if (borrowed) {
        schedule.clear();
        shared.give_back();
        borrowed = false;
    }
}

void AdapterTrainer::take_active(const lq_batch & b) {
    active.assign(options.activated ? T : 0, 1);
    active_labelled.clear();
    for (int i = 0, begin = 0; b.active && i < b.n_ends; begin = b.ends[i++]) {
        std::fill(active.begin() + begin, active.begin() + b.active[i], 0);
    }
    for (size_t i = 0; options.activated && i < labelled.size(); i++) {
        active_labelled.push_back(active[labelled[i]]);
    }
}

uint64_t AdapterTrainer::mask_key(const Lora & l) const { return random_key(random_key(l.key, steps), micro); }

bool AdapterTrainer::slices(double seconds, double * longest) {
    *longest = 0;
    for (double took = 0; !schedule.finished();) {
        const double last = schedule.run_next();
        *longest = std::max(*longest, last);
        took += last;
        if (took + schedule.expected() > seconds) {
            break;
        }
    }
    return schedule.finished();
}

} // namespace lq
