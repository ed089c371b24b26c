#include "ops.h"
#include <math.h>

namespace lq {

void rms_norm(const Compute & c, const float * x, const float * w, float eps, int rows, int n, float * y) {
    c.pool->ranges(rows, [&](int begin, int end, int) {
        for (size_t t = begin; t < (size_t) end; t++) {
            c.kernels.rows->rms_norm(x + t*n, w, eps, n, y + t*n);
        }
    });
}

void rms_norm_backward(const Compute & c, const float * x, const float * w, const float * dy, float eps, int rows, int n, float * dx, bool accumulate) {
    c.pool->ranges(rows, [&](int begin, int end, int) {
        for (size_t t = begin; t < (size_t) end; t++) {
            c.kernels.rows->rms_norm_backward(x + t*n, w, dy + t*n, eps, n, dx + t*n, accumulate);
        }
    });
}

void rms_norm_weight_backward(const Compute & c, const float * x, const float * dy, float eps, int rows, int n, float * inverse, float * dw) {
    c.pool->ranges(rows, [&](int begin, int end, int) {
        for (size_t t = begin; t < (size_t) end; t++) {
            inverse[t] = c.kernels.rows->inverse_rms(x + t*n, eps, n);
        }
    });
    c.pool->ranges(n, [&](int begin, int end, int) {
        for (size_t t = 0; t < (size_t) rows; t++) {
            c.kernels.rows->add_product(x + t*n + begin, dy + t*n + begin, inverse[t], end - begin, dw + begin);
        }
    });
}

} // namespace lq
