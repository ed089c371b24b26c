// The adapters of a device as ggml's own operations read them: a pool of slots in the memory of the layers that they are for.
//
// The pool is counted in ranks. For each target it has a row of A and a column of B per rank:
//
//   a (n_in, ranks)   B's part of a slot of rank class c is (c, n_out), at rank r of b (n_out, ranks)
//
// A class c, a power of two, sees the same memory as ranks/c slots of rank c. So adapters of any class lie anywhere in
// one pool, and no memory belongs to a class. DoRA's gains and the shifts of biases are columns of b as well, and what an
// adapter adds to the weight of a norm is the beginning of a row of a, of a target of the same layer. Which adapter lies
// where is decided in Go (slot_pool.go).
#pragma once
#include "pack.h"
#include "turns.h"
#include "ggml-cpp.h"
#include <algorithm>
#include <map>

namespace lorikeet {

enum { MIN_RANK_CLASS = 4, RANK_CLASSES = 8 }; // 4, 8, ... 512
enum { SHARING_ROWS = 64, ROWS_PER_SHARED_SLOT = 8 }; // the least that share slots: decodes do not, whose graphs then stay as they are
static_assert(MIN_RANK_CLASS << (RANK_CLASSES - 1) == LK_MAX_RANK, "every rank has a class");

// The class of modules of rank r: the number of the least power of two that is not smaller.
inline int class_of_rank(int r) {
    int c = 0;
    while (MIN_RANK_CLASS << c < r) {
        c++;
    }
    return c;
}

// Where an adapter lies: the first rank of its modules, and that of its norms and gains, which its shifts follow; -1: it has none.
struct Place {
    int lora = -1, vectors = -1;
};

// How rows are multiplied with their slots.
enum SlotProducts {
    PRODUCTS_AUTO = LL_PRODUCTS_AUTO,        // shared where rows share slots; else MUL_MAT_ID where the devices have it
    PRODUCTS_MUL_MAT_ID = LL_PRODUCTS_MUL_MAT_ID,
    PRODUCTS_GATHERED = LL_PRODUCTS_GATHERED, // the rows' slots are copied side by side in floats, with GET_ROWS, and multiplied with MUL_MAT
};

class Slots {
public:
    // all: for all targets; else for those in the memory of a device.
    Slots(const Model & m, bool all, int ranks, ggml_type type, SlotProducts products);

    // Whether adapters of the target lie in slots.
    bool has(int target) const { return stores[(size_t) target].a; }
    ggml_tensor * a(int target, int rank_class) const { return stores[(size_t) target].a_of[(size_t) rank_class]; } // (n_in, c, slots)
    ggml_tensor * b(int target, int rank_class) const { return stores[(size_t) target].b_of[(size_t) rank_class]; } // (c, n_out, slots)
    ggml_tensor * vectors(int target) const { return stores[(size_t) target].b; }                                   // (n_out, ranks)
    ggml_tensor * norms(int target) const { return stores[(size_t) target].a; }                                     // (n_in, ranks)

    // The largest rank of an adapter's modules that lie in slots.
    int rank_of(const Pack & p) const;

    // Copies an adapter into a place that no running decode reads. It waits for turns between decodes, or, where the
    // device can, copies while they run.
    void upload(const Pack & p, Place at);

    bool gathered() const { return rows == PRODUCTS_GATHERED; }
    // Whether so many rows are multiplied with so many slots as one matrix: the slots are copied for that, once for all rows.
    bool shared(int64_t n_rows, int slots) const {
        return slots > 0 && products == PRODUCTS_AUTO && n_rows >= std::max<int64_t>(SHARING_ROWS, (int64_t) ROWS_PER_SHARED_SLOT*slots);
    }
    // The most nodes that a graph has for a target: where all classes occur, rows have several terms, and gains, shifts and norms.
    size_t most_nodes() const { return (size_t) classes*(gathered() ? 26 : 16) + 45; }

    // The bytes that a rank takes over all targets that have slots.
    static size_t rank_bytes(const Model & m, bool all, ggml_type type);
    // The rank of the place that an adapter's modules need, 0: it has none there; and whether it has norms, gains or shifts.
    static int rank_needed(const Model & m, bool all, const Pack & p);
    static bool vectors_needed(const Model & m, bool all, const Pack & p);

    Turns turns; // of decodes and uploads, where they cannot run at the same time

private:
    struct Store {
        ggml_tensor * a = nullptr, * b = nullptr;
        std::vector<ggml_tensor *> a_of, b_of; // by class
        ggml_backend_t copier = nullptr;       // null: copies wait for their turn
    };
    void add_store(ggml_context * ctx, Store & s, const Target & t, int ranks);
    void write(const Store & s, ggml_tensor * t, const std::vector<uint8_t> & data, size_t offset);
    std::vector<uint8_t> convert(const float * from, const uint8_t * half, size_t n) const;
    void upload_target(const Pack & p, int target, int rank_class, Place at);

    const ggml_type type;
    const SlotProducts products;
    SlotProducts rows; // how they are multiplied one by one
    int classes = 0; // whose slots fit into the pool
    std::vector<Store> stores; // by target
    std::map<ggml_backend_dev_t, ggml_backend_ptr> copiers;
    std::vector<ggml_context_ptr> contexts;
    std::vector<ggml_backend_buffer_ptr> buffers;
    std::mutex copying; // one upload at a time
};

} // namespace lorikeet
