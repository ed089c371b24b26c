// What LoftQ decomposes: the difference of the weight before quantization and the weight, W0 - W. It is never made: a product with it
// is the difference of two products.
#include "decompose.h"
#include "read.h"
#include <algorithm>
#include <memory>
#include <utility>

namespace lq {

namespace {

constexpr double MOST_LOST = 0.5;   // of the original's square, by quantization: every type of 2 bits and more loses less
constexpr double LEAST_LOST = 1e-12;
constexpr int COMPARED_GROUPS = 16; // of LQ_READ_ROWS rows each

} // namespace

// Hugging Face has the pairs of a head that RoPE rotates half a head apart, GGUF side by side.
int Decompose::original_row(int row) const {
    if (!m.original_heads) {
        return row;
    }
    const int half = l.n_out/m.original_heads/2, head = row/(2*half), i = row % (2*half)/2, pair = row % 2;
    return (2*head + pair)*half + i;
}

// Looks at rows of both, so that another model's weights are not taken for the original.
void Decompose::plan_comparison() {
    const int all = (l.n_out + LQ_READ_ROWS - 1)/LQ_READ_ROWS, groups = std::min(all, COMPARED_GROUPS);
    auto sums = std::make_shared<std::pair<double, double>>(); // squares of the difference and of the original
    inner.ranges(groups, [this](int) { return 8.0*LQ_READ_ROWS*l.n_in; }, [=](int from, int to) {
        const lq_low_rank nothing = {};
        float * read = space.rows[0], * original = read + (size_t) LQ_READ_ROWS*l.n_in;
        for (int g = from; g < to; g++) {
            const int row = (int) ((int64_t) g*all/groups)*LQ_READ_ROWS, rows = std::min((int) LQ_READ_ROWS, l.n_out - row);
            lq_read_rows(l.w, &nothing, row, rows, read, original);
            for (int r = 0; r < rows; r++) {
                lq_read_rows(&m.original, &nothing, original_row(row + r), 1, original, nullptr);
                for (int c = 0; c < l.n_in; c++) {
                    const double d = (double) original[c] - read[(size_t) r*l.n_in + c];
                    sums->first += d*d;
                    sums->second += (double) original[c]*original[c];
                }
            }
        }
    });
    inner.add([=] {
        if (sums->first <= LEAST_LOST*sums->second) {
            throw Error{LQ_INVALID, target_name(m.layer, m.target) + ".weight is the original's own: nothing was lost that \"loftq\" (init_lora_weights) could begin with"};
        }
        if (!(sums->first <= MOST_LOST*sums->second)) {
            throw Error{LQ_INVALID, target_name(m.layer, m.target) + ".weight of the original is not what the base was quantized from: they have too little in common"};
        }
    });
}

// y (k, n_out) = x W^T, where W is what is decomposed
void Decompose::plan_forward() {
    if (m.init != LQ_INIT_LOFTQ) {
        plan_product(space.x, l.n_in, Right::forward(*l.w), space.y);
        return;
    }
    const bool other = m.original_heads > 0;
    const Left left = {(Unit *) space.left, k, l.n_in, nullptr};
    plan_product(space.x, l.n_in, Right::forward(m.original), other ? space.turned : space.y);
    if (other) {
        inner.add([this] {
            compute.pool->run(k, [&](int i, int) {
                for (int o = 0; o < l.n_out; o++) {
                    space.y[(size_t) i*l.n_out + o] = space.turned[(size_t) i*l.n_out + original_row(o)];
                }
            });
        });
    }
    inner.multiply(compute, product(left, Right::forward(*l.w), space.y, l.n_out, true, -1));
}

// x (k, n_in) = y W
void Decompose::plan_backward() {
    if (m.init != LQ_INIT_LOFTQ) {
        plan_product(space.y, l.n_out, Right::backward(*l.w), space.x);
        return;
    }
    const Left left = {(Unit *) space.left, k, l.n_out, nullptr};
    if (m.original_heads) {
        inner.add([this] {
            compute.pool->run(k, [&](int i, int) {
                for (int o = 0; o < l.n_out; o++) {
                    space.turned[(size_t) i*l.n_out + original_row(o)] = space.y[(size_t) i*l.n_out + o];
                }
            });
        });
    }
    plan_product(m.original_heads ? space.turned : space.y, l.n_out, Right::backward(m.original), space.x);
    if (m.original_heads) { // the rows of the weight are in its own order
        inner.add([=] { pack_left(compute, left, {space.y, l.n_out}); });
    }
    inner.multiply(compute, product(left, Right::backward(*l.w), space.x, l.n_in, true, -1));
}

} // namespace lq
