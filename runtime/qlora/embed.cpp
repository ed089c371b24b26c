// The embedding: a row lookup, with the adapter's rows added. Without dropout, as in PEFT.
#include "trainer.h"

namespace lq {

// residual 0 (T, n_embd) = E[token] + scale * A[token] B
void Trainer::embed() {
    const int d = model.n_embd;
    const Lora * l = by_target[model.n_layers*LQ_LINEARS + LQ_EMBED - LQ_LINEARS];
    compute.pool->ranges(T, [&](int begin, int end, int) {
        for (int t = begin; t < end; t++) {
            float * out = w.residual[0] + (size_t) t*d;
            decode_row(compute.kernels, model.embed, token[t], out);
            for (int r = 0; l && r < l->rank; r++) {
                const float a = l->scale*l->a[(size_t) token[t]*l->rank + r], * b = l->b + (size_t) r*d;
                for (int i = 0; i < d; i++) {
                    out[i] += a*b[i];
                }
            }
        }
    });
}

// One thread per rank, tokens in order: a token that occurs twice is summed in the same order every time.
void Trainer::embed_backward() {
    const int d = model.n_embd;
    const Lora & l = *by_target[model.n_layers*LQ_LINEARS + LQ_EMBED - LQ_LINEARS];
    compute.pool->run(l.rank, [&](int r, int) {
        const float * b = l.b + (size_t) r*d;
        float * db = l.db + (size_t) r*d;
        for (int t = 0; t < T; t++) {
            const float * g = w.grad + (size_t) t*d;
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
