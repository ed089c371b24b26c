// One adapter, packed for a model's targets.
#pragma once
#include "model.h"

namespace lorikeet {

struct LoraFree {
    void operator()(lk_lora * m) const { lk_lora_free(m); }
};

// A module in plain form: the mmid back end copies it into its slots, and the embedding reads rows of it.
struct Plain {
    int rank = 0;
    std::vector<float> a; // (rank, n_in)
    std::vector<float> b; // (n_out, rank)
    size_t bytes() const { return (a.size() + b.size())*sizeof(float); }
};

// A Pack is immutable once the last module was added. The vectors are indexed by target.
struct Pack {
    Pack(std::shared_ptr<const Model> m, bool f32, bool keep_plain)
        : model(std::move(m)), f32(f32), keep_plain(keep_plain),
          fused(model->targets.size()), plain(model->targets.size()), scale(model->targets.size()) {}

    void add(int target, int rank, float scale, const float * a, const float * b);
    size_t bytes() const;
    bool has(int target) const { return scale[(size_t) target] != 0; }

    const std::shared_ptr<const Model> model;
    const bool f32, keep_plain;
    std::vector<std::unique_ptr<lk_lora, LoraFree>> fused; // null: the adapter leaves the target alone
    std::vector<Plain> plain;                              // rank 0: not kept
    std::vector<float> scale;                              // alpha/rank
};

} // namespace lorikeet

struct wall_pack {
    std::shared_ptr<lorikeet::Pack> pack;
};
