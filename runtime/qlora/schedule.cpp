#include "schedule.h"

namespace lq {

void Schedule::clear() {
    slices.clear();
    at = 0;
}

void Schedule::multiply(const Compute & c, const Product & p) {
    const int panels = panels_of(p);
    const double each = flops_of(p)/panels;
    ranges(panels, [each](int) { return each; }, [&c, p](int begin, int end) { lq::multiply(c, p, begin, end); });
}

void Schedule::ranges(int n, const std::function<double(int)> & cost, const std::function<void(int, int)> & f) {
    double total = 0;
    for (int i = 0; i < n; i++) {
        total += cost(i);
    }
    const int pieces = total > limit ? (int) (total/limit) + 1 : 1; // equal pieces, none of them a small rest
    double done = 0;
    for (int i = 0, begin = 0, piece = 1; i < n; i++) {
        done += cost(i);
        if (i == n - 1 || done >= total*piece/pieces) {
            add([=] { f(begin, i + 1); });
            begin = i + 1;
            piece++;
        }
    }
}

} // namespace lq
