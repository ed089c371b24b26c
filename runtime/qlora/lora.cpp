// The adapters themselves: where they lie, how they begin, and the dropout before A.
#include "decompose.h"
#include "random.h"
#include <algorithm>
#include <math.h>

namespace lq {

int rank_of(const lq_module & m) { return of_weight(m) ? 2*m.rank : m.rank; }

uint64_t key_of(uint64_t seed, const lq_module & m) {
    return random_key(seed, (uint64_t) (m.target < LQ_LINEARS ? m.layer : 0)*LQ_TARGETS + m.target);
}

std::vector<Lora> adapters_of(const lq_model & m, const lq_options & o, size_t * parameters) {
    std::vector<Lora> loras(o.n_modules);
    *parameters = 0;
    size_t n_norms = 0;
    for (int i = 0; i < o.n_modules; i++) {
        const lq_module & x = o.modules[i];
        Lora & l = loras[i];
        const bool embed = x.target == LQ_EMBED;
        const Weight & w = embed ? m.embed : x.target == LQ_HEAD ? m.head : m.layers[x.layer].linear[x.target];
        l.trained = x.rank;
        l.rank = rank_of(x);
        l.scale = x.scale;
        l.w = &w;
        l.dora = x.dora != 0;
        l.n_in = embed ? m.n_vocab : w.n_in; // the embedding is a linear layer of one-hot rows
        l.n_out = embed ? m.n_embd : w.n_out;
        l.at_a = *parameters;
        l.at_b = l.at_a + (size_t) l.rank*l.n_in;
        l.at_m = l.at_b + (size_t) l.rank*l.n_out;
        l.at_norm = n_norms;
        *parameters = l.at_m + (l.dora ? l.n_out : 0);
        n_norms += l.dora ? l.n_out : 0;
        l.key = key_of(o.seed, x);
    }
    return loras;
}

// PEFT's default, and its "gaussian", whose A is normal with deviation 1/r: A by kaiming_uniform with a = sqrt(5), which is uniform in +-1/sqrt(n_in), and B zero; for
// embeddings A zero and B normal. Either way the product is zero and step 0 is the base.
void draw(const Lora & l, const lq_module & m, size_t begin, size_t end) {
    const bool embedding = m.target == LQ_EMBED;
    const size_t na = (size_t) l.rank*l.n_in;
    const float bound = 1/sqrtf((float) l.n_in), deviation = 1/(float) l.rank;
    for (size_t i = begin; i < std::min(na, end); i++) {
        l.a[i] = embedding ? 0 : m.init == LQ_INIT_GAUSSIAN ? deviation*random_normal(l.key, i) : (2*random_unit(l.key, i) - 1)*bound;
    }
    for (size_t i = std::max(na, begin) - na; i + na < end; i++) {
        l.b[i] = embedding ? random_normal(l.key, i) : 0;
    }
}

void dropout(const Compute & c, const float * x, int rows, int n, uint64_t key, float p, float * y) {
    c.pool->ranges(rows, [&](int begin, int end, int) {
        for (size_t t = begin; t < (size_t) end; t++) {
            c.kernels.rows->dropout(x + t*n, n, random_key(key, t), dropout_threshold(p), 1/(1 - p), y + t*n);
        }
    });
}

} // namespace lq
