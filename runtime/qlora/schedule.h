// A step as a list of slices: what begin() put into it, slice by slice, so that a decode can run between any two.
#pragma once
#include "product.h"
#include <functional>
#include <vector>

namespace lq {

class Schedule {
public:
    // Slices of products do about this many operations.
    explicit Schedule(double slice_flops) : limit(slice_flops) {}

    void clear();
    double slice_cost() const { return limit; } // operations
    bool finished() const { return at == slices.size(); }
    void run_next() { at += slices[at]() ? 1 : 0; }

    void add(std::function<void()> slice) {
        slices.emplace_back([slice = std::move(slice)] {
            slice();
            return true;
        });
    }
    // A slice that is run again until it returns true.
    void add_repeated(std::function<bool()> slice) { slices.push_back(std::move(slice)); }
    // p's operands are read when its slices run.
    void multiply(const Compute & c, const Product & p);
    // Cuts [0, n) into ranges f(begin, end) whose costs add up to about a slice.
    void ranges(int n, const std::function<double(int)> & cost, const std::function<void(int, int)> & f);

private:
    double limit;
    std::vector<std::function<bool()>> slices;
    size_t at = 0;
};

} // namespace lq
