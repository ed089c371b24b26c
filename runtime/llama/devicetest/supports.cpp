// Which operations the device takes: those that the back ends which it stands for take, and that ggml's CPU back end computes.
#include "compute.h"
#include "devicetest.h"
#include "facts.h"
#include "iq4nl.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include <atomic>
#include <cstring>

namespace devicetest {

static std::atomic<uint32_t> stands_for{CUDA | VULKAN};
static std::atomic<bool> refuses_iq4nl{false};

static bool has(uint64_t set, int element) { return set >> element & 1; }

// The back ends that take an operation.
static uint32_t takers(const Look & l) {
    uint32_t out = 0;
    for (int i = 0; i < n_facts; i++) {
        const Fact & f = facts[i];
        if (f.op == l.op && has(f.subs, l.sub) && has(f.results, l.result) && has(f.firsts, l.first) && has(f.seconds, l.second) && (l.conditions & f.needs) == f.needs) {
            out |= f.backends;
        }
    }
    return out;
}

bool stands_for_vulkan() { return stands_for & VULKAN; }

bool supports(const ggml_tensor * op) {
    switch (op->op) {
    case GGML_OP_NONE:
    case GGML_OP_RESHAPE:
    case GGML_OP_VIEW:
    case GGML_OP_PERMUTE:
    case GGML_OP_TRANSPOSE:
        return true;
    default:
        break;
    }
    if (writes_codebook(op)) {
        return false; // it would be encoded with ggml's codebook
    }
    if (refuses_iq4nl && op->op == GGML_OP_MUL_MAT && op->src[0]->type == GGML_TYPE_IQ4_NL) {
        return false;
    }
    const uint32_t all = stands_for;
    return (takers(look(op)) & all) == all && ggml_backend_dev_supports_op(ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0), op);
}

} // namespace devicetest

using namespace devicetest;

void devicetest_stand_for(unsigned backends) { stands_for = backends; }
void devicetest_refuse_iq4nl(int refuse) { refuses_iq4nl = refuse != 0; }
void devicetest_set_codebook(int c) { set_codebook((Codebook) c); }

static int type_named(const char * name) {
    for (int t = 0; t < GGML_TYPE_COUNT; t++) {
        if (ggml_type_name((ggml_type) t) && !strcmp(ggml_type_name((ggml_type) t), name)) {
            return t;
        }
    }
    return NO_SECOND;
}

unsigned devicetest_takers(const char * op, int sub, const char * result, const char * first, const char * second, unsigned without) {
    for (int o = 0; o < GGML_OP_COUNT; o++) {
        if (!strcmp(ggml_op_name((ggml_op) o), op)) {
            return takers({(ggml_op) o, sub, type_named(result), type_named(first), type_named(second), ~without});
        }
    }
    return 0;
}
