#include "iq4nl.h"
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace devicetest {

static std::atomic<Codebook> current{Codebook::NF4};

Codebook codebook() { return current; }
void set_codebook(Codebook c) { current = c; }

bool reads_codebook(const ggml_tensor * node) {
    return current != Codebook::GGML && node->src[0] && node->src[0]->type == GGML_TYPE_IQ4_NL && node->type != GGML_TYPE_IQ4_NL;
}

bool writes_codebook(const ggml_tensor * node) {
    return current != Codebook::GGML && node->type == GGML_TYPE_IQ4_NL && node->src[0] && node->src[0]->type != GGML_TYPE_IQ4_NL;
}

// NF4's values (Dettmers et al. 2023, "QLoRA", appendix E).
static const float NF4[16] = {-1.0F, -0.6961928009986877F, -0.5250730514526367F, -0.39491748809814453F, -0.28444138169288635F, -0.18477343022823334F,
    -0.09105003625154495F, 0.0F, 0.07958029955625534F, 0.16093020141124725F, 0.24611230194568634F, 0.33791524171829224F, 0.44070982933044434F,
    0.5626170039176941F, 0.7229568362236023F, 1.0F};

static float value(int code) { return current == Codebook::NF4 ? NF4[code] : std::round(127*NF4[code])/127; }

void decode(ggml_tensor & t, std::vector<float> & memory) {
    enum { WEIGHTS = 32, BYTES = 18 };
    const int64_t rows = ggml_nrows(&t), width = t.ne[0];
    memory.resize((size_t) (rows*width));
    float * to = memory.data();
    for (int64_t r = 0; r < rows; r++) {
        const int64_t r1 = r % t.ne[1], r2 = r/t.ne[1] % t.ne[2], r3 = r/t.ne[1]/t.ne[2];
        const auto * block = (const uint8_t *) t.data + r1*t.nb[1] + r2*t.nb[2] + r3*t.nb[3];
        for (int64_t b = 0; b < width/WEIGHTS; b++, block += BYTES, to += WEIGHTS) {
            ggml_fp16_t half;
            memcpy(&half, block, sizeof half);
            const float scale = ggml_fp16_to_fp32(half);
            for (int i = 0; i < WEIGHTS/2; i++) {
                to[i] = scale*value(block[2 + i] & 15);
                to[i + WEIGHTS/2] = scale*value(block[2 + i] >> 4);
            }
        }
    }
    t.type = GGML_TYPE_F32;
    t.data = memory.data();
    t.nb[0] = sizeof(float);
    for (int i = 1; i < GGML_MAX_DIMS; i++) {
        t.nb[i] = t.nb[i - 1]*(size_t) t.ne[i - 1];
    }
}

} // namespace devicetest
