// The loss of labelled rows of logits, and what a micro-batch's losses add up to.
#include "adapter_trainer.h"
#include <cmath>

namespace lq {

void cross_entropy(const Compute & c, float * logits, int rows, int n, const int * labels, const float * factors, RowLoss * losses) {
    c.pool->run(rows, [&](int t, int) { losses[t] = c.kernels.rows->cross_entropy(logits + (size_t) t*n, n, labels[t], factors ? factors + t : nullptr); });
}

void AdapterTrainer::take_losses() {
    result.loss = 0;
    result.labelled = (int) labelled.size();
    result.correct = 0;
    for (size_t i = 0; i < labelled.size(); i++) {
        const int t = labelled[i];
        const RowLoss & l = losses[i];
        result.loss += (double) weight_of(t)*l.loss;
        result.correct += l.correct;
        log_probs[t] = -l.loss;
        if (entropies) {
            entropy[t] = l.entropy;
        }
    }
    result.n_tokens = T;
    result.log_probs = log_probs.data();
    result.entropies = entropies ? entropy.data() : nullptr;
    if (!std::isfinite(result.loss)) {
        throw Error{LQ_DIVERGED, "the loss is not a finite number"};
    }
}

} // namespace lq
