// The embedding: a row lookup, with the adapter's rows added. Without dropout, as in PEFT.
#include "adapter_trainer.h"
#include "random.h"
#include <math.h>

namespace lq {

// residual (T, n_embd) = E[token] + scale * A[token] B, and E[token] where the adapter does not act
void AdapterTrainer::embed(float * residual) {
    compute.pool->ranges(T, [&](int begin, int end, int) {
        for (int t = begin; t < end; t++) {
            decode_row(compute.kernels, model.embed, token[t], residual + (size_t) t*model.n_embd);
        }
    });
    add_embedding_adapter(residual);
    add_noise(residual);
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

// NEFTune (Jain et al. 2023): uniform noise up to alpha/sqrt(L d) either way, L being the tokens of the sequence. Padding, which
// L counts where batches are padded, there is none. A token's noise is that of its place in its sequence.
void AdapterTrainer::add_noise(float * residual) {
    if (noise == 0) {
        return;
    }
    const int d = model.n_embd;
    const uint64_t of_batch = random_key(random_key(random_key(options.seed, 0x4e454654), steps), micro);
    for (size_t i = 0; i < sequences.size(); i++) {
        const auto [begin, end] = sequences[i];
        const float bound = noise/sqrtf((float) (end - begin)*(float) d);
        const uint64_t key = random_key(of_batch, i);
        compute.pool->ranges(end - begin, [&, first = begin](int from, int to, int) {
            for (int t = from; t < to; t++) {
                const uint64_t of_token = random_key(key, t);
                float * x = residual + (size_t) (first + t)*d;
                for (int j = 0; j < d; j++) {
                    x[j] += (2*random_unit(of_token, j) - 1)*bound;
                }
            }
        });
    }
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
