// Which operations a back end of ggml takes, as facts: what an operation looks like, and which looks are taken.
#pragma once
#include "ggml.h"
#include <cstdint>

namespace devicetest {

// The back ends that the facts are of.
enum Backends : uint32_t { CUDA = 1, VULKAN = 2 };

// What may be true of the operation's sources and its result. Those that follow from another come before it.
enum Condition : uint32_t {
    FIRST_DENSE         = 1 << 0,  // the first source's elements, or blocks, lie side by side
    FIRST_ROWS          = 1 << 1,  // ggml_is_contiguous_rows
    FIRST_CONTIGUOUS_2  = 1 << 2,
    FIRST_CONTIGUOUS_1  = 1 << 3,
    FIRST_PLANE         = 1 << 4,  // dimensions 0 and 1 without gaps, and 2 and 3
    FIRST_CONTIGUOUS    = 1 << 5,
    SECOND_PLANE        = 1 << 6,
    SECOND_CONTIGUOUS   = 1 << 7,
    RESULT_CONTIGUOUS   = 1 << 8,
    WIDTH_OF_32         = 1 << 9,  // the result's width is a multiple of 32
    FIRST_NARROW        = 1 << 10, // the first source is 1024 wide at most
    RESULT_NARROW       = 1 << 11, // the result is less than 1024 wide
    FIRST_FEW_PLANES    = 1 << 12, // 32768 at most
    SECOND_FEW_PLANES   = 1 << 13, // 1024 at most
    ONE_PLANE           = 1 << 14, // of the result
    SAME_DEPTH          = 1 << 15, // dimension 3 of the factors is the same
    NO_BIAS             = 1 << 16, // no ALiBi
    SAME_KEYS_VALUES    = 1 << 17, // attention: keys and values have one type and one head size
    ONE_MASK            = 1 << 18, // attention: of all heads
};

constexpr int NO_SECOND = 63; // stands for the type of a second source where there is none

// What an operation looks like.
struct Look {
    ggml_op op;
    int sub; // the unary or gated operation, attention's head size in units of 8, 1 for copies to the same type, or 0
    int result, first, second; // types; of a copy to the same type, F32 stands for that of the result
    uint32_t conditions;
};

inline uint32_t when(bool yes, Condition c) { return yes ? (uint32_t) c : 0; }

inline bool plane(const ggml_tensor * t) {
    return t->nb[0] == ggml_type_size(t->type) && t->nb[1] == ggml_row_size(t->type, t->ne[0]) && (t->ne[3] == 1 || t->nb[3] == t->nb[2]*t->ne[2]);
}

inline uint32_t conditions(const ggml_tensor * op) {
    const ggml_tensor * a = op->src[0], * b = op->src[1], * v = op->src[2], * mask = op->src[3];
    const ggml_tensor * factor = op->op == GGML_OP_MUL_MAT_ID ? v : a;
    float bias = 0;
    if (op->op == GGML_OP_SOFT_MAX || op->op == GGML_OP_SOFT_MAX_BACK || op->op == GGML_OP_FLASH_ATTN_EXT) {
        bias = ((const float *) op->op_params)[1];
    }
    const bool attention = op->op == GGML_OP_FLASH_ATTN_EXT;
    return when(!a || a->nb[0] == ggml_type_size(a->type), FIRST_DENSE) | when(!a || ggml_is_contiguous_rows(a), FIRST_ROWS)
        | when(!a || ggml_is_contiguous_2(a), FIRST_CONTIGUOUS_2) | when(!a || ggml_is_contiguous_1(a), FIRST_CONTIGUOUS_1)
        | when(!a || plane(a), FIRST_PLANE) | when(!a || ggml_is_contiguous(a), FIRST_CONTIGUOUS)
        | when(!b || plane(b), SECOND_PLANE) | when(!b || ggml_is_contiguous(b), SECOND_CONTIGUOUS)
        | when(ggml_is_contiguous(op), RESULT_CONTIGUOUS) | when(op->ne[0] % 32 == 0, WIDTH_OF_32)
        | when(!a || a->ne[0] <= 1024, FIRST_NARROW) | when(op->ne[0] < 1024, RESULT_NARROW)
        | when(!a || a->ne[2]*a->ne[3] <= 1 << 15, FIRST_FEW_PLANES) | when(!b || b->ne[2]*b->ne[3] <= 1024, SECOND_FEW_PLANES)
        | when(op->ne[2]*op->ne[3] == 1, ONE_PLANE) | when(!factor || !b || factor->ne[3] == b->ne[3], SAME_DEPTH) | when(bias == 0, NO_BIAS)
        | when(!attention || (b->ne[0] == v->ne[0] && b->type == v->type), SAME_KEYS_VALUES) | when(!attention || !mask || mask->ne[2] == 1, ONE_MASK);
}

inline Look look(const ggml_tensor * op) {
    int sub = 0;
    switch (op->op) {
    case GGML_OP_UNARY: sub = (int) ggml_get_unary_op(op); break;
    case GGML_OP_GLU: sub = (int) ggml_get_glu_op(op); break;
    case GGML_OP_FLASH_ATTN_EXT: sub = op->src[1]->ne[0] % 8 == 0 && op->src[1]->ne[0] < 512 ? (int) op->src[1]->ne[0]/8 : 63; break;
    case GGML_OP_CPY:
    case GGML_OP_CONT:
    case GGML_OP_DUP: sub = op->type == op->src[0]->type; break;
    default: break;
    }
    const bool same = sub && (op->op == GGML_OP_CPY || op->op == GGML_OP_CONT || op->op == GGML_OP_DUP);
    const int second = op->src[1] ? op->src[1]->type : NO_SECOND;
    return {op->op, sub, same ? GGML_TYPE_F32 : op->type, op->src[0] ? op->src[0]->type : NO_SECOND, same && second != NO_SECOND ? GGML_TYPE_F32 : second, conditions(op)};
}

// Operations that a back end takes: those with one of each of the sets of bits, that meet all conditions.
struct Fact {
    ggml_op op;
    uint32_t backends;
    uint32_t needs; // conditions
    uint64_t subs, results, firsts, seconds;
};

extern const Fact facts[];
extern const int n_facts;

} // namespace devicetest
