// Products that round floats to half precision before they multiply them, as those of Vulkan's shaders with F16 do.
#pragma once
#include "ggml.h"
#include <vector>

namespace devicetest {

// Whether the node is such a product, now.
bool rounds_to_halves(const ggml_tensor * node);

// Rounds an F32 tensor whose values lie at `data`: t becomes a tensor without gaps over `memory`.
void round_to_halves(ggml_tensor & t, std::vector<float> & memory);

} // namespace devicetest
