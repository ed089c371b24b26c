// The norms of the rows and columns of W + s B A, over the weights as they lie in memory. DoRA needs them once,
// when an adapter is loaded.
#include "weight_view.h"
#include "pack.h"
#include <cmath>

namespace lorikeet {

std::vector<float> row_norms(const Model & m, int target, int rank, float scale, const float * a, const float * b) {
    const WeightRows w(m, target);
    const lq_low_rank change = {rank, scale, a, b, (size_t) rank, 1};
    std::vector<float> out((size_t) w.n_out);
    in_background(w.n_out, [&](int row, int rows) {
        const auto from = w.read(change, row, rows);
        for (int r = 0; r < rows; r++) {
            out[(size_t) row + (size_t) r] = lq_norm(&from[(size_t) r*w.n_in], w.n_in);
        }
    });
    return out;
}

std::vector<float> column_norms(const Model & m, int target, int rank, float scale, const float * a, const float * b) {
    const WeightRows w(m, target);
    const lq_low_rank change = {rank, scale, a, b, (size_t) rank, 1};
    const size_t n = (size_t) w.n_in;
    // A sum for each group of rows, so that the result does not depend on which thread had which.
    const size_t groups = ((size_t) w.n_out + LQ_READ_ROWS - 1)/LQ_READ_ROWS;
    std::vector<float> sums(groups*n);
    in_background(w.n_out, [&](int row, int rows) {
        const auto from = w.read(change, row, rows);
        float * sum = &sums[(size_t) row/LQ_READ_ROWS*n];
        for (size_t at = 0; at < (size_t) rows*n; at += n) {
            for (size_t i = 0; i < n; i++) {
                sum[i] += from[at + i]*from[at + i];
            }
        }
    });
    std::vector<double> total(n);
    for (size_t g = 0; g < groups; g++) {
        for (size_t i = 0; i < n; i++) {
            total[i] += sums[g*n + i];
        }
    }
    std::vector<float> out(n);
    for (size_t i = 0; i < n; i++) {
        out[i] = (float) std::sqrt(total[i]);
    }
    return out;
}

} // namespace lorikeet
