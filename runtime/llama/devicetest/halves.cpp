#include "halves.h"
#include "devicetest.h"
#include <atomic>

namespace devicetest {

static std::atomic<bool> rounds{false};

bool rounds_to_halves(const ggml_tensor * node) {
    enum { FEW = 8 }; // that many rows are multiplied as vectors, in floats
    return rounds && node->op == GGML_OP_MUL_MAT && node->src[1]->type == GGML_TYPE_F32 && node->src[1]->ne[1] > FEW;
}

void round_to_halves(ggml_tensor & t, std::vector<float> & memory) {
    memory.clear();
    for (int64_t i = 0; i < ggml_nelements(&t); i++) {
        const int64_t i0 = i % t.ne[0], i1 = i/t.ne[0] % t.ne[1], i2 = i/t.ne[0]/t.ne[1] % t.ne[2], i3 = i/t.ne[0]/t.ne[1]/t.ne[2];
        const float x = *(const float *) ((const char *) t.data + (size_t) i0*t.nb[0] + (size_t) i1*t.nb[1] + (size_t) i2*t.nb[2] + (size_t) i3*t.nb[3]);
        memory.push_back(ggml_fp16_to_fp32(ggml_fp32_to_fp16(x)));
    }
    t.data = memory.data();
    t.nb[0] = sizeof(float);
    for (int i = 1; i < GGML_MAX_DIMS; i++) {
        t.nb[i] = t.nb[i - 1]*(size_t) t.ne[i - 1];
    }
}

} // namespace devicetest

void devicetest_round_to_halves(int on) { devicetest::rounds = on != 0; }
