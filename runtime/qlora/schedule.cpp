#include "schedule.h"
#include <algorithm>
#include <chrono>

namespace lq {

void Schedule::clear() {
    slices.clear();
    at = 0;
}

// A slice that took longer than expected counts more than one that was faster, and one that was held up by other programs counts
// as twice what was expected.
double Schedule::run_next() {
    const auto start = std::chrono::steady_clock::now();
    const double cost = slices[at].cost;
    at += slices[at].run() ? 1 : 0;
    const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    double & usual = cost > 0 ? per_cost : each;
    const double now = cost > 0 ? took/cost : took;
    usual += usual == 0 ? now : (std::min(now, 2*usual) - usual)*(now > usual ? 0.3 : 0.05);
    return took;
}

double Schedule::largest() const {
    double most = 0;
    for (size_t i = at; i < slices.size(); i++) {
        most = std::max(most, slices[i].cost);
    }
    return most/limit;
}

double Schedule::expected() const {
    if (finished()) {
        return 0;
    }
    const double cost = slices[at].cost;
    return cost > 0 ? per_cost*cost : each;
}

void Schedule::multiply(const Compute & c, const Product & p) {
    const int panels = panels_of(p);
    const double each = flops_of(p)/panels;
    ranges(panels, [each](int) { return each; }, [&c, p](int begin, int end) { lq::multiply(c, p, begin, end); });
}

void Schedule::ranges(int n, const std::function<double(int)> & cost, const std::function<void(int, int)> & f) {
    double total = 0;
    for (int i = 0; i < n; i++) {
        total += price*cost(i);
    }
    const int pieces = total > limit ? (int) (total/limit) + 1 : 1; // equal pieces, none of them a small rest
    double done = 0, before = 0;
    for (int i = 0, begin = 0, piece = 1; i < n; i++) {
        done += price*cost(i);
        if (i == n - 1 || done >= total*piece/pieces) {
            add(done - before, [=] { f(begin, i + 1); });
            begin = i + 1;
            before = done;
            piece++;
        }
    }
}

} // namespace lq
