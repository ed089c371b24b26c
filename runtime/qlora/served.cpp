// Evaluations that compute what decoding does where it rounds least (runtime.Row.Exact), so that log-probabilities of both agree.
#include "../kernels/kernels.h"
#include "trainer.h"
#include "weights_ggml.h"

namespace lq {

// The products of what is scheduled from now on.
void Trainer::choose_kernels() {
    compute.kernels = kernels_for(exact() ? exact_isa(options.isa) : options.isa);
    schedule.set_price(two_milliseconds(kernels_for(options.isa).isa)/two_milliseconds(compute.kernels.isa));
}

// Copies the adapters as runtime/llama packs them. The embedding's are served in single precision.
void Trainer::schedule_rounding() {
    enum { OPERATIONS = 16 }; // as many of a product take as long as rounding a value
    rounded = loras;
    for (size_t i = 0; i < loras.size(); i++) {
        if (!loras[i].dora && modules[i].target != LQ_EMBED) {
            rounded[i].a = w.rounded + loras[i].at_a;
            rounded[i].b = w.rounded + loras[i].at_b;
        }
    }
    const auto values = [this](int i) { return OPERATIONS*(double) loras[i].rank*(loras[i].n_in + loras[i].n_out); };
    schedule.ranges((int) loras.size(), values, [this](int begin, int end) {
        compute.pool->run(2*(end - begin), [&](int at, int) {
            const Lora & from = loras[begin + at/2], & to = rounded[begin + at/2];
            if (from.a == to.a) {
                return;
            }
            if (at % 2) {
                lk_lora_round_f16(from.b, (size_t) from.rank*from.n_out, to.b);
            } else {
                lk_lora_round_f16(from.a, (size_t) from.rank*from.n_in, to.a);
            }
        });
    });
}

void Trainer::round_kv(Activations & a) {
    const size_t width = (size_t) attention_shape.kv_width();
    compute.pool->ranges(T, [&](int begin, int end, int) {
        for (float * x : {a.k, a.v}) {
            round_to_half(x + (size_t) begin*width, (size_t) (end - begin)*width);
        }
    });
}

} // namespace lq
