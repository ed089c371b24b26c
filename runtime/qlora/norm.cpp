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

} // namespace lq
