#include "byte_tile.h"

namespace lq {

int byte_zero(int kind) {
    switch (kind) {
    case LQ_Q4_0:
    case LQ_Q4_0_X8: return 8;
    case LQ_Q8_0:
    case LQ_Q8_0_STRIPS:
    case LQ_IQ4_NL:
    case LQ_IQ4_NL_X8:
    case LQ_NF4: return 128;
    default: return -1;
    }
}

} // namespace lq
