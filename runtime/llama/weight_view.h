// The base's weights as they lie in memory, for what an adapter must know of them when it is packed.
#pragma once
#include "model.h"
#include "../qlora/read.h"
#include <functional>
#include <memory>

namespace lorikeet {

// The rows of a target's weight as floats, wherever it lies. Those in a device's memory are copied from there some at a time.
class WeightRows {
public:
    // Throws where the weight's type or layout is not one that can be read.
    WeightRows(const Model & m, int target);

    // Rows [row, row+rows) of W + change, (rows, n_in). row is a multiple of LQ_READ_ROWS, rows is at most that. Any thread.
    std::unique_ptr<float[]> read(const lq_low_rank & change, int row, int rows) const;

    const int n_in, n_out;

private:
    std::unique_ptr<float[]> read_from_device(const lq_low_rank & change, int row, int rows) const;
    [[noreturn]] void refuse() const;

    const ggml_tensor * const weight;
    const bool device;
    bool nf4 = false; // on a device
    lq_weight view = {};
};

// Calls f for groups of LQ_READ_ROWS rows and returns when all are done, or throws what one of the calls threw. The
// process has one pool of threads for this, one per CPU, however many callers there are; they give way to any other
// thread, so that those that decode go first.
void in_background(int rows, const std::function<void(int row, int rows)> & f);

} // namespace lorikeet
