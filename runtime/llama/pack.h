// One adapter, packed for a model's targets.
#pragma once
#include "model.h"

namespace lorikeet {

struct LoraFree {
    void operator()(lk_lora * m) const { lk_lora_free(m); }
};

struct ArenaFree {
    void operator()(lk_arena * a) const { lk_arena_free(a); }
};

// n values in the arena of a Pack.
template <typename T> struct InArena {
    T * values = nullptr;
    size_t n = 0;

    bool empty() const { return n == 0; }
    size_t size() const { return n; }
    T * data() const { return values; }
    T * begin() const { return values; }
    T * end() const { return values + n; }
    T & operator[](size_t i) const { return values[i]; }
};

// The largest number that half precision holds.
const float HALF_MOST = 65504;

// A module in plain form: the slots of a device are filled from it, and the embedding, always in F32, reads rows of it.
struct Plain {
    int rank = 0;
    bool f32 = true;      // else F16
    InArena<uint8_t> a;   // (rank, n_in), times a power of two, so that no value is too large for F16
    InArena<uint8_t> b;   // (n_out, rank), times one
    float scale = 0;      // of this b a; of the embedding, whose a and b are as they were given, alpha/rank
    InArena<float> gain;  // (n_out), of the embedding (n_in): DoRA's g-1; empty: none
    InArena<float> shift; // (n_out), what is added whatever the input; empty: none

    const float * floats_a() const { return (const float *) a.data(); }
    const float * floats_b() const { return (const float *) b.data(); }
};

// Rows of the embeddings or the head that the adapter has its own of, as their differences to the base's.
struct Replaced {
    std::vector<int32_t> ids;                // which rows, rising; empty: all
    std::unordered_map<int32_t, size_t> at;  // row -> its index in data; empty: all
    bool f32 = false;
    size_t width = 0;
    InArena<uint8_t> data; // (ids or all, width) in F32 or F16

    size_t row_bytes() const { return width*(f32 ? 4 : 2); }
    const uint8_t * row(size_t index) const { return &data[index*row_bytes()]; }
    // The row of a token; null: it is the base's.
    const uint8_t * of(int32_t token) const;
    size_t bytes() const { return ids.size()*48; } // beside the arena: ids and at
};

// The norms of the rows of W + scale*b a, or of its columns, for the target's weight. Threads of low
// priority compute them: those that decode go first.
std::vector<float> row_norms(const Model & m, int target, int rank, float scale, const float * a, const float * b);
std::vector<float> column_norms(const Model & m, int target, int rank, float scale, const float * a, const float * b);

// The bytes that a part of an adapter takes in a Pack.
size_t need_module(const Model & m, bool f32, bool keep_plain, int target, int rank, bool dora);
size_t need_bias(const Model & m, int target);
size_t need_rows(const Model & m, bool f32, int target, int n);
size_t need_norm(const Model & m, int norm);

// A Pack is immutable once the last module was added. The vectors are indexed by target.
struct Pack {
    // capacity: for all that will be added, as need_module, need_bias, need_rows and need_norm say; it grows where that does not suffice.
    Pack(std::shared_ptr<const Model> m, bool f32, bool keep_plain, size_t capacity);

    // magnitude (n_out), of the embedding (n_in), makes it DoRA; NULL: plain LoRA.
    void add(int target, int rank, float scale, const float * a, const float * b, const float * magnitude);
    // values (n_out) are added to the output of the target's layer, or, replaces, stand for its bias.
    void add_bias(int target, const float * values, bool replaces);
    // values (n, n_in) stand for the rows ids, null: all n of them, of the embeddings or the head.
    void add_rows(int target, const int32_t * ids, int n, const float * values);
    // values (width) stand for the weight of norm number `norm` of the model.
    void add_norm(int norm, const float * values);
    // What it holds of the system's memory.
    size_t bytes() const;
    bool has(int target) const { return scale[(size_t) target] != 0; }
    // Whether it has the norm that lies in the target's slots.
    bool has_norm_of(int target) const { return norms.count(model->targets[(size_t) target].norm) > 0; }

    const std::shared_ptr<const Model> model;
    const bool f32, keep_plain; // keep_plain: of all targets; those in a device's memory and the embedding have no other form
    const std::unique_ptr<lk_arena, ArenaFree> arena;      // outlives what lies in it
    std::vector<std::unique_ptr<lk_lora, LoraFree>> fused; // null: the adapter leaves the target alone
    std::vector<Plain> plain;                              // rank 0: not kept
    std::vector<float> scale;                              // alpha/rank; of DoRA 1, for it is in a and b
    std::unordered_map<int, Replaced> rows;                // by target
    std::unordered_map<int, InArena<float>> norms;         // by norm: the difference to the base's weight

private:
    template <typename T> InArena<T> in_arena(const T * from, size_t n); // a copy; null: zeros
    void keep_plainly(int target, int rank, float scale, const float * a, const float * b);

    void keep(int target, int rank, float scale, const float * a, const float * b, const std::vector<float> & gain);
};

} // namespace lorikeet

struct ll_pack {
    std::shared_ptr<lorikeet::Pack> pack;
};
