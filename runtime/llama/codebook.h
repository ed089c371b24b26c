// NF4 on devices. A block of 32 NF4 weights has the layout of an IQ4_NL block of ggml's, and another codebook. Back ends for
// this program are built with NF4's codebook in the place of IQ4_NL's; what a device has, it is asked.
#pragma once
#include "ggml-backend.h"

namespace lorikeet {

// Whether the device multiplies IQ4_NL's blocks with NF4's codebook, as floats or rounded to 127 steps. It is asked by a product
// with a weight that has every code. Throws where the device fails.
bool has_nf4_codebook(ggml_backend_dev_t device);

} // namespace lorikeet
