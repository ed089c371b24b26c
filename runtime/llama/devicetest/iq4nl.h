// IQ4_NL on the device: its blocks with the codebook that the device's back end was built with.
#pragma once
#include "ggml.h"
#include <vector>

namespace devicetest {

// Which codebook that is: NF4's as floats, as our Vulkan back end has it; rounded to 127 steps, as our CUDA back end has it for
// products of integers; or ggml's own.
enum class Codebook { NF4, NF4_INTEGERS, GGML };
Codebook codebook();
void set_codebook(Codebook c);

// Whether a node reads IQ4_NL blocks as numbers, with a codebook that ggml's CPU back end does not have.
bool reads_codebook(const ggml_tensor * node);
// Whether it would write them.
bool writes_codebook(const ggml_tensor * node);

// The weights of an IQ4_NL tensor whose rows lie at `data`: t becomes an F32 tensor over `memory`.
void decode(ggml_tensor & t, std::vector<float> & memory);

} // namespace devicetest
