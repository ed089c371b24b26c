// DoRA (Liu et al. 2024): a linear layer's output is y = g .* z + bias, where z is the product with W + scale * B A and
// g = m / |W + scale * B A| by rows. As in PEFT the norms are taken anew at every step and are constants going
// backward, and dropout, where there is any, meets the input of A alone.
#include "read.h"
#include "trainer.h"
#include <algorithm>

namespace lq {

// Takes the norms of all modules with DoRA, and their gains.
void Trainer::schedule_norms() {
    for (const Lora & l : loras) {
        if (!l.dora) {
            continue;
        }
        const int groups = (l.n_out + LQ_READ_ROWS - 1)/LQ_READ_ROWS;
        const double cost = 2.0*LQ_READ_ROWS*l.n_in*(l.rank + 2);
        schedule.ranges(groups, [cost](int) { return cost; }, [this, &l](int begin, int end) {
            const lq_low_rank change = {l.rank, l.scale, l.a, l.b, 1, (size_t) l.n_out};
            compute.pool->run(end - begin, [&](int i, int thread) {
                const int row = (begin + i)*LQ_READ_ROWS, rows = std::min((int) LQ_READ_ROWS, l.n_out - row);
                float * out = w.rows[thread];
                lq_read_rows(l.w, &change, row, rows, out, out + (size_t) LQ_READ_ROWS*l.n_in);
                for (int r = row; r < row + rows; r++) {
                    l.row_norms[r] = lq_norm(out + (size_t) (r - row)*l.n_in, l.n_in);
                    l.gain[r] = l.row_norms[r] > 0 ? l.m[r]/l.row_norms[r] : 1;
                }
            });
        });
    }
}

// y (rows, n_out) (+)= g .* z, and z where the adapter does not act
void Trainer::schedule_gain(const LinearUse & u, float * y, bool accumulate) {
    const Lora & l = *u.l.lora;
    schedule.add([=, &l] {
        compute.pool->ranges(u.rows, [&](int begin, int end, int) {
            for (int t = begin; t < end; t++) {
                const float * z = u.z + (size_t) t*l.n_out;
                float * to = y + (size_t) t*l.n_out;
                if (u.active && !u.active[t]) {
                    for (int o = 0; o < l.n_out; o++) {
                        to[o] = accumulate ? to[o] + z[o] : z[o];
                    }
                    continue;
                }
                for (int o = 0; o < l.n_out; o++) {
                    to[o] = accumulate ? to[o] + l.gain[o]*z[o] : l.gain[o]*z[o];
                }
            }
        });
    });
}

// Packs the gradient of the product with the weight: dy (rows, n_out), or of DoRA dz = g .* dy, and then dm += the sum
// over the rows of dy .* z / length. Rows on which the adapter does not act have a gain of 1, which is none of its. Returns the floats that were packed.
const float * Trainer::schedule_output_gradient(const LinearUse & u, const float * dy, Left packed) {
    const float * from = u.z ? w.dz : dy;
    schedule.add([=] {
        if (u.z) {
            const Lora & l = *u.l.lora;
            compute.pool->ranges(l.n_out, [&](int begin, int end, int) { // an output is summed in one order
                for (int t = 0; t < u.rows; t++) {
                    const size_t at = (size_t) t*l.n_out;
                    if (u.active && !u.active[t]) {
                        std::copy(dy + at + begin, dy + at + end, w.dz + at + begin);
                        continue;
                    }
                    for (int o = begin; o < end; o++) {
                        l.dm[o] += l.row_norms[o] > 0 ? dy[at + o]*u.z[at + o]/l.row_norms[o] : 0;
                        w.dz[at + o] = l.gain[o]*dy[at + o];
                    }
                }
            });
        }
        pack_left(compute, packed, {from, u.l.w->n_out});
    });
    return from;
}

} // namespace lq
