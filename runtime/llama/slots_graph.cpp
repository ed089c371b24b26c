// The nodes that add adapters out of slots: ggml's own operations, which every back end has.
//
// The rows of a product are given to ggml_mul_mat_id as the experts that one token uses, not as tokens that use one expert
// each. ggml multiplies them one by one then, as vectors: no row's result depends on the others, CUDA neither waits for the
// host to sort them nor gives its recorded graphs up (with more than one token it does both), and Vulkan has its vector
// shaders. A row without an adapter of a class reads another row's slot and is multiplied by 0: that costs no memory that is
// not read anyway, and less than nodes that gather the other rows and put them back.
#include "hooks.h"

namespace lorikeet {

// How many adapters a row may have in this graph.
static int64_t terms_of(const Rows & rows) { return rows.needs.composed ? MAX_TERMS : 1; }

// The kinds whose columns have scales in this graph, as bits.
static uint32_t scaled_kinds(const Rows & rows) {
    const uint32_t needs = rows.needs.all();
    return (needs & ALL_SCALES)/NEEDS_SCALE | (needs & NEEDS_GAIN ? 1u << Rows::GAIN_INPUT : 0) | (needs & NEEDS_SHIFT ? 1u << Rows::SHIFT_INPUT : 0)
        | (needs & NEEDS_NORM ? 1u << Rows::NORM_INPUT : 0);
}

// The number of a kind among them; of all of them, with SLOT_KINDS.
static int64_t position(const Rows & rows, int kind) {
    return __builtin_popcount(scaled_kinds(rows) & ((1u << kind) - 1));
}

static ggml_tensor * ids_of(ggml_context * ctx, Rows & rows, Rows::Span & s, int kind) {
    ggml_tensor *& ids = s.inputs.ids[kind];
    if (!ids) {
        ids = ggml_new_tensor_2d(ctx, GGML_TYPE_I32, terms_of(rows)*s.n, 1);
        ggml_set_input(ids);
    }
    return ids;
}

// v (n, terms x rows), each column times its scale for the target.
static ggml_tensor * scaled(ggml_context * ctx, Rows & rows, Rows::Span & s, int kind, int target, ggml_tensor * v) {
    Rows::SlotInputs & in = s.inputs;
    if (!in.scales) {
        in.scales = ggml_new_tensor_4d(ctx, GGML_TYPE_F32, 1, terms_of(rows)*s.n, (int64_t) rows.mixes.model->targets.size(), position(rows, Rows::SLOT_KINDS));
        ggml_set_input(in.scales);
        in.near_scales = ggml_cont(ctx, in.scales);
    }
    const ggml_tensor * of = in.near_scales;
    const size_t first = (size_t) target*of->nb[2] + (size_t) position(rows, kind)*of->nb[3];
    return ggml_mul(ctx, v, ggml_view_2d(ctx, in.near_scales, 1, of->ne[1], of->nb[1], first));
}

// y (n_out, rows) + v (n_out, terms x rows). y null: the sum alone.
static ggml_tensor * add_terms(ggml_context * ctx, ggml_tensor * y, ggml_tensor * v, int64_t rows) {
    for (int64_t first = 0; first < v->ne[1]; first += rows) {
        ggml_tensor * term = v->ne[1] == rows ? v : ggml_view_2d(ctx, v, v->ne[0], rows, v->nb[1], (size_t) first*v->nb[1]);
        y = y ? ggml_add(ctx, y, term) : term;
    }
    return y;
}

// x (n_in, rows or terms x rows) with the slots (n_in, n_out, slots) of the rows' terms: (n_out, terms x rows).
static ggml_tensor * multiply(ggml_context * ctx, const Slots & pool, ggml_tensor * slots, ggml_tensor * x, ggml_tensor * ids) {
    if (!pool.gathered()) {
        ggml_tensor * y = ggml_mul_mat_id(ctx, slots, x, ids);
        y->op_params[0] = GGML_PREC_F32; // CUDA would add halves up in half precision
        return y;
    }
    const int64_t n_in = slots->ne[0], n_out = slots->ne[1], n = ids->ne[0];
    ggml_tensor * w = ggml_get_rows(ctx, ggml_reshape_2d(ctx, slots, n_in*n_out, slots->ne[2]), ids);
    x = x->ne[1] < n ? ggml_repeat_4d(ctx, x, n_in, n, 1, 1) : x;
    ggml_tensor * y = real_mul_mat(ctx, ggml_reshape_3d(ctx, w, n_in, n_out, n), ggml_reshape_3d(ctx, x, n_in, 1, n));
    return ggml_reshape_2d(ctx, y, n_out, n);
}

ggml_tensor * add_slots(ggml_context * ctx, Rows & rows, int target, ggml_tensor * y, ggml_tensor * x) {
    const Slots & slots = *rows.mixes.slots;
    Rows::Span & s = rows.span(x->ne[1]);
    const uint32_t needs = rows.needs.of[(size_t) target];
    const int64_t n = x->ne[1];
    if (n == 0) {
        return y; // no row of the ubatch has an output
    }
    ggml_tensor * base = y;
    if (needs & NEEDS_GAIN) {
        ggml_tensor * g = ggml_get_rows(ctx, slots.vectors(target), ids_of(ctx, rows, s, Rows::GAIN_INPUT));
        g = add_terms(ctx, nullptr, scaled(ctx, rows, s, Rows::GAIN_INPUT, target, g), n);
        y = ggml_add(ctx, y, ggml_mul(ctx, base, g));
    }
    if (needs & NEEDS_SHIFT) {
        ggml_tensor * c = ggml_get_rows(ctx, slots.vectors(target), ids_of(ctx, rows, s, Rows::SHIFT_INPUT));
        y = add_terms(ctx, y, scaled(ctx, rows, s, Rows::SHIFT_INPUT, target, c), n);
    }
    for (int k = 0; k < RANK_CLASSES; k++) {
        if (needs & NEEDS_CLASS << k) {
            x = ggml_is_contiguous(x) ? x : ggml_cont(ctx, x);
            if (slots.shared(n, rows.needs.slots[(size_t) k])) {
                y = ggml_add(ctx, y, multiply_shared(ctx, rows, s, target, k, x));
                continue;
            }
            ggml_tensor * ids = ids_of(ctx, rows, s, k);
            ggml_tensor * h = multiply(ctx, slots, slots.a(target, k), x, ids); // (c, terms x rows)
            if (needs & NEEDS_SCALE << k) {
                h = scaled(ctx, rows, s, k, target, h);
            }
            y = add_terms(ctx, y, multiply(ctx, slots, slots.b(target, k), h, ids), n);
        }
    }
    return y;
}

ggml_tensor * norms_in_slots(ggml_context * ctx, Rows & rows, int target, int width, int64_t n) {
    Rows::Span & s = rows.span(n);
    ggml_tensor * from = rows.mixes.slots->norms(target);
    if (from->ne[0] > width) {
        from = ggml_view_2d(ctx, from, width, from->ne[1], from->nb[1], 0);
    }
    ggml_tensor * d = ggml_get_rows(ctx, from, ids_of(ctx, rows, s, Rows::NORM_INPUT));
    return add_terms(ctx, nullptr, scaled(ctx, rows, s, Rows::NORM_INPUT, target, d), n);
}

// ---- inputs ----------------------------------------------------------------------------------------

// What a term has of a kind of input for a target, as the scale of its column; 0: nothing.
static float scale_of(const Term & term, int kind, int target) {
    const Plain & p = term.pack->plain[(size_t) target];
    switch (kind) {
    case Rows::GAIN_INPUT: return p.gain.empty() ? 0 : term.scale;
    case Rows::SHIFT_INPUT: return p.shift.empty() ? 0 : term.scale;
    case Rows::NORM_INPUT: return term.pack->has_norm_of(target) ? term.scale : 0;
    default: return p.rank > 0 ? term.scale*p.scale : 0;
    }
}

// The number of a term's slot in an input of that kind; -1: it has none.
static int32_t id_of(const Term & term, int kind) {
    switch (kind) {
    case Rows::GAIN_INPUT:
    case Rows::NORM_INPUT: return term.place.vectors;
    case Rows::SHIFT_INPUT: return term.place.vectors < 0 ? -1 : term.place.vectors + 1;
    default: return term.place.lora < 0 || term.rank_class != kind ? -1 : term.place.lora/(MIN_RANK_CLASS << kind);
    }
}

// Writes the ids of a kind, and its scales (targets, terms x rows), which may be null.
static void fill_kind(const Rows & rows, const Rows::Span & s, int kind, float * scales) {
    ggml_tensor * to = s.inputs.ids[kind];
    if (!to || !to->buffer) {
        return; // no node reads it
    }
    const size_t n = (size_t) to->ne[0];
    std::vector<int32_t> ids(n, -1);
    int32_t any = 0; // what rows without a slot read: one that another row reads
    for (size_t i = 0; i < s.mix.size(); i++) {
        size_t at = i;
        for (const Term & term : rows.mixes.terms(s.mix[i])) {
            const int32_t id = id_of(term, kind);
            if (id < 0) {
                continue;
            }
            any = ids[at] = id;
            for (size_t t = 0; scales && t < rows.mixes.model->targets.size(); t++) {
                scales[t*n + at] = rows.mixes.slots->has((int) t) ? scale_of(term, kind, (int) t) : 0;
            }
            at += s.n;
        }
    }
    for (int32_t & id : ids) {
        id = id < 0 ? any : id;
    }
    ggml_backend_tensor_set(to, ids.data(), 0, ids.size()*sizeof(int32_t));
}

void Rows::fill_slots(Span & s) {
    ggml_tensor * t = s.inputs.scales && s.inputs.scales->buffer ? s.inputs.scales : nullptr;
    std::vector<float> scales(t ? (size_t) ggml_nelements(t) : 0);
    for (int kind = 0; kind < SLOT_KINDS; kind++) {
        const bool scaled = t && scaled_kinds(*this) >> kind & 1;
        fill_kind(*this, s, kind, scaled ? &scales[(size_t) (position(*this, kind)*t->ne[2]*t->ne[1])] : nullptr);
    }
    if (t) {
        ggml_backend_tensor_set(t, scales.data(), 0, scales.size()*sizeof(float));
    }
}

} // namespace lorikeet
