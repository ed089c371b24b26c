// The output head and the loss, a chunk of labelled rows at a time. The loss of a row is log(sum exp(logits)) - logit of the
// label; with the largest logit and its probability p the first term is largest - log(p), which no rounding makes infinite. The
// entropy is log(sum exp(logits)) - sum p logits.
#include "graph_trainer.h"
#include "random.h"
#include "trainer.h"
#include <algorithm>
#include <math.h>

namespace lq {

void GraphTrainer::schedule_loss(bool gradients) {
    const int n = (int) labelled.size();
    picked.assign(n, {});
    if (gradients) {
        schedule_graph([this] {
            GraphPtr g = graph();
            g->copy(g->scaled(residual(*g, model.n_layers), 0), g->view(grad, 0, model.n_embd, T));
            return g;
        });
    }
    for (int from = 0; from < n; from += head_rows) {
        schedule_graph([=] { return loss_graph(from, std::min(head_rows, n - from), gradients); });
    }
    schedule.add([this, n] {
        for (int i = 0; i < n; i++) {
            const Picked & p = picked[i];
            const double log_sum = p.largest - log((double) p.probability); // of exp(logits)
            losses[i] = {(float) (log_sum - p.label), (float) (log_sum - p.mean), p.best == label[labelled[i]]};
        }
        take_losses();
    });
}

GraphTrainer::GraphPtr GraphTrainer::loss_graph(int from, int rows, bool gradients) {
    GraphPtr made = graph();
    Graph & g = *made;
    ggml_tensor * at = g.input(GGML_TYPE_I32, rows, 1, [=](void * to) { std::copy_n(labelled.begin() + from, rows, (int32_t *) to); });
    ggml_tensor * labels = g.input(GGML_TYPE_I32, 1, rows, [=](void * to) {
        for (int i = 0; i < rows; i++) {
            ((int32_t *) to)[i] = label[labelled[from + i]];
        }
    });
    ActiveRows active = {rows, active_labels(from)};
    LinearNodes head = {};
    head.active = &active;
    head.w = graphs.head;
    head.bias = graphs.head_bias;
    head.lora = lora_of(0, LQ_HEAD);
    if (head.lora) { // the keys of the trainer on the CPU, which has chunks of its own
        const int chunk = std::min((int) HEAD_ROWS, options.max_tokens);
        head.key = [=, key = mask_key(*head.lora)](int i) { return random_key(random_key(key, (from + i)/chunk*chunk), (from + i) % chunk); };
    }
    ggml_tensor * x = g.add(ggml_get_rows(g.ctx(), residual(g, model.n_layers), at));
    ggml_tensor * y = linear(g, head, g.norm(x, norm_weight(0, LQ_OUT_NORM), model.norm_eps), true, logits);

    ggml_tensor * best = g.add(ggml_argmax(g.ctx(), y));
    g.output(best, [=](const void * p) {
        for (int i = 0; i < rows; i++) {
            picked[from + i].best = ((const int32_t *) p)[i];
        }
    });
    const auto take = [&](ggml_tensor * of, float Picked::* to) {
        g.output(of, [=](const void * p) {
            for (int i = 0; i < rows; i++) {
                picked[from + i].*to = ((const float *) p)[i];
            }
        });
    };
    const auto pick = [&](ggml_tensor * of, ggml_tensor * which, float Picked::* to) {
        take(g.add(ggml_get_rows(g.ctx(), g.reshaped(of, 1, model.n_vocab, rows), g.reshaped(which, 1, rows))), to);
    };
    pick(y, labels, &Picked::label);
    pick(y, best, &Picked::largest);
    ggml_tensor * p = g.add(ggml_soft_max(g.ctx(), y));
    pick(p, best, &Picked::probability);
    if (entropies) {
        take(g.add(ggml_sum_rows(g.ctx(), g.mul(p, y))), &Picked::mean);
    }
    if (gradients) {
        ggml_tensor * weights = weight.empty() ? nullptr : g.input(GGML_TYPE_F32, 1, rows, [=](void * to) {
            for (int i = 0; i < rows; i++) {
                ((float *) to)[i] = weight[labelled[from + i]];
            }
        });
        loss_back(g, head, {x, p, labels, at, weights});
    }
    return made;
}

// The gradient of the logits is the probabilities less 1 at the label, times the label's weight.
void GraphTrainer::loss_back(Graph & g, const LinearNodes & head, const LossNodes & n) {
    const int64_t rows = n.at->ne[0];
    const bool below = below_head();
    ggml_tensor * single = g.reshaped(n.p, 1, model.n_vocab, rows);
    ggml_tensor * of_label = g.add(ggml_get_rows(g.ctx(), single, n.labels));
    ggml_tensor * less_one = g.add(ggml_scale_bias(g.ctx(), of_label, 1, -1));
    ggml_tensor * dy = g.reshaped(g.add(ggml_set_rows(g.ctx(), single, less_one, n.labels)), model.n_vocab, rows);
    if (n.weights) {
        dy = g.mul(dy, n.weights);
    }
    ggml_tensor * d_normed = linear_back(g, head, dy, below || own_norm(0, LQ_OUT_NORM));
    if (d_normed) {
        add_norm_gradient(g, 0, LQ_OUT_NORM, d_normed, n.x);
    }
    if (below) {
        ggml_tensor * dx = g.norm_back(d_normed, n.x, norm_weight(0, LQ_OUT_NORM), model.norm_eps);
        g.add(ggml_set_rows(g.ctx(), g.view(grad, 0, model.n_embd, T), dx, n.at));
    }
}

} // namespace lq
