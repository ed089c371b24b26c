// The output head and the loss, a chunk of labelled rows at a time: unlabelled rows never meet the vocabulary.
#include "random.h"
#include "trainer.h"
#include <algorithm>
#include <string.h>

namespace lq {

LinearUse Trainer::head_use(int rows, int from) const {
    const Lora * lora = computed(lora_of(0, LQ_HEAD));
    const uint64_t mask = lora ? random_key(mask_key(*lora), from) : 0;
    return {{&model.head, lora}, rows, w.head_normed, lora ? w.head_hidden : nullptr, lora && lora->dora ? w.head_z : nullptr, mask, active_labels(from)};
}

void Trainer::schedule_loss(bool gradients) {
    const int n = (int) labelled.size(), step = std::min((int) HEAD_ROWS, options.max_tokens);
    if (gradients) {
        schedule.add([this] { memset(w.grad, 0, (size_t) T*model.n_embd*sizeof(float)); });
    }
    for (int from = 0; from < n; from += step) {
        schedule_loss_chunk(from, std::min(step, n - from), gradients);
    }
    schedule.add([this] { take_losses(); });
}

void Trainer::schedule_loss_chunk(int from, int rows, bool gradients) {
    const int d = model.n_embd, V = model.n_vocab;
    const LinearUse head = head_use(rows, from);
    const Left x = input(rows, d), dy = left(w.left_dy, rows, V);
    const int * at = labelled.data() + from;
    schedule.add([=] {
        for (int i = 0; i < rows; i++) {
            memcpy(w.head_in + (size_t) i*d, w.residual.back() + (size_t) at[i]*d, d*sizeof(float));
        }
        rms_norm(compute, w.head_in, norm_weight(0, LQ_OUT_NORM), model.norm_eps, rows, d, w.head_normed);
        pack_left(compute, x, {w.head_normed, d});
    });
    schedule_linear(head, x, w.logits, false);
    schedule.add([=] {
        std::vector<int> labels(rows);
        std::vector<float> factors(rows);
        for (int i = 0; i < rows; i++) {
            labels[i] = label[at[i]];
            factors[i] = weight_of(at[i])*inv_norm;
        }
        cross_entropy(compute, w.logits, rows, V, labels.data(), gradients ? factors.data() : nullptr, losses.data() + from);
    });
    if (!gradients) {
        return;
    }
    const bool below = below_head(), normed_needed = below || own_norm(0, LQ_OUT_NORM);
    const float * from_logits = schedule_output_gradient(head, w.logits, dy);
    schedule_input_gradient(head, dy, normed_needed ? w.head_grad : nullptr, false);
    schedule_parameter_gradients(head, from_logits);
    if (!normed_needed) {
        return;
    }
    schedule.add([=] {
        add_norm_gradient(0, LQ_OUT_NORM, w.head_in, w.head_grad, rows);
        if (below) {
            rms_norm_backward(compute, w.head_in, norm_weight(0, LQ_OUT_NORM), w.head_grad, model.norm_eps, rows, d, w.head_grad, false);
            for (int i = 0; i < rows; i++) {
                memcpy(w.grad + (size_t) at[i]*d, w.head_grad + (size_t) i*d, d*sizeof(float));
            }
        }
    });
}

} // namespace lq
