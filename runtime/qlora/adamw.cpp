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

int square_parts(size_t n) { return pieces_of(n); }

void sum_squares(const Compute & c, const float * g, size_t n, int begin, int end, double * parts) {
    c.pool->run(end - begin, [&](int k, int) {
        const int i = begin + k;
        const float * p = g + i*PIECE;
        const int length = length_of(n, i);
        double s = 0;
        for (int j = 0; j < length; j += 256) {
            s += c.kernels.rows->dot(p + j, p + j, length - j < 256 ? length - j : 256);
        }
        parts[i] = s;
    });
}

double sum_of_squares(const Compute & c, const float * g, size_t n) {
    std::vector<double> parts(pieces_of(n));
    sum_squares(c, g, n, 0, (int) parts.size(), parts.data());
    double total = 0;
    for (double s : parts) {
        total += s;
    }
    return total;
}

} // namespace lq
