// How the device computes: a queue that runs when it is synchronized.
#pragma once
#include "ggml-backend-impl.h"

namespace devicetest {

ggml_backend_t new_backend(ggml_backend_dev_t device, const char * params);

// Whether the device computes the operation.
bool supports(const ggml_tensor * op);

// Whether Vulkan is among the back ends that the device stands for.
bool stands_for_vulkan();

} // namespace devicetest
