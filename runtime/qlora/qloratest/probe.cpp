// What tests look at inside a trainer: its gradients, DoRA's norms, and the logits of a batch.
#include "../trainer.h"
#include "sample.h"
#include <algorithm>
#include <exception>
#include <stdio.h>

namespace lq {

struct TrainerProbe {
    static const Schedule & schedule(const AdapterTrainer & t) { return t.schedule; }

    // The logits (n, n_vocab) of packed sequences, without dropout.
    static void logits(Trainer & t, const int32_t * tokens, int n, const int32_t * ends, int n_ends, float * out) {
        const std::vector<int32_t> unlabelled(n, -1);
        lq_batch b = {};
        b.tokens = tokens;
        b.labels = unlabelled.data();
        b.n = n;
        b.ends = ends;
        b.n_ends = n_ends;
        t.begin(LQ_EVAL, b);
        t.waiting = false; // the slices are these
        if (!t.take(SIZE_MAX)) {
            throw Error{LQ_FAILED, "another trainer uses the workspace"};
        }
        t.schedule_positions(t.position);
        t.schedule_norms();
        t.schedule.add([&t] { t.embed(t.w.residual[0]); });
        for (int i = 0; i < t.model.n_layers; i++) {
            t.schedule_forward(i, t.activations(i), true);
        }
        const int d = t.model.n_embd, step = std::min((int) HEAD_ROWS, t.options.max_tokens);
        for (int from = 0; from < t.T; from += step) {
            const int rows = std::min(step, t.T - from);
            const Left x = t.input(rows, d);
            t.schedule.add([&t, from, rows, d, x] {
                rms_norm(t.compute, t.w.residual.back() + (size_t) from*d, t.norm_weight(0, LQ_OUT_NORM), t.model.norm_eps, rows, d, t.w.head_normed);
                pack_left(t.compute, x, {t.w.head_normed, d});
            });
            t.schedule_linear(t.head_use(rows, from), x, out + (size_t) from*t.model.n_vocab, false);
        }
        while (!t.slice()) {
        }
        t.give_back();
    }
};

} // namespace lq

const float * lq_probe_gradients(const lq_trainer * t) { return t->of->memory().gradients; }

const float * lq_probe_row_norms(const lq_trainer * t, int module) { return t->of->adapters()[module].row_norms; }

size_t lq_probe_slices(const lq_trainer * t, double * largest) {
    const lq::Schedule & s = lq::TrainerProbe::schedule(*t->of);
    *largest = s.largest();
    return s.left();
}

int lq_probe_logits(lq_trainer * t, const int32_t * tokens, int n, const int32_t * ends, int n_ends, float * out) {
    try {
        lq::TrainerProbe::logits(dynamic_cast<lq::Trainer &>(*t->of), tokens, n, ends, n_ends, out);
        return LQ_OK;
    } catch (const lq::Error & e) {
        snprintf(t->error, sizeof t->error, "%s", e.message.c_str());
    } catch (const std::exception & e) {
        snprintf(t->error, sizeof t->error, "%s", e.what());
    }
    return LQ_FAILED;
}
