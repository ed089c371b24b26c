// The small kernels and the decoding of weights for AVX2.
#if defined(__x86_64__)
#pragma GCC target("arch=x86-64-v3")
#define LQ_VECTORS 256
#include "fill.inc.h"
#include "kernels.h"
#include "rows.inc.h"

namespace lq {
const SmallKernels small_avx2 = {row_kernels, fills};
} // namespace lq
#endif
