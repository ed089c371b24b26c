// What ggml's Vulkan back end takes and computes wrongly, or ends the process for.
#pragma once
#include "ggml.h"

namespace devicetest {

// Returns what is wrong with the place of an operand or of the result, or NULL.
const char * misread(const ggml_tensor * op);

} // namespace devicetest
