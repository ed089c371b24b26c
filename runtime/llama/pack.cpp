#include "pack.h"
#include <cmath>

namespace lorikeet {

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

void Pack::add(int target, int rank, float s, const float * a, const float * b) {
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
    if (s == 0) {
        return; // it adds nothing
    }
    if (target == model->embedding || keep_plain) {
        Plain & p = plain[(size_t) target];
        p.rank = rank;
        p.a.assign(a, a + n_a);
        p.b.assign(b, b + n_b);
    }
    if (target != model->embedding) {
        fused[(size_t) target].reset(lk_lora_pack(a, b, rank, t.n_in, t.n_out, f32 ? LK_LORA_F32 : LK_LORA_F16));
        if (!fused[(size_t) target]) {
            throw std::bad_alloc();
        }
    }
    scale[(size_t) target] = s;
}

size_t Pack::bytes() const {
    size_t n = sizeof *this;
    for (size_t i = 0; i < fused.size(); i++) {
        n += plain[i].bytes() + (fused[i] ? lk_lora_bytes(fused[i].get()) : 0);
    }
    return n;
}

} // namespace lorikeet

using namespace lorikeet;

wall_pack * wall_pack_new(const wall_model * m, int f32, int keep_plain, wall_error * err) {
    return guarded(err, (wall_pack *) nullptr, [&] {
        return new wall_pack{std::make_shared<Pack>(m->model, f32 != 0, keep_plain != 0)};
    });
}

int wall_pack_add(wall_pack * p, int target, int rank, float scale, const float * a, const float * b, wall_error * err) {
    return guarded(err, (int) WALL_FAILED, [&] {
        p->pack->add(target, rank, scale, a, b);
        return (int) WALL_OK;
    });
}

int64_t wall_pack_bytes(const wall_pack * p) { return (int64_t) p->pack->bytes(); }

void wall_pack_free(wall_pack * p) { delete p; }
