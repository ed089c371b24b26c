// The small kernels and the decoding of weights for any CPU.
#if defined(__x86_64__)
#pragma GCC target("arch=x86-64") // whatever the rest is compiled for
#endif
#define LQ_VECTORS 0
#include "fill.inc.h"
#include "kernels.h"
#include "rows.inc.h"

namespace lq {
const SmallKernels small_portable = {row_kernels, fills};
} // namespace lq
