// The base's weights as they lie in memory, for what an adapter must know of them when it is packed.
#pragma once
#include "model.h"
#include "../qlora/read.h"
#include <functional>

namespace lorikeet {

// How the target's weight is read. Throws where its type or layout is not one that can be.
lq_weight weight_view(const Model & m, int target);

// Calls f for groups of LQ_READ_ROWS rows and returns when all are done, or throws what one of the calls threw. The
// process has one pool of threads for this, one per CPU, however many callers there are; they give way to any other
// thread, so that those that decode go first.
void in_background(int rows, const std::function<void(int row, int rows)> & f);

} // namespace lorikeet
