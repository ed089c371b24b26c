// The small kernels and the decoding of weights for AVX-512.
#if defined(__x86_64__)
#pragma GCC target("arch=x86-64-v4")
#define LQ_VECTORS 512
#include "fill.inc.h"
#include "kernels.h"
#include "rows.inc.h"

namespace lq {
const SmallKernels small_avx512 = {row_kernels, fills};
} // namespace lq
#endif
