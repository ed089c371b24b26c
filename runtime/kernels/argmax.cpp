// The largest number of a row: which path runs.
#include "internal.h"

int lk_argmax(const float * x, const uint64_t * mask, int n) {
    switch (lk_isa()) {
    case LK_AVX512:
        return lk_argmax_avx512(x, mask, n);
    case LK_AVX2:
        return lk_argmax_avx2(x, mask, n);
    default:
        return lk_argmax_portable(x, mask, n);
    }
}
