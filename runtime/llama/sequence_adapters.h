// Which adapters each sequence of one device is decoded with.
#pragma once
#include "pack.h"
#include "ggml-cpp.h"

namespace lorikeet {

enum { MAX_TERMS = 4 };

struct Term {
    std::shared_ptr<const Pack> pack;
    float scale;
};

// Slots are the mmid back end's memory: per target, the adapters of all sequences stacked into two 3-D
// tensors that ggml_mul_mat_id picks from, and DoRA's gains. Slot 0 is zero, the base; sequence s has slot s+1. All in F32.
struct Slots {
    Slots(const Model & m, int sequences, int max_rank);
    void write(const Model & m, int slot, const std::vector<Term> & terms);

    const int max_rank;
    std::vector<ggml_tensor *> a; // per target: (n_in, max_rank, slots)
    std::vector<ggml_tensor *> b; // per target: (max_rank, n_out, slots), scaled
    std::vector<ggml_tensor *> gain, shift; // per target: (n_out, slots), summed over the terms
    ggml_context_ptr ctx;
    ggml_backend_buffer_ptr buffer;
};

// SequenceAdapters belong to one device. It changes between decodes only, from the device's thread; while a
// graph runs, all threads read it. Graphs hold pointers into it, never copies of what can change.
class SequenceAdapters {
public:
    // mmid_rank > 0 selects the mmid back end.
    SequenceAdapters(std::shared_ptr<const Model> m, int sequences, int mmid_rank);
    ~SequenceAdapters() = default;
    SequenceAdapters(const SequenceAdapters &) = delete;
    SequenceAdapters & operator=(const SequenceAdapters &) = delete;

    void set(int seq, std::vector<Term> terms);

    int sequences() const { return (int) all.size(); }
    bool adapted(int seq) const { return !all[(size_t) seq].terms.empty(); }
    const std::vector<Term> & terms(int seq) const { return all[(size_t) seq].terms; }
    // The terms of a target for the fused kernels. Valid until the sequence gets others.
    lk_row row(int seq, int target) const;
    // Floats that the widest target of the sequence needs for the product with A.
    size_t hidden_width(int seq) const { return all[(size_t) seq].hidden; }

    const std::shared_ptr<const Model> model;
    const std::unique_ptr<Slots> slots; // null: fused

private:
    struct Sequence {
        std::vector<Term> terms;
        std::vector<lk_term> rows; // (targets, MAX_TERMS)
        std::vector<int> counts;   // (targets)
        size_t hidden = 0;
    };
    std::vector<Sequence> all;
};

} // namespace lorikeet
