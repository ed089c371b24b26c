// Which instruction set runs.
#include "internal.h"

static int detect(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    // F16C is older than both of these, and Clang's builtin does not know its name.
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        return LK_PORTABLE;
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni")) {
        return LK_AVX512;
    }
    return LK_AVX2;
#else
    return LK_PORTABLE;
#endif
}

static int forced = -1; // written by lk_force_isa alone

int lk_best_isa(void) {
    static const int best = detect();
    return best;
}

int lk_isa(void) { return forced < 0 ? lk_best_isa() : forced; }

int lk_force_isa(int isa) {
    const int best = lk_best_isa();
    forced = isa < LK_PORTABLE ? LK_PORTABLE : isa > best ? best : isa;
    return forced;
}
