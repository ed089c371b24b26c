// A transformer layer forward: x + o(attention(norm(x))), then + down(silu(gate(norm)) * up(norm)).
#include "trainer.h"
#include <string.h>

namespace lq {

// whole: the layer's output is wanted; without it only what backward needs is computed again.
void Trainer::schedule_forward(int layer, Activations & a, bool whole) {
    const float * attn_norm = norm_weight(layer, LQ_ATTN_NORM), * ffn_norm = norm_weight(layer, LQ_FFN_NORM);
    const float * q_norm = norm_weight(layer, LQ_Q_NORM), * k_norm = norm_weight(layer, LQ_K_NORM);
    const int d = model.n_embd, ff = model.n_ff, q_width = attention_shape.q_width();
    const float * x = w.residual[layer];
    float * out = w.residual[layer + 1];
    const Left narrow = input(T, d), attended = input(T, q_width), act = input(T, ff);
    const size_t bytes = (size_t) T*d*sizeof(float);

    schedule.add([=] {
        rms_norm(compute, x, attn_norm, model.norm_eps, T, d, w.normed);
        pack_left(compute, narrow, {w.normed, d});
    });
    schedule_linear(use(layer, LQ_Q, w.normed, a), narrow, q_norm ? a.q_raw : a.q, false);
    schedule_linear(use(layer, LQ_K, w.normed, a), narrow, k_norm ? a.k_raw : a.k, false);
    schedule_linear(use(layer, LQ_V, w.normed, a), narrow, a.v, false);
    schedule.add([=, &a] {
        const int heads = model.n_heads, kv_heads = model.n_kv_heads, size = model.head_size;
        if (q_norm) {
            rms_norm(compute, a.q_raw, q_norm, model.norm_eps, T*heads, size, a.q);
            rms_norm(compute, a.k_raw, k_norm, model.norm_eps, T*kv_heads, size, a.k);
        }
        rope(compute, rotary, a.q, T, heads);
        rope(compute, rotary, a.k, T, kv_heads);
        if (rounds(LQ_HALF_KV)) {
            round_kv(a);
        }
    });
    schedule.ranges((int) blocks.size(), [this](int i) { return flops_of(attention_shape, blocks[i]); }, [this, &a](int begin, int end) {
        attention(compute, attention_shape, blocks.data() + begin, end - begin, a.q, a.k, a.v, a.attended);
    });
    schedule.add([=, &a] {
        pack_left(compute, attended, {a.attended, q_width});
        memcpy(a.middle, x, bytes);
    });
    schedule_linear(use(layer, LQ_O, a.attended, a), attended, a.middle, true);

    schedule.add([=, &a] {
        rms_norm(compute, a.middle, ffn_norm, model.norm_eps, T, d, w.normed);
        pack_left(compute, narrow, {w.normed, d});
    });
    schedule_linear(use(layer, LQ_GATE, w.normed, a), narrow, a.gate, false);
    schedule_linear(use(layer, LQ_UP, w.normed, a), narrow, a.up, false);
    const LinearUse down = use(layer, LQ_DOWN, w.act, a);
    if (!whole && !down.l.lora) {
        return;
    }
    schedule.add([=, &a] {
        swiglu(compute, a.gate, a.up, (size_t) T*ff, w.act);
        pack_left(compute, act, {w.act, ff});
        if (whole) {
            memcpy(out, a.middle, bytes);
        }
    });
    if (whole) {
        schedule_linear(down, act, out, true);
    } else if (down.z) {
        schedule_product(down, act, down.z, false);
    } else {
        schedule_hidden(down, act);
    }
}

} // namespace lq
