// What a weight must be.
#include "weights.h"

namespace lq {

const char * kind_name(int kind) {
    static const char * const names[LQ_KINDS] = {"none", "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_0_X8", "Q4_1", "Q5_0", "Q5_1",
        "Q4_K", "Q4_K_X8", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_NL_X8", "NF4"};
    return kind >= 0 && kind < LQ_KINDS ? names[kind] : "unknown";
}

const char * weight_fault(const Weight & w) {
    if (w.kind <= LQ_NONE || w.kind >= LQ_KINDS) {
        return "has a type that training cannot read";
    }
    if (w.n_in <= 0 || w.n_out <= 0) {
        return "is missing";
    }
    const bool super = w.kind == LQ_Q4_K || w.kind == LQ_Q4_K_X8 || w.kind == LQ_Q5_K || w.kind == LQ_Q6_K;
    if (w.kind > LQ_BF16 && w.n_in % (super ? 256 : 32)) {
        return "has a width that is not a whole number of blocks";
    }
    const bool eight = w.kind == LQ_Q4_0_X8 || w.kind == LQ_Q4_K_X8 || w.kind == LQ_IQ4_NL_X8;
    if (eight && w.n_out % 8) {
        return "is interleaved by eight rows but has another number of them";
    }
    if (w.kind == LQ_NF4 ? !w.nf4 : !w.data) {
        return "has no data";
    }
    return nullptr;
}

} // namespace lq
