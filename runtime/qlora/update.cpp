// The optimizer's step: the norm of all gradients, clipping, and AdamW over each adapter.
#include "adapter_trainer.h"
#include <math.h>

namespace lq {

void AdapterTrainer::begin_update(const lq_update & u) {
    schedule.clear();
    schedule_update(u);
}

void AdapterTrainer::schedule_update(const lq_update & u) {
    auto adam = std::make_shared<Adam>();
    schedule.add([=] {
        const double norm = sqrt(sum_of_squares(compute, arrays.gradients, parameters));
        result.grad_norm = norm;
        if (!std::isfinite(norm)) {
            throw Error{LQ_DIVERGED, "a gradient is not a finite number"};
        }
        const double n = (double) steps + 1;
        adam->beta1 = u.beta1;
        adam->beta2 = u.beta2;
        adam->eps = u.eps;
        adam->weight_decay = u.weight_decay;
        adam->correction1 = (float) (1 - pow(u.beta1, n));
        adam->correction2 = (float) (1 - pow(u.beta2, n));
        adam->grad_scale = u.clip > 0 && norm > u.clip ? (float) (u.clip/norm) : 1;
    });
    for (const Lora & l : loras) {
        schedule.add([=, &l] {
            Adam a = *adam;
            const size_t na = l.at_b - l.at_a, nb = (size_t) l.rank*l.n_out;
            a.lr = u.lr;
            adamw(compute, a, na, l.a, l.da, arrays.moment1 + l.at_a, arrays.moment2 + l.at_a);
            a.lr = u.lr_b;
            adamw(compute, a, nb, l.b, l.db, arrays.moment1 + l.at_b, arrays.moment2 + l.at_b);
            if (l.dora) { // at B's rate, as PEFT's LoRA+ has it for whatever is not an A
                adamw(compute, a, l.n_out, l.m, l.dm, arrays.moment1 + l.at_m, arrays.moment2 + l.at_m);
            }
        });
    }
    schedule.add([this] {
        result.steps = ++steps;
        parameters_changed();
    });
}

} // namespace lq
