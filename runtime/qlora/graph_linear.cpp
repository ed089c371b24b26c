// A frozen linear layer with its adapter, as nodes of a graph: y = W x + scale B A drop(x), and its backward.
#include "graph_trainer.h"
#include "random.h"
#include <algorithm>

namespace lq {

namespace {

int64_t rows_at_a_time(const ggml_tensor * w) { return std::max<int64_t>(256, DECODED_WEIGHTS/w->ne[0]/256*256); }

} // namespace

// x (any, rows), and zeros where the adapter does not act, or where it does.
ggml_tensor * GraphTrainer::where(Graph & g, ActiveRows & a, bool acts, ggml_tensor * x) {
    ggml_tensor *& factors = acts ? a.acts : a.idle;
    if (!factors) {
        factors = g.input(GGML_TYPE_F32, 1, a.n, [n = a.n, rows = a.rows, acts](void * to) {
            for (int i = 0; i < n; i++) {
                ((float *) to)[i] = (rows[i] != 0) == acts ? 1.0f : 0.0f;
            }
        });
    }
    return g.mul(x, factors);
}

// DoRA's gains of x (n_out, rows); rows on which the adapter does not act have none.
ggml_tensor * GraphTrainer::gained(Graph & g, const LinearNodes & n, ggml_tensor * x) {
    ggml_tensor * y = g.mul(x, there(*n.lora).gain);
    return n.active->rows ? g.sum(where(g, *n.active, true, y), where(g, *n.active, false, x)) : y;
}

LinearNodes GraphTrainer::use(int layer, int target, ActiveRows & active) {
    LinearNodes n = {};
    n.active = &active;
    n.w = graphs.layers[layer].linear[target];
    n.bias = graphs.layers[layer].bias[target];
    n.lora = lora_of(layer, target);
    if (n.lora) {
        const uint64_t key = mask_key(*n.lora);
        n.key = [key](int t) { return random_key(key, t); };
    }
    return n;
}

// W x (n_out, T). A weight that is too large to be decoded at once is multiplied part by part, into `to`.
ggml_tensor * GraphTrainer::product(Graph & g, ggml_tensor * w, ggml_tensor * x, ggml_tensor * to) {
    const int64_t n = w->ne[1], step = rows_at_a_time(w);
    if (!to || n <= step) {
        return g.mul_mat(g.weight(w, false), x);
    }
    ggml_tensor * whole = g.view(to, 0, n, x->ne[1]);
    for (int64_t row = 0; row < n; row += step) {
        const int64_t rows = std::min(step, n - row);
        ggml_tensor * part = g.add(ggml_view_2d(g.ctx(), whole, rows, x->ne[1], whole->nb[1], row*sizeof(float)));
        g.copy(g.mul_mat(g.weight(w, row, rows, false, reader.floats), x), part);
    }
    return whole;
}

// W^T dy (n_in, T)
ggml_tensor * GraphTrainer::input_product(Graph & g, ggml_tensor * w, ggml_tensor * dy) {
    const int64_t n = w->ne[1], step = rows_at_a_time(w);
    if (n <= step) {
        return g.mul_mat(g.weight(w, true), dy);
    }
    ggml_tensor * sum = nullptr;
    for (int64_t row = 0; row < n; row += step) {
        const int64_t rows = std::min(step, n - row);
        ggml_tensor * part = g.add(ggml_cont(g.ctx(), g.add(ggml_view_2d(g.ctx(), dy, rows, dy->ne[1], dy->nb[1], row*sizeof(float)))));
        ggml_tensor * dx = g.mul_mat(g.weight(w, row, rows, true, reader.floats), part);
        sum = sum ? g.sum(sum, dx) : dx;
    }
    return sum;
}

// hidden = A drop(x)
void GraphTrainer::hidden(Graph & g, LinearNodes & n, ggml_tensor * x) {
    n.dropped = x;
    if (drop > 0) {
        const int rows = (int) x->ne[1], width = (int) x->ne[0];
        const float p = drop;
        n.mask = g.input(GGML_TYPE_F32, width, rows, [this, rows, width, p, key = n.key](void * to) {
            const uint32_t threshold = dropout_threshold(p);
            const float kept = 1/(1 - p);
            compute.pool->ranges(rows, [&](int begin, int end, int) {
                for (int t = begin; t < end; t++) {
                    const uint64_t of_row = key(t);
                    float * mask = (float *) to + (size_t) t*width;
                    for (int i = 0; i < width; i++) {
                        mask[i] = random_at(of_row, (uint32_t) i) < threshold ? kept : 0.0f;
                    }
                }
            });
        });
        n.dropped = g.mul(x, n.mask);
    }
    n.hidden = g.mul_mat(there(*n.lora).a, n.dropped);
    n.hidden = n.active->rows ? where(g, *n.active, true, n.hidden) : n.hidden;
}

// The layer's output (n_out, T), in `to` where that is given and the weight is large. Without whole only what backward reads.
ggml_tensor * GraphTrainer::linear(Graph & g, LinearNodes & n, ggml_tensor * x, bool whole, ggml_tensor * to) {
    n.x = x;
    if (n.lora) {
        hidden(g, n, x);
    }
    if (!whole && !(n.lora && n.lora->dora)) {
        return nullptr;
    }
    ggml_tensor * y = product(g, n.w, x, to);
    if (n.lora) {
        y = g.sum(y, g.mul_mat(g.transposed(there(*n.lora).b), g.scaled(n.hidden, n.lora->scale)));
        if (n.lora->dora) {
            n.z = y;
            y = gained(g, n, y);
        }
    }
    return n.bias ? g.sum(y, n.bias) : y;
}

void GraphTrainer::add_gradient(Graph & g, ggml_tensor * of, float * to, size_t n) {
    g.output(of, [this, to, n](const void * from) {
        for (size_t i = 0; i < n; i++) {
            to[i] += inv_norm*((const float *) from)[i];
        }
    });
}

// The gradient of the input (n_in, T), or NULL where it is not needed; the adapter's are added to.
ggml_tensor * GraphTrainer::linear_back(Graph & g, const LinearNodes & n, ggml_tensor * dy, bool input_needed) {
    if (!n.lora) {
        return input_needed ? input_product(g, n.w, dy) : nullptr;
    }
    const Lora & l = *n.lora;
    if (l.dora) {
        ggml_tensor * seen = n.active->rows ? where(g, *n.active, true, dy) : dy;
        ggml_tensor * dm = g.add(ggml_sum_rows(g.ctx(), g.transposed(g.mul(seen, n.z))));
        g.output(dm, [this, &l](const void * from) {
            for (int o = 0; o < l.n_out; o++) {
                l.dm[o] += l.row_norms[o] > 0 ? inv_norm*((const float *) from)[o]/l.row_norms[o] : 0;
            }
        });
        dy = gained(g, n, dy);
    }
    ggml_tensor * dh = g.scaled(g.mul_mat(there(l).b, dy), l.scale);                                 // (rank, T)
    dh = n.active->rows ? where(g, *n.active, true, dh) : dh;
    ggml_tensor * db = g.mul_mat(g.transposed(dy), g.transposed(g.scaled(n.hidden, l.scale)));         // (n_out, rank)
    ggml_tensor * da = g.mul_mat(g.transposed(n.dropped), g.transposed(dh));                           // (n_in, rank)
    add_gradient(g, db, l.db, (size_t) l.n_out*l.rank);
    add_gradient(g, da, l.da, (size_t) l.n_in*l.rank);
    if (!input_needed) {
        return nullptr;
    }
    ggml_tensor * through = g.mul_mat(g.transposed(there(l).a), dh); // the adapter's part passes through the mask, the base's does not
    return g.sum(input_product(g, n.w, dy), n.mask ? g.mul(through, n.mask) : through);
}

} // namespace lq
