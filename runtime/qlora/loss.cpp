#include "ops.h"
#include <math.h>

namespace lq {

void cross_entropy(const Compute & c, float * logits, int rows, int n, const int * labels, float inv_norm, RowLoss * losses) {
    c.pool->run(rows, [&](int t, int) { losses[t] = c.kernels.rows->cross_entropy(logits + (size_t) t*n, n, labels[t], inv_norm); });
}

} // namespace lq
