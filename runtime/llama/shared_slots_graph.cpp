// The nodes that add adapters whose slots are shared by many rows, as those of a prompt share one. The different slots of the
// batch are copied side by side, which makes of them one matrix A (n_in, ranks x slots) and one B (ranks x slots, n_out); what a row's
// product with A has of slots that are not the row's is multiplied by 0 between the two.
#include "hooks.h"
#include <algorithm>

namespace lorikeet {

static ggml_tensor * input(ggml_context * ctx, ggml_type type, int64_t n0, int64_t n1 = 1, int64_t n2 = 1) {
    ggml_tensor * t = ggml_new_tensor_3d(ctx, type, n0, n1, n2);
    ggml_set_input(t);
    return t;
}

// Copies of the shared slots (n0, n1, slots), in floats.
static ggml_tensor * copies(ggml_context * ctx, ggml_tensor * slots, ggml_tensor * ids) {
    ggml_tensor * flat = ggml_get_rows(ctx, ggml_reshape_2d(ctx, slots, slots->ne[0]*slots->ne[1], slots->ne[2]), ids);
    return ggml_reshape_3d(ctx, flat, slots->ne[0], slots->ne[1], ids->ne[0]);
}

ggml_tensor * multiply_shared(ggml_context * ctx, Rows & rows, Rows::Span & s, int target, int rank_class, ggml_tensor * x) {
    const Slots & pool = *rows.mixes.slots;
    Rows::SharedSlots & in = s.shared[rank_class];
    const int64_t n = x->ne[1], k = rows.needs.slots[(size_t) rank_class], c = (int64_t) MIN_RANK_CLASS << rank_class;
    if (!in.ids) {
        in.ids = input(ctx, GGML_TYPE_I32, k);
        in.mask = input(ctx, GGML_TYPE_F32, 1, k, n);
        in.scales = input(ctx, GGML_TYPE_F32, 1, k, (int64_t) rows.mixes.model->targets.size());
    }
    ggml_tensor * a = copies(ctx, pool.a(target, rank_class), in.ids); // (n_in, c, k)
    ggml_tensor * h = real_mul_mat(ctx, ggml_reshape_2d(ctx, a, a->ne[0], c*k), x);
    ggml_tensor * of_target = ggml_view_2d(ctx, in.scales, 1, k, in.scales->nb[1], (size_t) target*in.scales->nb[2]);
    h = ggml_mul(ctx, ggml_reshape_3d(ctx, h, c, k, n), ggml_mul(ctx, in.mask, of_target));
    ggml_tensor * b = copies(ctx, pool.b(target, rank_class), in.ids); // (c, n_out, k)
    if (k > 1) {
        b = ggml_cont(ctx, ggml_permute(ctx, b, 0, 2, 1, 3)); // (c, k, n_out)
    }
    return real_mul_mat(ctx, ggml_reshape_2d(ctx, b, c*k, pool.b(target, rank_class)->ne[1]), ggml_reshape_2d(ctx, h, c*k, n));
}

// ---- inputs ----------------------------------------------------------------------------------------

// Where among the shared slots a term's is; adds it where it is not among them.
static size_t index_of(std::vector<int> & places, const Term & term) {
    const auto at = std::find(places.begin(), places.end(), term.place.lora);
    if (at != places.end()) {
        return (size_t) (at - places.begin());
    }
    places.push_back(term.place.lora);
    return places.size() - 1;
}

void Rows::fill_shared(Span & s) {
    for (int c = 0; c < RANK_CLASSES; c++) {
        SharedSlots & in = s.shared[c];
        if (!in.ids || !in.ids->buffer) {
            continue; // no node reads it
        }
        const size_t k = (size_t) in.ids->ne[0], targets = mixes.model->targets.size();
        std::vector<float> mask(k*s.mix.size()), scales(k*targets);
        in.places.clear();
        for (size_t i = 0; i < s.mix.size(); i++) {
            for (const Term & term : mixes.terms(s.mix[i])) {
                if (term.place.lora < 0 || term.rank_class != c) {
                    continue;
                }
                const size_t j = index_of(in.places, term);
                mask[i*k + j] += term.scale;
                for (size_t t = 0; t < targets; t++) {
                    const Plain & p = term.pack->plain[t];
                    scales[t*k + j] = p.rank > 0 && mixes.slots->has((int) t) ? p.scale : 0;
                }
            }
        }
        std::vector<int32_t> ids(k, in.places.empty() ? 0 : in.places[0]/(MIN_RANK_CLASS << c));
        for (size_t j = 0; j < in.places.size(); j++) {
            ids[j] = in.places[j]/(MIN_RANK_CLASS << c);
        }
        ggml_backend_tensor_set(in.ids, ids.data(), 0, ids.size()*sizeof(int32_t));
        ggml_backend_tensor_set(in.mask, mask.data(), 0, mask.size()*sizeof(float));
        ggml_backend_tensor_set(in.scales, scales.data(), 0, scales.size()*sizeof(float));
    }
}

} // namespace lorikeet
