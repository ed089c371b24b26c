// What stands between an exception and the C callers: Go's stack cannot be unwound.
#pragma once
#include "error.h"
#include <new>
#include <stdio.h>
#include <system_error>

namespace lq {

// Runs f and turns what it throws into a status and a sentence. Nothing here allocates: it may be memory that is missing.
template <typename F> int guarded(char * error, size_t size, const F & f) {
    try {
        return f();
    } catch (const lq::Error & e) {
        snprintf(error, size, "%s", e.message.c_str());
        return e.status;
    } catch (const std::bad_alloc &) {
        snprintf(error, size, "an allocation failed");
        return LQ_MEMORY;
    } catch (const std::system_error & e) { // of Pool
        snprintf(error, size, "no further thread could be started: %s", e.what());
        return LQ_MEMORY;
    } catch (const std::exception & e) {
        snprintf(error, size, "%s", e.what());
        return LQ_FAILED;
    }
}

} // namespace lq
