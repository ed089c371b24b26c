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
    // How much an operation of the products that are added from now on costs; 1 at first.
    void set_price(double of_an_operation) { price = of_an_operation; }
    double slice_cost() const { return limit; } // operations
    // What the slices that are left cost at most, by how much a slice should cost: of those whose cost is known.
    double largest() const;
    size_t left() const { return slices.size() - at; }
    bool finished() const { return at == slices.size(); }
    double run_next(); // returns the seconds that it took
    // The seconds that the next slice is expected to take, as the last ones of its kind did.
    double expected() const;

    void add(std::function<void()> slice) { add(0, std::move(slice)); }
    // A slice that is run again until it returns true.
    void add_repeated(std::function<bool()> slice) { slices.push_back({std::move(slice), 0}); }
    // p's operands are read when its slices run.
    void multiply(const Compute & c, const Product & p);
    // Cuts [0, n) into ranges f(begin, end) whose costs add up to about a slice.
    void ranges(int n, const std::function<double(int)> & cost, const std::function<void(int, int)> & f);

private:
    struct Slice {
        std::function<bool()> run;
        double cost; // in operations of products; 0: not known
    };
    void add(double cost, std::function<void()> slice) {
        slices.push_back({[slice = std::move(slice)] {
            slice();
            return true;
        }, cost});
    }

    double limit, price = 1;
    std::vector<Slice> slices;
    size_t at = 0;
    double per_cost = 0, each = 0; // seconds of a slice, by its cost, and of one whose cost is not known
};

} // namespace lq
