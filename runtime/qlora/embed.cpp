// The embedding: a row lookup, with the adapter's rows added. Without dropout, as in PEFT.
#include "adapter_trainer.h"

namespace lq {

// residual (T, n_embd) = E[token] + scale * A[token] B, and E[token] where the adapter does not act
void AdapterTrainer::embed(float * residual) {
    compute.pool->ranges(T, [&](int begin, int end, int) {
        for (int t = begin; t < end; t++) {
            decode_row(compute.kernels, model.embed, token[t], residual + (size_t) t*model.n_embd);
        }
    });
    add_embedding_adapter(residual);
}

void AdapterTrainer::add_embedding_adapter(float * residual) {
    const int d = model.n_embd;
    const Lora * l = lora_of(0, LQ_EMBED);
    if (!l) {
        return;
    }
    compute.pool->ranges(T, [&](int begin, int end, int) {
        for (int t = begin; t < end; t++) {
            float * out = residual + (size_t) t*d;
            for (int r = 0; acts(t) && r < l->rank; r++) {
                const float a = l->scale*l->a[(size_t) token[t]*l->rank + r], * b = l->b + (size_t) r*d;
                for (int i = 0; i < d; i++) {
                    out[i] += a*b[i];
                }
            }
        }
    });
}

// One thread per rank, tokens in order: a token that occurs twice is summed in the same order every time.
void AdapterTrainer::embed_backward(const float * grad) {
    const int d = model.n_embd;
    const Lora & l = *lora_of(0, LQ_EMBED);
    compute.pool->run(l.rank, [&](int r, int) {
        const float * b = l.b + (size_t) r*d;
        float * db = l.db + (size_t) r*d;
        for (int t = 0; t < T; t++) {
            if (!acts(t)) {
                continue;
            }
            const float * g = grad + (size_t) t*d;
            const size_t at = (size_t) token[t]*l.rank + r;
            const float a = l.scale*l.a[at];
            l.da[at] += l.scale*compute.kernels.rows->dot(g, b, d);
            for (int i = 0; i < d; i++) {
                db[i] += a*g[i];
            }
        }
    });
}

} // namespace lq
