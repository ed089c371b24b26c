// The engine's own exception.
#pragma once
#include "c_api.h"
#include <string>

namespace lq {

// An error with a sentence for the user.
struct Error {
    int status; // an lq_status
    std::string message;
};

} // namespace lq
