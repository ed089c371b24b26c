#include "ops.h"
#include <algorithm>
#include <math.h>

namespace lq {

namespace {

// Elements that one call of a row kernel does.
constexpr size_t PIECE = 4096;

template <typename F> void pieces(const Compute & c, size_t n, const F & f) {
    c.pool->run((int) ((n + PIECE - 1)/PIECE), [&](int i, int) {
        const size_t from = i*PIECE;
        f(from, (int) std::min(PIECE, n - from));
    });
}

} // namespace

void swiglu(const Compute & c, const float * gate, const float * up, size_t n, float * y) {
    pieces(c, n, [&](size_t i, int m) { c.kernels.rows->swiglu(gate + i, up + i, m, y + i); });
}

void swiglu_backward(const Compute & c, const float * gate, const float * up, size_t n, float * dy, float * d_up) {
    pieces(c, n, [&](size_t i, int m) { c.kernels.rows->swiglu_backward(gate + i, up + i, m, dy + i, d_up + i); });
}

void add(const Compute & c, const float * x, size_t n, float * y) {
    pieces(c, n, [&](size_t i, int m) { c.kernels.rows->add(x + i, m, y + i); });
}

} // namespace lq
