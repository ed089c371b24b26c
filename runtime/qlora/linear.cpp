// A frozen linear layer with its adapter: y = x W^T + scale * drop(x) A^T B^T + bias, and its backward.
#include "random.h"
#include "trainer.h"
#include <algorithm>

namespace lq {

LinearUse Trainer::use(int layer, int target, const float * x, const Activations & a) const {
    const Lora * lora = computed(lora_of(layer, target));
    const uint64_t mask = lora ? mask_key(*lora) : 0;
    return {{&model.layers[layer].linear[target], lora}, T, x, lora ? a.hidden[target] : nullptr, lora && lora->dora ? a.z[target] : nullptr, mask, active_rows()};
}

// x (rows, rank) = 0 where the adapter does not act: going forward and backward, all that it does passes through there.
void Trainer::schedule_inactive(const LinearUse & u, float * x) {
    if (!u.active) {
        return;
    }
    const int rank = u.l.lora->rank;
    schedule.add([=] {
        for (int t = 0; t < u.rows; t++) {
            if (!u.active[t]) {
                std::fill_n(x + (size_t) t*rank, rank, 0.0f);
            }
        }
    });
}

// hidden (rows, rank) = drop(x) A^T
void Trainer::schedule_hidden(const LinearUse & u, Left x) {
    if (!u.l.lora) {
        return;
    }
    const Lora & l = *u.l.lora;
    if (drop > 0) {
        const Left dropped = left(w.left_dropped, u.rows, l.n_in);
        schedule.add([=, &l] {
            dropout(compute, u.x, u.rows, l.n_in, u.mask, drop, w.dropped);
            pack_left(compute, dropped, {w.dropped, l.n_in});
        });
        x = dropped;
    }
    schedule.multiply(compute, product(x, Right::transposed({l.a, l.n_in}, l.n_in, l.rank), u.hidden, l.rank));
    schedule_inactive(u, u.hidden);
}

// y (rows, n_out) (+)= x W^T + scale * hidden B^T; x is u.x packed.
void Trainer::schedule_product(const LinearUse & u, Left x, float * y, bool accumulate) {
    const Weight & weight = *u.l.w;
    Product p = product(x, Right::forward(weight), y, weight.n_out, accumulate);
    if (u.l.lora) {
        const Lora & l = *u.l.lora;
        schedule_hidden(u, x);
        p.a2 = left(w.left_hidden, u.rows, l.rank);
        p.b2 = Right::of({l.b, l.n_out}, l.rank, l.n_out);
        schedule.add([=, &l] { pack_left(compute, p.a2, {u.hidden, l.rank}, l.scale); });
    }
    schedule.multiply(compute, p);
}

// y (rows, n_out) (+)= the layer's output; x is u.x packed.
void Trainer::schedule_linear(const LinearUse & u, Left x, float * y, bool accumulate) {
    const Weight & weight = *u.l.w;
    if (u.z) {
        schedule_product(u, x, u.z, false);
        schedule_gain(u, y, accumulate);
    } else {
        schedule_product(u, x, y, accumulate);
    }
    if (weight.bias) {
        schedule.add([=, &weight] {
            compute.pool->ranges(u.rows, [&](int begin, int end, int) {
                for (size_t t = begin; t < (size_t) end; t++) {
                    compute.kernels.rows->add(weight.bias, weight.n_out, y + t*weight.n_out);
                }
            });
        });
    }
}

// d_hidden (rows, rank) = scale * dy B^T, and dx (rows, n_in) (+)= the gradient of x; dx NULL: not needed.
void Trainer::schedule_input_gradient(const LinearUse & u, Left dy, float * dx, bool accumulate) {
    const Weight & weight = *u.l.w;
    const Lora * l = u.l.lora;
    if (l) {
        schedule.multiply(compute, product(dy, Right::transposed({l->b, l->n_out}, l->n_out, l->rank), w.d_hidden, l->rank, false, l->scale));
        schedule_inactive(u, w.d_hidden);
    }
    if (!dx) {
        return;
    }
    Product p = product(dy, Right::backward(weight), dx, weight.n_in, accumulate);
    if (!l) {
        schedule.multiply(compute, p);
        return;
    }
    const Left hidden = left(w.left_hidden, u.rows, l->rank);
    const Right a = Right::of({l->a, l->n_in}, l->rank, l->n_in);
    schedule.add([=] { pack_left(compute, hidden, {w.d_hidden, l->rank}); });
    if (drop > 0) { // the adapter's part passes through the mask, the base's does not
        schedule.multiply(compute, p);
        schedule.multiply(compute, product(hidden, a, w.dropped, l->n_in));
        schedule.add([=] {
            dropout(compute, w.dropped, u.rows, l->n_in, u.mask, drop, w.dropped);
            add(compute, w.dropped, (size_t) u.rows*l->n_in, dx);
        });
        return;
    }
    p.a2 = hidden;
    p.b2 = a;
    schedule.multiply(compute, p);
}

// db += scale * hidden^T dy, da += d_hidden^T drop(x). Follows schedule_input_gradient of the same layer.
void Trainer::schedule_parameter_gradients(const LinearUse & u, const float * dy) {
    if (!u.l.lora) {
        return;
    }
    const Lora & l = *u.l.lora;
    const Left transposed = left(w.left_hidden, l.rank, u.rows);
    schedule.add([=, &l] { pack_left_transposed(compute, transposed, {u.hidden, l.rank}, l.scale); });
    schedule.multiply(compute, product(transposed, Right::of({dy, l.n_out}, u.rows, l.n_out), l.db, l.n_out, true));
    const float * x = u.x;
    if (drop > 0) {
        schedule.add([=, &l] { dropout(compute, u.x, u.rows, l.n_in, u.mask, drop, w.dropped); });
        x = w.dropped;
    }
    schedule.add([=, &l] { pack_left_transposed(compute, transposed, {w.d_hidden, l.rank}); });
    schedule.multiply(compute, product(transposed, Right::of({x, l.n_in}, u.rows, l.n_in), l.da, l.n_in, true));
}

} // namespace lq
