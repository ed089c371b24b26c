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

namespace {

double plain_inverse_rms(const float * x, float eps, int n) {
    double s = 0;
    for (int i = 0; i < n; i++) {
        s += (double) x[i]*x[i];
    }
    return 1/sqrt(s/n + eps);
}

} // namespace

void plain_rms_norm(const float * x, const float * w, float eps, int rows, int n, float * y) {
    for (int t = 0; t < rows; t++, x += n, y += n) {
        const double r = plain_inverse_rms(x, eps, n);
        for (int i = 0; i < n; i++) {
            y[i] = (float) (x[i]*r*w[i]);
        }
    }
}

void plain_rms_norm_backward(const float * x, const float * w, const float * dy, float eps, int rows, int n, float * dx, bool accumulate) {
    for (int t = 0; t < rows; t++, x += n, dy += n, dx += n) {
        const double r = plain_inverse_rms(x, eps, n);
        double s = 0; // of the part of dy along x
        for (int i = 0; i < n; i++) {
            s += (double) x[i]*w[i]*dy[i];
        }
        for (int i = 0; i < n; i++) {
            dx[i] = (float) ((accumulate ? dx[i] : 0.0) + dy[i]*w[i]*r - x[i]*s*r*r*r/n);
        }
    }
}

} // namespace lq
