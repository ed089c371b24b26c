// One turn: a batch through the model, and what its rows ask for: tokens that are drawn, log-probabilities, hidden states.
#include "device.h"
#include <algorithm>
#include <cmath>

using namespace lorikeet;

static void check(const ll_device & d, int n) {
    if (n < 1 || n > (int) d.rows.size() || n > (int) llama_n_batch(d.context.get())) {
        throw std::runtime_error("a batch of " + std::to_string(n) + " rows; the device takes 1 to " + std::to_string(llama_n_batch(d.context.get())));
    }
    for (int i = 0; i < n; i++) {
        const ll_row & r = d.rows[(size_t) i];
        d.require_sequence(r.seq);
        if (!r.exact != !d.rows[0].exact) {
            throw std::runtime_error("a batch has exact rows and others");
        }
        if (r.token < 0 || r.token >= d.model->n_vocab()) {
            throw std::runtime_error("token " + std::to_string(r.token) + " is not in the vocabulary");
        }
        if (r.scored && (r.sampler || r.next < 0 || r.next >= d.model->n_vocab())) {
            throw std::runtime_error("a row is scored with token " + std::to_string(r.next) + ", which is not in the vocabulary, or it has a sampler");
        }
    }
}

static void check_mask(const ll_device & d, int64_t words) {
    if (words < (d.model->n_vocab() + 63)/64) {
        throw std::runtime_error("a mask of " + std::to_string(words) + " words is too short for the vocabulary");
    }
}

// What a damaged weight makes of logits: not one is a number.
static bool no_numbers(const float * logits, int n) {
    return std::none_of(logits, logits + n, [](float x) { return std::isfinite(x); });
}

const float * ll_device::logits(int row) {
    if (!reduced) {
        const bool known = row >= 0 && (size_t) row < batch.place.size();
        return known ? llama_get_logits_ith(context.get(), batch.place[(size_t) row]) : nullptr;
    }
    const int output = row < 0 || (size_t) row >= outputs.size() ? -1 : outputs[(size_t) row];
    return output < 0 ? nullptr : reduction.row(output);
}

// Draws from what the device has made of the row's logits. False: all of them are needed.
static bool draw_reduced(ll_device & d, const ll_row & r, int row, const uint64_t * mask, ll_choice & c) {
    if (!d.reduced || !r.sampler || r.top >= 0 || mask) {
        return false;
    }
    bool drawn = false;
    const int32_t token = token_or_code([&] {
        llama_token t = LL_NO_TOKEN_ADMITTED;
        drawn = d.reduction.draw(r.sampler->sampler, d.outputs[(size_t) row], d.scratch, t);
        return t;
    }, c.error, sizeof c.error);
    c.token = drawn || token != LL_NO_TOKEN_ADMITTED ? token : c.token;
    return drawn || token != LL_NO_TOKEN_ADMITTED;
}

// Draws from the row's logits, or scores its next token, and computes log-probabilities.
static void choose_token(ll_device & d, const ll_row & r, int row, const uint64_t * mask, ll_choice & c) {
    if (draw_reduced(d, r, row, mask, c)) {
        return;
    }
    const float * logits = d.logits(row);
    if (!logits) {
        throw std::runtime_error("row " + std::to_string(row) + " has no logits");
    }
    const int n_vocab = d.model->n_vocab();
    if (r.sampler) {
        c.token = draw_or_code(r.sampler->sampler, logits, mask, false, d.scratch, c.error, sizeof c.error);
    } else {
        c.token = r.next;
    }
    if ((r.scored || c.token == LL_NO_TOKEN_ADMITTED) && no_numbers(logits, n_vocab)) {
        c.token = LL_LOGITS_NOT_FINITE;
    }
    if (r.top >= 0 || r.scored) {
        c.logprob = log_probabilities(logits, n_vocab, c.token, r.top, d.alternatives);
        c.n_top = (int32_t) d.alternatives.size() - c.first;
    }
}

// Makes the choices of the rows. A sampler that fails ends its own choice and no other.
static void choose(ll_device & d, int n, const uint64_t * masks, int64_t words) {
    for (int i = 0; i < n; i++) {
        const ll_row & r = d.rows[(size_t) i];
        if (!r.sampler && !r.scored && !r.hidden) {
            continue;
        }
        ll_choice c = {0, 0, 0, (int32_t) d.alternatives.size(), -1, ""};
        if (r.hidden) {
            c.hidden = d.hidden.place(r.seq, r.pos);
            const float * state = &d.hidden.values[(size_t) c.hidden*d.hidden.width];
            if (no_numbers(state, (int) d.hidden.width)) {
                c.token = LL_LOGITS_NOT_FINITE;
            }
        }
        if (r.sampler || r.scored) {
            choose_token(d, r, i, masks && r.mask >= 0 ? masks + r.mask*words : nullptr, c);
        }
        d.choices.push_back(c);
    }
}

// What the rows ask of their logits that the device could find. It is one ubatch, whose outputs are in the rows' order.
static Reduction::Wants wants(ll_device & d, int n) {
    const Model & m = *d.model;
    if (d.full_logits || d.split_kv || n > (int) llama_n_ubatch(d.context.get()) || m.head < 0 || !on_device(m.targets[(size_t) m.head].weight)) {
        return {};
    }
    d.outputs.assign((size_t) n, -1);
    std::vector<const Sampler *> samplers;
    int outputs = 0;
    for (int i = 0; i < n; i++) {
        const ll_row & r = d.rows[(size_t) i];
        if (d.batch.wanted[(size_t) i]) {
            d.outputs[(size_t) i] = outputs++;
        }
        samplers.push_back(r.sampler && r.top < 0 && r.mask < 0 ? &r.sampler->sampler : nullptr);
    }
    return Reduction::wants_of(samplers, m.n_vocab());
}

// A graph that could not be built to its end, or found no memory, is left behind in llama.cpp's hands and must not be
// used again.
struct GraphInUse {
    explicit GraphInUse(Graphs & graphs) : graphs(graphs) {}
    ~GraphInUse() { graphs.reusable &= succeeded; }
    GraphInUse(const GraphInUse &) = delete;
    GraphInUse & operator=(const GraphInUse &) = delete;

    Graphs & graphs;
    bool succeeded = false;
};

// llama.cpp finds cells for the whole batch before it changes anything: 1 means that nothing has changed. A
// batch it finds invalid (-1) changed nothing either. Later failures leave sequences partly extended.
static int run(ll_device & d, const Call & call) {
    Scope scope(*d.model, &d.mixes, d.shared_cells());
    scope.graphs = &d.graphs;
    scope.hidden = d.hidden.wanted() ? &d.hidden : nullptr;
    scope.logits = !d.hidden.alone();
    scope.exact = d.rows[0].exact != 0;
    const Reduction::Wants w = wants(d, d.batch.batch.n_tokens);
    if (scope.logits && w.any()) {
        d.reduction.begin(w);
        scope.reduction = &d.reduction;
    }
    d.reduced = false;
    GraphInUse use(d.graphs);
    std::unique_lock<Turns> turn;
    if (d.mixes.slots) {
        turn = std::unique_lock<Turns>(d.mixes.slots->turns);
    }
    const int code = d.changing_cells([&] { return llama_decode(d.context.get(), d.batch.batch); });
    use.succeeded = code == 0 || code == 1 || code == -1;
    switch (code) {
    case 0:
        if (scope.reduction && d.reduction.active()) {
            llama_synchronize(d.context.get());
            d.reduction.read();
            d.reduced = true;
        }
        return LL_OK;
    case 1:
        return LL_NO_CELLS;
    case -2:
        throw OutOfMemory(call.error("computing a batch of " + std::to_string(d.batch.batch.n_tokens) + " rows"));
    default:
        call.fail("llama_decode failed with code " + std::to_string(code));
    }
}

int ll_device_decode(ll_device * d, int n, const uint64_t * masks, int64_t words, ll_results * out, ll_error * err) {
    Call call(d->model->log);
    d->choices.clear();
    d->alternatives.clear();
    *out = {};
    return guarded(err, (int) LL_FAILED, [&] {
        check(*d, n);
        if (masks) {
            check_mask(*d, words);
        }
        d->batch.set(d->rows.data(), n, d->split_kv);
        d->hidden.begin(d->rows.data(), n);
        const int code = run(*d, call);
        if (code != LL_OK) {
            return code;
        }
        choose(*d, n, masks, words);
        *out = {d->choices.data(), d->alternatives.data(), d->hidden.values.data(), (int32_t) d->choices.size(),
                (int32_t) d->alternatives.size(), (int32_t) (d->hidden.values.size()/d->hidden.width), (int32_t) d->hidden.width};
        return (int) LL_OK;
    });
}

static void redraw(ll_device & d, const ll_redraw & again, const uint64_t * mask) {
    if (again.choice < 0 || (size_t) again.choice >= d.choices.size() || again.row < 0 || (size_t) again.row >= d.rows.size()) {
        throw std::runtime_error("choice " + std::to_string(again.choice) + " of row " + std::to_string(again.row) + " is not one of the last decode");
    }
    const ll_row & r = d.rows[(size_t) again.row];
    ll_choice & c = d.choices[(size_t) again.choice];
    const float * logits = d.logits(again.row);
    if (!r.sampler || !logits) {
        throw std::runtime_error("row " + std::to_string(again.row) + " has no sampler or no logits");
    }
    c.token = draw_or_code(r.sampler->sampler, logits, mask, true, d.scratch, c.error, sizeof c.error);
    if (r.top >= 0) { // its alternatives are the model's own and stay
        c.logprob = log_probabilities(logits, d.model->n_vocab(), c.token, 0, d.alternatives);
    }
}

int ll_device_redraw(ll_device * d, int n, const ll_redraw * redraws, const uint64_t * masks, int64_t words, ll_results * out, ll_error * err) {
    Call call(d->model->log);
    return guarded(err, (int) LL_FAILED, [&] {
        check_mask(*d, words);
        for (int i = 0; i < n; i++) {
            redraw(*d, redraws[i], masks + i*words);
        }
        out->choices = d->choices.data();
        out->alternatives = d->alternatives.data();
        return (int) LL_OK;
    });
}

const float * ll_device_logits(ll_device * d, int row, int32_t * n) {
    *n = d->model->n_vocab();
    ll_error ignored;
    return guarded(&ignored, (const float *) nullptr, [&] { return d->logits(row); });
}
