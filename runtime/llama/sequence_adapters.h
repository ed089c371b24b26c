// Which adapters the rows of each sequence of one device are decoded with.
#pragma once
#include "slots.h"
#include <array>

namespace lorikeet {

enum { MAX_TERMS = 4 };

struct Term {
    std::shared_ptr<const Pack> pack;
    float scale;
    int from;    // the position from which on it acts
    Place place; // in the device's slots
    int rank_class = 0;
};

// The terms of a sequence may act from different positions on. Between two such positions, and before and behind them, all
// rows have the same mix: a sequence has a few of them, and every row is given the number of its own.
//
// SequenceAdapters belong to one device. It changes between decodes only, from the device's thread; while a
// graph runs, all threads read it. Graphs hold pointers into it, never copies of what can change.
class SequenceAdapters {
public:
    // slots: null where our kernels add all adapters.
    SequenceAdapters(std::shared_ptr<const Model> m, int sequences, std::unique_ptr<Slots> slots);
    ~SequenceAdapters() = default;
    SequenceAdapters(const SequenceAdapters &) = delete;
    SequenceAdapters & operator=(const SequenceAdapters &) = delete;

    void set(int seq, const std::vector<Term> & terms);

    int sequences() const { return (int) all.size()/MIXES; }
    // The number of the mix of a sequence's row at a position.
    int mix(int seq, int position) const;
    int mixes() const { return (int) all.size(); }
    bool adapted(int mix) const { return !all[(size_t) mix].terms.empty(); }
    bool norms(int mix) const { return all[(size_t) mix].norms; } // whether any of its terms has norms
    const std::vector<Term> & terms(int mix) const { return all[(size_t) mix].terms; }
    // The terms of a target for the fused kernels. Valid until the sequence gets others.
    lk_row row(int mix, int target) const;
    // Floats that the widest target of the mix needs for the product with A.
    size_t hidden_width(int mix) const { return all[(size_t) mix].hidden; }

    const std::shared_ptr<const Model> model;
    const std::unique_ptr<Slots> slots;
    const bool fused; // whether our kernels add the adapters of any target

private:
    enum { MIXES = MAX_TERMS + 1 }; // that a sequence may have: one more than it has terms
    struct Mix {
        int from = 0; // the position of its first row
        std::vector<Term> terms;
        std::vector<lk_term> rows; // (targets, MAX_TERMS); without terms nothing
        std::vector<int> counts;   // (targets)
        size_t hidden = 0;
        bool norms = false;
    };
    void fill(Mix & m, std::vector<Term> terms) const;

    std::vector<Mix> all;    // (sequences, MIXES)
    std::vector<int> counts; // (sequences): how many of them a sequence has, by position
};

// What the rows of an ubatch need of one target: bits for the classes of their adapters' modules, and the rest.
enum : uint32_t {
    NEEDS_CLASS = 1,                      // shifted by the class
    NEEDS_SCALE = 1 << RANK_CLASSES,      // shifted by the class: not every row has one of its modules, or not with a scale of 1
    ALL_SCALES = NEEDS_SCALE*(NEEDS_SCALE - 1),
    NEEDS_GAIN = 1 << 2*RANK_CLASSES,     // of DoRA
    NEEDS_SHIFT = 2 << 2*RANK_CLASSES,    // of a bias
    NEEDS_ROWS = 4 << 2*RANK_CLASSES,     // rows of the embedding or the head are looked at one by one
    NEEDS_NORM = 8 << 2*RANK_CLASSES,     // weights of the norm that lies in the target's slots
};

// What a graph computes beside the base, where adapters lie in slots.
struct SlotNeeds {
    std::vector<uint32_t> of; // by target; empty: nothing
    bool composed = false;    // a row has more than one adapter
    // By class, how many slots the rows have between them, as the next power of two; 0: none, or too many to be shared.
    std::array<int, RANK_CLASSES> slots = {};

    uint32_t all() const; // of any target
    // Whether a graph for these needs gives what others need: it may multiply by scales of 1, and does nothing else for nothing.
    bool serve(const SlotNeeds & others) const;
};

// The needs of rows with these mixes, each of which may occur often.
SlotNeeds needs_of(const SequenceAdapters & mixes, const std::vector<int> & rows);
// Those that memory is reserved for: a common adapter on all linear layers.
SlotNeeds usual_needs(const SequenceAdapters & mixes);

} // namespace lorikeet
