#include "ops.h"
#include <algorithm>
#include <math.h>

namespace lq {

void make_rotary(const lq_model & m, const int * pos, int T, float * cos, float * sin) {
    const int half = m.head_size/2;
    const float ratio = powf(m.rope_base, -2.0f/m.head_size), gain = m.rope_gain ? m.rope_gain : 1;
    for (int t = 0; t < T; t++, cos += half, sin += half) {
        float angle = (float) pos[t];
        for (int i = 0; i < half; i++, angle *= ratio) { // in single precision and by steps, as llama.cpp does
            const float turn = m.rope_freq_scale ? angle*m.rope_freq_scale[i] : angle;
            cos[i] = cosf(turn)*gain;
            sin[i] = sinf(turn)*gain;
        }
    }
}

namespace {

void turn(const Compute & c, const Rotary & r, float * x, int T, int heads, float direction) {
    const size_t half = r.head_size/2, width = (size_t) heads*r.head_size;
    c.pool->ranges(T, [&](int begin, int end, int) {
        for (size_t t = begin; t < (size_t) end; t++) {
            c.kernels.rows->rope(x + t*width, heads, r.head_size, r.cos + t*half, r.sin + t*half, r.neox, direction);
        }
    });
}

} // namespace

void rope(const Compute & c, const Rotary & r, float * x, int T, int heads) { turn(c, r, x, T, heads, 1); }

void rope_backward(const Compute & c, const Rotary & r, float * dx, int T, int heads) { turn(c, r, dx, T, heads, -1); }

} // namespace lq

void lq_rope_scaling(int head_size, float base, float freq_scale, const float * factors, float ext_factor, float attn_factor,
    float beta_fast, float beta_slow, int n_ctx_orig, float * scales, float * gain) {
    // YaRN (Peng et al. 2023) blends interpolated and original frequencies over a range of pairs.
    const auto pair_of = [&](float turns) { return head_size*logf(n_ctx_orig/(turns*2*(float) M_PI))/(2*logf(base)); };
    float low = 0, high = 0;
    if (ext_factor != 0) {
        low = std::max(0.0f, floorf(pair_of(beta_fast)));
        high = std::min((float) head_size - 1, ceilf(pair_of(beta_slow)));
    }
    for (int i = 0; i < head_size/2; i++) {
        float s = freq_scale;
        if (ext_factor != 0) {
            const float ramp = (i - low)/std::max(0.001f, high - low);
            const float original = (1 - std::min(1.0f, std::max(0.0f, ramp)))*ext_factor;
            s = freq_scale*(1 - original) + original;
        }
        scales[i] = s/(factors ? factors[i] : 1);
    }
    *gain = ext_factor != 0 ? attn_factor*(1 + 0.1f*logf(1/freq_scale)) : attn_factor;
}
