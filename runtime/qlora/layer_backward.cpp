// A transformer layer backward. w.grad comes in as the gradient of the layer's output and leaves as that of its
// input; the adapters' gradients are added to.
#include "trainer.h"

namespace lq {

void Trainer::schedule_backward(int layer, Activations & a, bool input_needed) {
    const float * ffn_norm = norm_weight(layer, LQ_FFN_NORM);
    const int d = model.n_embd, ff = model.n_ff;
    const Left narrow = left(w.left_dy, T, d), wide = left(w.left_dy, T, ff);

    // down
    const LinearUse down = use(layer, LQ_DOWN, w.act, a);
    schedule.add([=, &a] { swiglu(compute, a.gate, a.up, (size_t) T*ff, w.act); });
    const float * dy = schedule_output_gradient(down, w.grad, narrow);
    schedule_input_gradient(down, narrow, w.wide, false);
    schedule_parameter_gradients(down, dy);
    // gate and up
    const LinearUse gate = use(layer, LQ_GATE, w.normed, a), up = use(layer, LQ_UP, w.normed, a);
    schedule.add([=, &a] {
        swiglu_backward(compute, a.gate, a.up, (size_t) T*ff, w.wide, w.wide2);
        rms_norm(compute, a.middle, ffn_norm, model.norm_eps, T, d, w.normed);
    });
    dy = schedule_output_gradient(gate, w.wide, wide);
    schedule_input_gradient(gate, wide, w.grad2, false);
    schedule_parameter_gradients(gate, dy);
    dy = schedule_output_gradient(up, w.wide2, wide);
    schedule_input_gradient(up, wide, w.grad2, true);
    schedule_parameter_gradients(up, dy);
    // the norm before them, and o
    const LinearUse o = use(layer, LQ_O, a.attended, a);
    schedule.add([=, &a] {
        add_norm_gradient(layer, LQ_FFN_NORM, a.middle, w.grad2, T);
        rms_norm_backward(compute, a.middle, ffn_norm, w.grad2, model.norm_eps, T, d, w.grad, true);
    });
    dy = schedule_output_gradient(o, w.grad, narrow);
    schedule_input_gradient(o, narrow, w.d_attended, false);
    schedule_parameter_gradients(o, dy);
    schedule_attention_backward(layer, a, input_needed);
}

void Trainer::schedule_attention_backward(int layer, Activations & a, bool input_needed) {
    const float * attn_norm = norm_weight(layer, LQ_ATTN_NORM);
    const float * q_norm = norm_weight(layer, LQ_Q_NORM), * k_norm = norm_weight(layer, LQ_K_NORM);
    const bool normed_needed = input_needed || own_norm(layer, LQ_ATTN_NORM);
    const int d = model.n_embd, heads = model.n_heads, kv_heads = model.n_kv_heads, size = model.head_size;
    const float * x = w.residual[layer];
    float * dq = w.wide;
    schedule.ranges((int) wholes.size(), [this](int i) { return 2.5*flops_of(attention_shape, wholes[i]); }, [=, &a](int begin, int end) {
        attention_backward(compute, attention_shape, wholes.data() + begin, end - begin, a.q, a.k, a.v, a.attended, w.d_attended, dq, w.dk, w.dv);
    });
    schedule.add([=, &a] {
        rope_backward(compute, rotary, dq, T, heads);
        rope_backward(compute, rotary, w.dk, T, kv_heads);
        if (q_norm) {
            add_norm_gradient(layer, LQ_Q_NORM, a.q_raw, dq, T*heads);
            add_norm_gradient(layer, LQ_K_NORM, a.k_raw, w.dk, T*kv_heads);
            rms_norm_backward(compute, a.q_raw, q_norm, dq, model.norm_eps, T*heads, size, dq, false);
            rms_norm_backward(compute, a.k_raw, k_norm, w.dk, model.norm_eps, T*kv_heads, size, w.dk, false);
        }
        rms_norm(compute, x, attn_norm, model.norm_eps, T, d, w.normed);
    });
    const float * gradients[] = {dq, w.dk, w.dv};
    for (int i = LQ_Q; i <= LQ_V; i++) {
        const LinearUse u = use(layer, i, w.normed, a);
        const Left dy = left(w.left_dy, T, u.l.w->n_out);
        const float * from = schedule_output_gradient(u, gradients[i], dy);
        schedule_input_gradient(u, dy, normed_needed ? w.grad2 : nullptr, i != LQ_Q);
        schedule_parameter_gradients(u, from);
    }
    if (normed_needed) {
        schedule.add([=] {
            add_norm_gradient(layer, LQ_ATTN_NORM, x, w.grad2, T);
            if (input_needed) {
                rms_norm_backward(compute, x, attn_norm, w.grad2, model.norm_eps, T, d, w.grad, true);
            }
        });
    }
}

} // namespace lq
