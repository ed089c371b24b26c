// How much memory a trainer takes, and where each part of it lies: one mapping of its own for the adapter's numbers, divided once,
// and the workspace, divided whenever it is borrowed. The estimate runs the same divisions without memory, so they cannot disagree.
#include "decompose.h"
#include "read.h"
#include "trainer.h"
#include <algorithm>

namespace lq {

namespace {

struct Sizes {
    int T, head_rows, d, q, kv, ff, V;
    int ranks[LQ_TARGETS]; // the highest rank of each target
    bool dora[LQ_TARGETS];
    int out(int target) const {
        const int out[LQ_TARGETS] = {q, kv, kv, d, ff, ff, d, d, V};
        return out[target];
    }
    bool any_dora() const { return std::find(dora, dora + LQ_TARGETS, true) != dora + LQ_TARGETS; }
    int rank() const { return *std::max_element(ranks, ranks + LQ_TARGETS); }
    int widest() const { return std::max({d, q, ff}); }
};

Sizes sizes_of(const lq_model & m, const lq_options & o) {
    Sizes s = {o.max_tokens, std::min((int) HEAD_ROWS, o.max_tokens), m.n_embd, m.n_heads*m.head_size, m.n_kv_heads*m.head_size, m.n_ff, m.n_vocab, {}, {}};
    for (int i = 0; i < o.n_modules; i++) {
        int & r = s.ranks[o.modules[i].target];
        r = std::max(r, rank_of(o.modules[i]));
        s.dora[o.modules[i].target] |= o.modules[i].dora != 0;
    }
    return s;
}

void carve_activations(Arena & arena, const lq_model & m, const Sizes & s, Activations & a) {
    const size_t T = s.T;
    if (m.layers[0].q_norm) {
        a.q_raw = arena.floats(T*s.q);
        a.k_raw = arena.floats(T*s.kv);
    }
    a.q = arena.floats(T*s.q);
    a.k = arena.floats(T*s.kv);
    a.v = arena.floats(T*s.kv);
    a.attended = arena.floats(T*s.q);
    a.middle = arena.floats(T*s.d);
    a.gate = arena.floats(T*s.ff);
    a.up = arena.floats(T*s.ff);
    for (int i = 0; i < LQ_LINEARS; i++) {
        a.hidden[i] = arena.floats(T*s.ranks[i]);
        a.z[i] = s.dora[i] ? arena.floats(T*s.out(i)) : nullptr;
    }
}

void carve_head(Arena & arena, const Sizes & s, Workspace & w) {
    const size_t rows = s.head_rows;
    w.head_in = arena.floats(rows*s.d);
    w.head_normed = arena.floats(rows*s.d);
    w.head_grad = arena.floats(rows*s.d);
    w.logits = arena.floats(rows*s.V);
    w.head_hidden = arena.floats(rows*s.ranks[LQ_HEAD]);
    w.head_z = s.dora[LQ_HEAD] ? arena.floats(rows*s.V) : nullptr;
}

// The tiles that micro-batches are computed with: of the options' path, and where evaluations have one of their own, of that.
std::vector<const Tile *> tiles_of(const lq_options & o) {
    std::vector<const Tile *> tiles = {kernels_for(o.isa).tile};
    if (o.served & LQ_EXACT) {
        tiles.push_back(kernels_for(exact_isa(o.isa)).tile);
    }
    return tiles;
}

// The most floats that one of them needs.
template <typename F> size_t most_of(const std::vector<const Tile *> & tiles, const F & floats) {
    size_t most = 0;
    for (const Tile * t : tiles) {
        most = std::max(most, (size_t) floats(*t));
    }
    return most;
}

void carve_packed(Arena & arena, const lq_options & o, const Sizes & s, Workspace & w) {
    const auto tiles = tiles_of(o);
    const auto left = [&](int rows, int depth) { return most_of(tiles, [=](const Tile & t) { return left_floats(t, rows, depth); }); };
    w.left_bytes = kernels_for(o.isa).bytes ? arena.floats(byte_floats(s.T, s.widest())) : nullptr;
    w.left_x = arena.floats(left(s.T, s.widest()));
    w.left_dy = arena.floats(std::max(left(s.T, s.widest()), left(s.head_rows, s.V)));
    w.left_hidden = arena.floats(std::max(left(s.T, s.rank()), left(s.rank(), s.T)));
    w.left_dropped = o.dropout > 0 ? arena.floats(left(s.T, s.widest())) : nullptr;
}

void carve_rounded(Arena & arena, const lq_model & m, const lq_options & o, Workspace & w) {
    size_t parameters = 0;
    if (o.served & LQ_HALF_ADAPTERS) {
        adapters_of(m, o, &parameters);
    }
    w.rounded = parameters ? arena.floats(parameters) : nullptr;
}

void carve_dora(Arena & arena, const lq_options & o, const Sizes & s, Workspace & w) {
    size_t widest = 0;
    for (int i = 0; i < LQ_TARGETS; i++) {
        widest = s.dora[i] ? std::max(widest, (size_t) s.out(i)*(i == LQ_HEAD ? s.head_rows : s.T)) : widest;
    }
    w.dz = arena.floats(widest);
    w.rows.resize(s.any_dora() ? o.threads : 0);
    for (float *& r : w.rows) {
        r = arena.floats((size_t) 2*LQ_READ_ROWS*s.widest());
    }
}

// The decompositions come before the first micro-batch, in the same memory.
size_t decompose_bytes(const lq_model & m, const lq_options & o) {
    Arena count(nullptr);
    DecomposeSpace s;
    allocate_decompose(count, m, o, s);
    return count.bytes();
}

} // namespace

void allocate_arrays(Arena & arena, const lq_model & m, const lq_options & o, Arrays & arrays) {
    size_t parameters, norms = 0;
    for (const Lora & l : adapters_of(m, o, &parameters)) {
        norms += l.dora ? l.n_out : 0;
    }
    norms_of(m, o, &parameters);
    for (float ** p : {&arrays.parameters, &arrays.gradients, &arrays.moment1, &arrays.moment2}) {
        *p = arena.floats(parameters);
    }
    arrays.row_norms = arena.floats(norms);
    arrays.gains = arena.floats(norms);
}

void allocate(Arena & arena, const lq_model & m, const lq_options & o, Workspace & w) {
    const Sizes s = sizes_of(m, o);
    const size_t T = s.T;
    w.residual.resize(m.n_layers + 1);
    for (float *& r : w.residual) {
        r = arena.floats(T*s.d);
    }
    w.shared = {};
    carve_activations(arena, m, s, w.shared);
    w.kept.assign(std::min(o.keep, m.n_layers), {});
    for (Activations & a : w.kept) {
        carve_activations(arena, m, s, a);
    }
    w.cos = arena.floats(T*m.head_size/2);
    w.sin = arena.floats(T*m.head_size/2);
    w.normed = arena.floats(T*s.d);
    w.act = arena.floats(T*s.ff);
    w.wide = arena.floats(T*std::max(s.ff, s.q));
    w.wide2 = arena.floats(T*s.ff);
    w.grad = arena.floats(T*s.d);
    w.grad2 = arena.floats(T*s.d);
    w.d_attended = arena.floats(T*s.q);
    w.dk = arena.floats(T*s.kv);
    w.dv = arena.floats(T*s.kv);
    w.d_hidden = arena.floats(T*s.rank());
    w.inverse_rms = o.n_norms > 0 ? arena.floats(T*(m.layers[0].q_norm ? std::max(m.n_heads, m.n_kv_heads) : 1)) : nullptr;
    w.dropped = o.dropout > 0 ? arena.floats(T*s.widest()) : nullptr;
    carve_head(arena, s, w);
    carve_dora(arena, o, s, w);
    carve_packed(arena, o, s, w);
    carve_rounded(arena, m, o, w);
    const AttentionShape a = {m.n_heads, m.n_kv_heads, m.head_size, 0};
    const int depth = std::max({s.widest(), s.V, s.T});
    const size_t each = most_of(tiles_of(o), [&](const Tile & t) { return std::max(scratch_floats(t, depth, s.rank()), attention_scratch_floats(t, a, s.T)); });
    w.scratch.resize(o.threads);
    for (Scratch & x : w.scratch) {
        x = {arena.floats(each), each};
    }
}

size_t array_bytes(const lq_model & m, const lq_options & o) {
    Arena count(nullptr);
    Arrays arrays;
    allocate_arrays(count, m, o, arrays);
    return count.bytes();
}

size_t workspace_bytes(const lq_model & m, lq_options o, int keep) {
    o.keep = keep;
    Arena count(nullptr);
    Workspace w;
    allocate(count, m, o, w);
    return std::max(count.bytes(), decompose_bytes(m, o));
}

} // namespace lq
