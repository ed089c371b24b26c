// DoRA's row norms |W + scale * B A|, taken on the device; the gains are made on the host. See dora.cpp.
#include "graph_trainer.h"
#include <algorithm>
#include <math.h>

namespace lq {

namespace {
constexpr int64_t NORM_ROWS = 2048; // of a weight at a time
}

GraphTrainer::GraphPtr GraphTrainer::norms_graph(const Lora & l, ggml_tensor * w) {
    GraphPtr made = graph();
    Graph & g = *made;
    ggml_tensor * a = g.transposed(there(l).a); // (rank, n_in)
    for (int64_t row = 0; row < l.n_out; row += NORM_ROWS) {
        const int64_t rows = std::min<int64_t>(NORM_ROWS, l.n_out - row);
        ggml_tensor * b = there(l).b;
        b = g.transposed(g.add(ggml_view_2d(g.ctx(), b, rows, l.rank, b->nb[1], row*sizeof(float)))); // (rank, rows)
        ggml_tensor * changed = g.sum(g.scaled(g.mul_mat(a, b), l.scale), g.weight(w, row, rows, false, GGML_TYPE_F32));
        g.output(g.add(ggml_sum_rows(g.ctx(), g.add(ggml_sqr(g.ctx(), changed)))), [&l, row, rows](const void * p) {
            for (int64_t i = 0; i < rows; i++) {
                float & norm = l.row_norms[row + i];
                norm = sqrtf(((const float *) p)[i]);
                l.gain[row + i] = norm > 0 ? l.m[row + i]/norm : 1;
            }
        });
    }
    return made;
}

// Takes the norms of all modules with DoRA, and their gains.
void GraphTrainer::schedule_norms() {
    bool any = false;
    schedule_upload();
    for (size_t i = 0; i < loras.size(); i++) {
        const Lora & l = loras[i];
        const lq_module & m = modules[i];
        if (l.dora) {
            any = true;
            ggml_tensor * w = m.target == LQ_HEAD ? graphs.head : graphs.layers[m.layer].linear[m.target];
            schedule_graph([this, &l, w] { return norms_graph(l, w); });
        }
    }
    if (any) {
        schedule.add([this] {
            for (const Lora & l : loras) {
                if (l.dora) {
                    ggml_backend_tensor_set(there(l).gain, l.gain, 0, l.n_out*sizeof(float));
                }
            }
        });
    }
}

} // namespace lq
