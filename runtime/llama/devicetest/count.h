// What the device has computed, the multiplications and the bytes of products, and how data came to it.
#pragma once
#include "ggml.h"
#include <atomic>

namespace devicetest {

// Counts a product that is about to be computed. Its tensors' data can be read.
void count(const ggml_tensor * node);

// What devicetest_transfers tells.
struct Transfers {
    std::atomic<long long> waits{0}, async{0}, copies{0};
};
extern Transfers transfers;

} // namespace devicetest
