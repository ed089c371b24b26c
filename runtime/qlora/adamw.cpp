#include "ops.h"
#include <algorithm>
#include <math.h>
#include <vector>

namespace lq {

namespace {
constexpr size_t PIECE = 65536; // weights that one thread takes at a time
int pieces_of(size_t n) { return (int) ((n + PIECE - 1)/PIECE); }
int length_of(size_t n, int piece) { return (int) std::min(PIECE, n - piece*PIECE); }
} // namespace

void adamw(const Compute & c, const Adam & a, size_t n, float * w, const float * g, float * m, float * v) {
    c.pool->run(pieces_of(n), [&](int i, int) {
        const size_t at = i*PIECE;
        c.kernels.rows->adamw(a, length_of(n, i), w + at, g + at, m + at, v + at);
    });
}

double sum_of_squares(const Compute & c, const float * g, size_t n) {
    std::vector<double> parts(pieces_of(n));
    c.pool->run((int) parts.size(), [&](int i, int) {
        const float * p = g + i*PIECE;
        const int length = length_of(n, i);
        double s = 0;
        for (int j = 0; j < length; j += 256) {
            s += c.kernels.rows->dot(p + j, p + j, length - j < 256 ? length - j : 256);
        }
        parts[i] = s;
    });
    double total = 0;
    for (double s : parts) {
        total += s;
    }
    return total;
}

void plain_adamw(const Adam & a, size_t n, float * w, const float * g, float * m, float * v) {
    for (size_t i = 0; i < n; i++) {
        const double gi = (double) g[i]*a.grad_scale;
        const double mi = (double) a.beta1*m[i] + (1.0 - a.beta1)*gi, vi = (double) a.beta2*v[i] + (1.0 - a.beta2)*gi*gi;
        w[i] = (float) (w[i] - a.lr*(mi/a.correction1/(sqrt(vi/a.correction2) + a.eps) + (double) a.weight_decay*w[i]));
        m[i] = (float) mi;
        v[i] = (float) vi;
    }
}

} // namespace lq
