// What the device has computed: the multiplications and the bytes of products.
#pragma once
#include "ggml.h"

namespace devicetest {

// Counts a product that is about to be computed. Its tensors' data can be read.
void count(const ggml_tensor * node);

} // namespace devicetest
