// The devices that ggml's back ends have.
#pragma once
#include "ggml-backend.h"

namespace lorikeet {

// The device of that name. Throws where there is none.
ggml_backend_dev_t find_device(const char * name);

} // namespace lorikeet
