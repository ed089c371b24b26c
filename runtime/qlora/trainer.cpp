#include "trainer.h"
#include <algorithm>
#include <string.h>

namespace lq {

// The operations that a core of the kind does in about two milliseconds.
double two_milliseconds(int isa) {
    switch (isa) {
    case LQ_PORTABLE: return 2e7;
    case LQ_AVX2: return 1e8;
    case LQ_AVX512: return 2e8;
    case LQ_AMX: return 7e8;
    default: return 4e8;
    }
}

namespace {

// Operations of one slice on one thread. A small model decodes in less than a millisecond, and a slice should not
// take long beside that.
double slice_flops(const lq_model & m, const lq_options & o) {
    if (o.slice_flops > 0) {
        return o.slice_flops;
    }
    double weights = 0;
    for (const Weight & w : m.layers[0].linear) {
        weights += (double) w.n_in*w.n_out*m.n_layers;
    }
    const double full = two_milliseconds(kernels_for(o.isa).isa);
    return std::max(full/10, std::min(full, full*weights/2e8));
}

} // namespace

Trainer::Trainer(const lq_model & m, lq_workspace & shared, const lq_options & o) : AdapterTrainer(m, shared, o, slice_flops(m, o)) {
    most_kept = std::min(options.keep, model.n_layers - first_layer);
    allocate_own();
    compute = {kernels_for(options.isa), pool.get(), nullptr};
    const float scale = model.attn_scale ? model.attn_scale : 1/__builtin_sqrtf((float) model.head_size);
    attention_shape = {model.n_heads, model.n_kv_heads, model.head_size, scale};
    join({workspace_bytes(model, options, 0), 0, 0});
}

// Divides the workspace, with as many layers that keep their activations as fit into most bytes.
bool Trainer::take_workspace(size_t most) {
    int keep = most_kept;
    size_t bytes = workspace_bytes(model, options, keep);
    while (keep > 0 && bytes > most) {
        bytes = workspace_bytes(model, options, --keep);
    }
    if (!shared.borrow(&need, bytes, std::max(most, bytes))) {
        return false;
    }
    options.keep = keep;
    Arena arena(shared.host());
    allocate(arena, model, options, w);
    Arena first(shared.host());
    allocate_decompose(first, model, options, w.decompose);
    compute.scratch = w.scratch.data();
    rotary = {w.cos, w.sin, model.head_size, model.rope_neox != 0};
    return true;
}

Activations & Trainer::activations(int layer) { return kept(layer) ? w.kept[layer - (model.n_layers - (int) w.kept.size())] : w.shared; }

void Trainer::schedule_positions(const std::vector<int> & pos) {
    blocks = query_blocks(attention_shape, sequences);
    wholes = whole_blocks(attention_shape, sequences);
    schedule.add([this, pos] { make_rotary(model, pos.data(), T, w.cos, w.sin); });
}

void Trainer::schedule_batch(const std::vector<int> & pos) {
    choose_kernels();
    schedule_positions(pos);
    if (rounds(LQ_HALF_ADAPTERS) && !base) {
        schedule_rounding();
    }
    if (mode != LQ_FURTHER && !base) {
        schedule_norms();
    }
    if (mode == LQ_FIRST) {
        schedule_zero(arrays.gradients, parameters);
    }
    schedule.add([this] { embed(w.residual[0]); });
    for (int i = 0; i < model.n_layers; i++) {
        schedule_forward(i, activations(i), true);
    }
    schedule_loss(mode != LQ_EVAL);
    if (mode == LQ_EVAL || labelled.empty()) {
        return;
    }
    for (int i = model.n_layers - 1; i >= first_layer; i--) {
        if (!kept(i) && i != model.n_layers - 1) { // the last layer's are still in the shared activations
            schedule_forward(i, activations(i), false);
        }
        schedule_backward(i, activations(i), i > first_layer || trains(LQ_EMBED));
    }
    if (trains(LQ_EMBED)) {
        schedule.add([this] { embed_backward(w.grad); });
    }
}

} // namespace lq
