#include "pack.h"
#include <algorithm>
#include <cmath>
#include <cstring>

namespace lorikeet {

Pack::Pack(std::shared_ptr<const Model> m, bool f32, bool keep_plain, size_t capacity)
    : model(std::move(m)), f32(f32), keep_plain(keep_plain), arena(lk_arena_new(capacity)),
      fused(model->targets.size()), plain(model->targets.size()), scale(model->targets.size()) {
    if (!arena) {
        throw OutOfMemory("an adapter of " + std::to_string(capacity) + " bytes");
    }
}

size_t need_module(const Model & m, bool f32, bool keep_plain, int target, int rank, bool dora) {
    const Target & t = m.targets.at((size_t) target);
    const bool embedding = target == m.embedding, device = on_device(t.weight);
    const size_t element = embedding || f32 ? sizeof(float) : sizeof(ggml_fp16_t);
    const size_t gain = dora ? lk_arena_need((size_t) (embedding ? t.n_in : t.n_out)*sizeof(float)) : 0;
    size_t n = 0;
    if (embedding || device || keep_plain) {
        n += lk_arena_need((size_t) rank*t.n_in*element) + lk_arena_need((size_t) rank*t.n_out*element) + gain;
    }
    return embedding || device ? n : n + lk_lora_need(rank, t.n_in, t.n_out, f32 ? LK_LORA_F32 : LK_LORA_F16) + gain;
}

size_t need_bias(const Model & m, int target) { // with the module that it may need
    const Target & t = m.targets.at((size_t) target);
    return 2*lk_arena_need((size_t) t.n_out*sizeof(float)) + lk_lora_need(0, t.n_in, t.n_out, LK_LORA_F16);
}

size_t need_rows(const Model & m, bool f32, int target, int n) {
    return lk_arena_need((size_t) n*m.targets.at((size_t) target).n_in*(f32 ? 4 : 2));
}

size_t need_norm(const Model & m, int norm) { return lk_arena_need((size_t) m.norms.at((size_t) norm).width*sizeof(float)); }

template <typename T> InArena<T> Pack::in_arena(const T * from, size_t n) {
    InArena<T> out;
    out.values = (T *) lk_arena_alloc(arena.get(), n*sizeof(T));
    if (!out.values) {
        throw std::bad_alloc();
    }
    out.n = n;
    if (from) {
        std::copy(from, from + n, out.values);
    }
    return out;
}

template InArena<uint8_t> Pack::in_arena(const uint8_t * from, size_t n); // replaced_rows.cpp
template InArena<float> Pack::in_arena(const float * from, size_t n);     // own_norms.cpp

static void require_finite(const float * x, size_t n, const std::string & what) {
    // x*0 is 0 for every number and NaN for the others; unlike a test of each, the sum is vectorized.
    float sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i]*0.0f;
    }
    if (sum != 0) {
        throw std::runtime_error(what + " holds a value that is not a finite number");
    }
}

// DoRA's g = magnitude / length. A row without length stays as it is: it is zero whatever g.
static std::vector<float> gains(const float * magnitude, const std::vector<float> & lengths) {
    std::vector<float> g(lengths.size(), 1);
    for (size_t i = 0; i < g.size(); i++) {
        if (lengths[i] > 0) {
            g[i] = magnitude[i]/lengths[i];
        }
    }
    return g;
}

void Pack::add(int target, int rank, float s, const float * a, const float * b, const float * magnitude) {
    if (target < 0 || (size_t) target >= model->targets.size()) {
        throw std::runtime_error("there is no such target");
    }
    const Target & t = model->targets[(size_t) target];
    if (rank < 1 || rank > LK_MAX_RANK) {
        throw std::runtime_error(t.name + ": rank " + std::to_string(rank) + " is not between 1 and " + std::to_string(LK_MAX_RANK));
    }
    if (has(target)) {
        throw std::runtime_error(t.name + " occurs twice");
    }
    const size_t n_a = (size_t) rank*t.n_in, n_b = (size_t) rank*t.n_out;
    require_finite(a, n_a, t.name + ": lora_a");
    require_finite(b, n_b, t.name + ": lora_b");
    require_finite(&s, 1, t.name + ": the scale");
    if (!magnitude) {
        if (s != 0) { // else it adds nothing
            keep(target, rank, s, a, b, {});
        }
        return;
    }
    const bool embedding = target == model->embedding;
    require_finite(magnitude, (size_t) (embedding ? t.n_in : t.n_out), t.name + ": the magnitude vector");
    std::vector<float> g = gains(magnitude, embedding ? column_norms(*model, target, rank, s, a, b) : row_norms(*model, target, rank, s, a, b));
    require_finite(g.data(), g.size(), t.name + ": the magnitude vector over the weights' lengths");
    // g*s goes into the rows of b, or the columns of the embedding's a; what is left of it is the base's gain.
    std::vector<float> scaled(embedding ? a : b, embedding ? a + n_a : b + n_b);
    for (size_t i = 0; i < scaled.size(); i++) {
        scaled[i] *= s*g[embedding ? i % (size_t) t.n_in : i/(size_t) rank];
    }
    for (float & x : g) {
        x -= 1;
    }
    keep(target, rank, 1, embedding ? scaled.data() : a, embedding ? b : scaled.data(), g);
}

// The power of two that brings the largest of n values into [1, 2).
static int exponent(const float * x, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        most = std::max(most, std::fabs(x[i]));
    }
    return most > 0 ? -std::ilogb(most) : 0;
}

// out = x times a power of two, as floats or as halves.
static void write_scaled(const float * x, size_t n, int exponent, bool f32, uint8_t * out) {
    std::vector<float> scaled(n);
    for (size_t i = 0; i < n; i++) {
        scaled[i] = std::ldexp(x[i], exponent);
    }
    if (f32) {
        memcpy(out, scaled.data(), n*sizeof(float));
    } else {
        ggml_fp32_to_fp16_row(scaled.data(), (ggml_fp16_t *) out, (int64_t) n);
    }
}

// The power of two of the scale is shared out among a and b, so that the scale of most modules, alpha over a rank, is 1: where
// those of all rows are, a graph does not multiply by them. That rounds nothing, unless the scale is very far from 1.
void Pack::keep_plainly(int target, int rank, float s, const float * a, const float * b) {
    const Target & t = model->targets[(size_t) target];
    const size_t n_a = (size_t) rank*t.n_in, n_b = (size_t) rank*t.n_out;
    Plain & p = plain[(size_t) target];
    p.rank = rank;
    p.f32 = f32 || target == model->embedding;
    const size_t element = p.f32 ? sizeof(float) : sizeof(ggml_fp16_t);
    int ea = 0, eb = 0;
    p.scale = s;
    if (target != model->embedding) {
        ea = exponent(a, n_a);
        eb = exponent(b, n_b);
        const int e = std::min(std::max(std::ilogb(s) - ea - eb, -16), 16);
        p.scale = std::ldexp(s, -ea - eb - e);
        ea += e/2;
        eb += e - e/2;
    }
    p.a = in_arena<uint8_t>(nullptr, n_a*element);
    p.b = in_arena<uint8_t>(nullptr, n_b*element);
    write_scaled(a, n_a, ea, p.f32, p.a.data());
    write_scaled(b, n_b, eb, p.f32, p.b.data());
}

void Pack::keep(int target, int rank, float s, const float * a, const float * b, const std::vector<float> & gain) {
    const Target & t = model->targets[(size_t) target];
    const bool device = on_device(t.weight);
    if (target == model->embedding || device || keep_plain) {
        keep_plainly(target, rank, s, a, b);
        if (!gain.empty()) {
            plain[(size_t) target].gain = in_arena(gain.data(), gain.size());
        }
    }
    if (target != model->embedding && !device) {
        auto & m = fused[(size_t) target];
        m.reset(lk_lora_pack(arena.get(), a, b, rank, t.n_in, t.n_out, f32 ? LK_LORA_F32 : LK_LORA_F16));
        if (!m || (!gain.empty() && !lk_lora_set_gain(m.get(), gain.data()))) {
            throw std::bad_alloc();
        }
    }
    scale[(size_t) target] = s;
}

void Pack::add_bias(int target, const float * values, bool replaces) {
    if (target < 0 || (size_t) target >= model->targets.size() || target == model->embedding) {
        throw std::runtime_error("there is no such target with a bias");
    }
    const Target & t = model->targets[(size_t) target];
    require_finite(values, (size_t) t.n_out, t.name + ": the bias");
    InArena<float> & shift = plain[(size_t) target].shift;
    if (shift.empty()) {
        shift = in_arena<float>(nullptr, (size_t) t.n_out);
    }
    std::vector<float> base;
    if (replaces) {
        const std::string name = t.name.substr(0, t.name.size() - strlen("weight")) + "bias";
        const ggml_tensor * b = model->handle->get_tensor(name.c_str());
        if (!b || b->type != GGML_TYPE_F32 || b->ne[0] != t.n_out) {
            throw std::runtime_error("the base has no " + name + " in F32 that the adapter's could stand for");
        }
        base.resize((size_t) t.n_out);
        ggml_backend_tensor_get(b, base.data(), 0, base.size()*sizeof(float));
    }
    for (size_t o = 0; o < shift.size(); o++) {
        shift[o] += values[o] - (replaces ? base[o] : 0);
    }
    auto & m = fused[(size_t) target];
    if (on_device(t.weight)) {
        scale[(size_t) target] = has(target) ? scale[(size_t) target] : 1;
        return;
    }
    if (!m) {
        m.reset(lk_lora_pack(arena.get(), nullptr, nullptr, 0, t.n_in, t.n_out, LK_LORA_F16));
        scale[(size_t) target] = 1;
    }
    std::vector<float> unscaled(shift.begin(), shift.end()); // the module's scale meets it too
    for (float & x : unscaled) {
        x /= scale[(size_t) target];
    }
    if (!m || !lk_lora_set_shift(m.get(), unscaled.data())) {
        throw std::bad_alloc();
    }
}

size_t Pack::bytes() const {
    enum { HANDLE = 128 }; // an lk_lora, which does not lie in the arena
    size_t n = sizeof *this + lk_arena_bytes(arena.get());
    for (const auto & m : fused) {
        n += sizeof m + sizeof(Plain) + sizeof(float) + (m ? HANDLE : 0);
    }
    for (const auto & r : rows) {
        n += r.second.bytes();
    }
    n += norms.size()*64; // their places beside the arena
    return n;
}

} // namespace lorikeet

using namespace lorikeet;

int64_t ll_pack_need(const ll_model * m, int f32, int keep_plain, const ll_part * part) {
    const size_t places = part->kind == LL_NORM ? m->model->norms.size() : m->model->targets.size();
    if (part->target < 0 || (size_t) part->target >= places || part->n < 0) {
        return 0; // it will be refused
    }
    switch (part->kind) {
    case LL_BIAS: return (int64_t) need_bias(*m->model, part->target);
    case LL_ROWS: return (int64_t) need_rows(*m->model, f32 != 0, part->target, part->n);
    case LL_NORM: return (int64_t) need_norm(*m->model, part->target);
    default: return (int64_t) need_module(*m->model, f32 != 0, keep_plain != 0, part->target, std::min(part->n, (int) LK_MAX_RANK), part->kind == LL_DORA);
    }
}

ll_pack * ll_pack_new(const ll_model * m, int f32, int keep_plain, int64_t capacity, ll_error * err) {
    return guarded(err, (ll_pack *) nullptr, [&] {
        return new ll_pack{std::make_shared<Pack>(m->model, f32 != 0, keep_plain != 0, (size_t) capacity)};
    });
}

int ll_pack_add(ll_pack * p, int target, int rank, float scale, const float * a, const float * b, const float * magnitude, ll_error * err) {
    return guarded(err, (int) LL_FAILED, [&] {
        p->pack->add(target, rank, scale, a, b, magnitude);
        return (int) LL_OK;
    });
}

int ll_pack_add_bias(ll_pack * p, int target, const float * values, int replaces, ll_error * err) {
    return guarded(err, (int) LL_FAILED, [&] {
        p->pack->add_bias(target, values, replaces != 0);
        return (int) LL_OK;
    });
}

int ll_pack_add_rows(ll_pack * p, int target, const int32_t * ids, int n, const float * values, ll_error * err) {
    return guarded(err, (int) LL_FAILED, [&] {
        p->pack->add_rows(target, ids, n, values);
        return (int) LL_OK;
    });
}

int ll_pack_add_norm(ll_pack * p, int norm, const float * values, ll_error * err) {
    return guarded(err, (int) LL_FAILED, [&] {
        p->pack->add_norm(norm, values);
        return (int) LL_OK;
    });
}

int64_t ll_pack_bytes(const ll_pack * p) { return (int64_t) p->pack->bytes(); }

void ll_pack_free(ll_pack * p) { delete p; }
