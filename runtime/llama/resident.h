// The base's weights as they lie in memory, for what an adapter must know of them when it is packed.
#pragma once
#include "model.h"
#include "../qlora/read.h"
#include <functional>

namespace lorikeet {

// How the target's weight is read. Throws where its type or layout is not one that can be.
lq_weight resident(const Model & m, int target);

// Calls f for groups of LQ_READ_ROWS rows, on one thread per CPU, which give way to any other: those that decode go
// first.
void in_background(int rows, const std::function<void(int row, int rows)> & f);

} // namespace lorikeet
