// The engine's own exception.
#pragma once
#include "wall.h"
#include <string>

namespace lq {

// An error with a sentence for the user.
struct Fault {
    int status; // an lq_status
    std::string message;
};

} // namespace lq
