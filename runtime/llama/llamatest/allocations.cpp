// The C++ library's operators new and delete, replaced for the whole test program: they count, and fail when a test asks.
#include "llamatest.h"
#include <atomic>
#include <cstdlib>
#include <new>

static std::atomic<int64_t> until_failure{0}, of_others{0};
static std::atomic<bool> counting{false};
static thread_local bool excepted = false;

void test_allocations_fail(int64_t n) { until_failure = n; }
int64_t test_allocations_left(void) { return until_failure; }

int64_t test_allocations_of_workers(int count) {
    excepted = count != 0;
    counting = count != 0;
    return of_others.exchange(0);
}

// Whether this allocation is the one that fails. Threads may allocate at the same time: none counts below 0.
static bool fails() {
    int64_t left = until_failure;
    while (left > 0) {
        if (until_failure.compare_exchange_weak(left, left - 1)) {
            return left == 1;
        }
    }
    return false;
}

void * operator new(size_t n) {
    if (counting && !excepted) {
        of_others++;
    }
    if (fails()) {
        throw std::bad_alloc();
    }
    if (void * p = malloc(n ? n : 1)) {
        return p;
    }
    throw std::bad_alloc();
}

// AddressSanitizer has operators of its own: what is not replaced here would be allocated by it and freed below.
void * operator new(size_t n, const std::nothrow_t &) noexcept {
    try {
        return operator new(n);
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

void operator delete(void * p) noexcept { free(p); }
void operator delete(void * p, size_t) noexcept { free(p); }
void operator delete(void * p, const std::nothrow_t &) noexcept { free(p); }
