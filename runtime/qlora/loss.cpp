#include "ops.h"
#include <math.h>

namespace lq {

void cross_entropy(const Compute & c, float * logits, int rows, int n, const int * labels, float inv_norm, RowLoss * losses) {
    c.pool->run(rows, [&](int t, int) { losses[t] = c.kernels.rows->cross_entropy(logits + (size_t) t*n, n, labels[t], inv_norm); });
}

void plain_cross_entropy(float * logits, int rows, int n, const int * labels, float inv_norm, RowLoss * losses) {
    for (int t = 0; t < rows; t++, logits += n) {
        double top = logits[0], total = 0;
        for (int i = 1; i < n; i++) {
            top = logits[i] > top ? logits[i] : top;
        }
        for (int i = 0; i < n; i++) {
            total += exp(logits[i] - top);
        }
        losses[t] = {(float) (log(total) + top - logits[labels[t]]), logits[labels[t]] >= top};
        for (int i = 0; i < n && inv_norm > 0; i++) {
            logits[i] = (float) ((exp(logits[i] - top)/total - (i == labels[t]))*inv_norm);
        }
    }
}

} // namespace lq
