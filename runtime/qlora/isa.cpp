// Which instruction set runs.
#include "kernels.h"
#include <algorithm>
#include "tiles.h"
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

// Whether the CPU multiplies tiles of bfloat16 and the kernel lets this process use their registers: it must ask,
// once for all threads.
static bool amx(void) {
    enum { REQUEST = 0x1023, TILE_DATA = 18 }; // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    unsigned a, b, c, d;
    const unsigned needed = 1u << 22 | 1u << 24; // AMX-BF16, AMX-TILE
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & needed) == needed && syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}
#elif defined(__x86_64__)
static bool amx(void) { return false; }
#endif

static int detect(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi2")) {
        return LQ_PORTABLE;
    }
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512cd")) {
        return LQ_AVX2;
    }
    if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512vnni")) {
        return LQ_AVX512;
    }
    return amx() ? LQ_AMX : LQ_AVX512_BYTES;
#else
    return LQ_PORTABLE;
#endif
}

int lq_best_isa(void) {
    static const int best = detect();
    return best;
}

const char * lq_isa_name(int isa) {
    switch (isa) {
    case LQ_AUTO: return "auto";
    case LQ_PORTABLE: return "portable";
    case LQ_AVX2: return "avx2";
    case LQ_AVX512: return "avx512";
    case LQ_AVX512_BF16: return "avx512-bf16";
    case LQ_AVX512_BYTES: return "avx512-bytes";
    case LQ_AMX: return "amx";
    default: return "unknown";
    }
}

namespace lq {

Kernels kernels_for(int isa) {
    if (isa == LQ_AUTO) {
        isa = lq_best_isa();
    }
    if (isa > lq_best_isa()) {
        return {isa, nullptr, nullptr, nullptr, nullptr};
    }
    switch (isa) {
    case LQ_PORTABLE: return {isa, &tile_portable, nullptr, &small_portable.rows, small_portable.fills};
#if defined(__x86_64__)
    case LQ_AVX2: return {isa, &tile_avx2, nullptr, &small_avx2.rows, small_avx2.fills};
    case LQ_AVX512: return {isa, &tile_avx512, nullptr, &small_avx512.rows, small_avx512.fills};
    case LQ_AVX512_BF16: return {isa, &tile_avx512_bf16, nullptr, &small_avx512.rows, small_avx512.fills};
    case LQ_AVX512_BYTES: return {isa, &tile_avx512_bf16, &byte_tile_avx512, &small_avx512.rows, small_avx512.fills};
    case LQ_AMX: return {isa, &tile_amx, nullptr, &small_avx512.rows, small_avx512.fills};
#endif
    default: return {isa, nullptr, nullptr, nullptr, nullptr};
    }
}

int exact_isa(int isa) { return std::min(kernels_for(isa).isa, (int) LQ_AVX512); }

} // namespace lq
