#include "sequence_adapters.h"
#include <algorithm>
#include <set>

namespace lorikeet {

static bool all_in_slots(const Model & m, const Slots * slots) {
    for (size_t t = 0; t < m.targets.size(); t++) {
        if ((int) t != m.embedding && !(slots && slots->has((int) t))) {
            return false;
        }
    }
    return true;
}

SequenceAdapters::SequenceAdapters(std::shared_ptr<const Model> m, int sequences, std::unique_ptr<Slots> s)
    : model(std::move(m)), slots(std::move(s)), fused(!all_in_slots(*model, slots.get())), all((size_t) sequences*MIXES), counts((size_t) sequences, 1) {}

int SequenceAdapters::mix(int seq, int position) const {
    int m = seq*MIXES;
    for (const int last = m + counts[(size_t) seq] - 1; m < last && all[(size_t) m + 1].from <= position; m++) {
    }
    return m;
}

lk_row SequenceAdapters::row(int mix, int target) const {
    const Mix & m = all[(size_t) mix];
    return m.terms.empty() ? lk_row{nullptr, 0} : lk_row{&m.rows[(size_t) target*MAX_TERMS], m.counts[(size_t) target]};
}

void SequenceAdapters::set(int seq, const std::vector<Term> & terms) {
    std::vector<int> from = {0};
    for (const Term & term : terms) {
        if (term.from > 0) {
            from.push_back(term.from);
        }
    }
    std::sort(from.begin(), from.end());
    from.erase(std::unique(from.begin(), from.end()), from.end());
    for (size_t i = 0; i < MIXES; i++) {
        Mix & m = all[(size_t) seq*MIXES + i];
        std::vector<Term> active;
        for (const Term & term : terms) {
            if (i < from.size() && term.from <= from[i]) {
                active.push_back(term);
            }
        }
        m.from = i < from.size() ? from[i] : 0;
        fill(m, std::move(active));
    }
    counts[(size_t) seq] = (int) from.size();
}

void SequenceAdapters::fill(Mix & s, std::vector<Term> terms) const {
    s.hidden = 0;
    if (!terms.empty()) {
        s.rows.resize(model->targets.size()*MAX_TERMS);
        s.counts.resize(model->targets.size());
    }
    for (size_t t = 0; !terms.empty() && t < model->targets.size(); t++) {
        int n = 0;
        size_t hidden = 0;
        for (const Term & term : terms) {
            if (const lk_lora * m = term.pack->fused[t].get()) {
                s.rows[t*MAX_TERMS + (size_t) n++] = {m, term.scale*term.pack->scale[t]};
                hidden += (size_t) lk_lora_padded(m)*LK_LORA_PARTS;
            }
        }
        s.counts[t] = n;
        s.hidden = std::max(s.hidden, hidden);
    }
    s.norms = std::any_of(terms.begin(), terms.end(), [](const Term & term) { return !term.pack->norms.empty(); });
    s.terms = std::move(terms);
}

// ---- needs -----------------------------------------------------------------------------------------

uint32_t SlotNeeds::all() const {
    uint32_t n = 0;
    for (uint32_t target : of) {
        n |= target;
    }
    return n;
}

bool SlotNeeds::serve(const SlotNeeds & others) const {
    if (of.size() != others.of.size() || composed != others.composed) {
        return false;
    }
    for (size_t c = 0; c < slots.size(); c++) {
        if ((slots[c] > 0) != (others.slots[c] > 0) || others.slots[c] > slots[c]) {
            return false;
        }
    }
    for (size_t t = 0; t < of.size(); t++) {
        if ((of[t] | ALL_SCALES) != (others.of[t] | ALL_SCALES) || others.of[t] & ~of[t]) {
            return false;
        }
    }
    return true;
}

static uint32_t needs(const SequenceAdapters & mixes, const Term & term, int target) {
    const Plain & p = term.pack->plain[(size_t) target];
    const bool rows = term.pack->rows.count(target) > 0;
    if (target == mixes.model->embedding) {
        return rows || p.rank > 0 ? NEEDS_ROWS : 0;
    }
    uint32_t n = rows ? NEEDS_ROWS : 0;
    if (mixes.slots->has(target)) {
        n |= p.rank > 0 ? NEEDS_CLASS << term.rank_class : 0;
        n |= p.rank > 0 && term.scale*p.scale != 1 ? NEEDS_SCALE << term.rank_class : 0;
        n |= p.gain.empty() ? 0 : NEEDS_GAIN;
        n |= p.shift.empty() ? 0 : NEEDS_SHIFT;
        n |= term.pack->has_norm_of(target) ? NEEDS_NORM : 0;
    }
    return n;
}

// How many slots of each class mixes have between them, as powers of two, where so many rows share them.
static std::array<int, RANK_CLASSES> shared_slots(const SequenceAdapters & mixes, const std::vector<char> & seen, size_t rows) {
    std::array<std::set<int>, RANK_CLASSES> places;
    for (size_t mix = 0; mix < seen.size(); mix++) {
        if (seen[mix]) {
            for (const Term & term : mixes.terms((int) mix)) {
                if (term.place.lora >= 0) {
                    places[(size_t) term.rank_class].insert(term.place.lora);
                }
            }
        }
    }
    std::array<int, RANK_CLASSES> out = {};
    for (size_t c = 0; c < out.size(); c++) {
        int n = places[c].empty() ? 0 : 1;
        while (n < (int) places[c].size()) {
            n *= 2;
        }
        out[c] = mixes.slots->shared((int64_t) rows, n) ? n : 0;
    }
    return out;
}

SlotNeeds needs_of(const SequenceAdapters & mixes, const std::vector<int> & rows) {
    SlotNeeds out;
    const size_t targets = mixes.model->targets.size();
    std::vector<char> seen((size_t) mixes.mixes());
    std::vector<uint32_t> every(targets, ~0u); // the classes that all rows have
    bool any = false;
    for (int mix : rows) {
        if (seen[(size_t) mix]) {
            continue;
        }
        seen[(size_t) mix] = 1;
        any |= mixes.adapted(mix);
        out.composed |= mixes.terms(mix).size() > 1;
        out.of.resize(targets);
        std::vector<uint32_t> one(targets);
        for (const Term & term : mixes.terms(mix)) {
            for (size_t t = 0; t < targets; t++) {
                one[t] |= needs(mixes, term, (int) t);
            }
        }
        for (size_t t = 0; t < targets; t++) {
            out.of[t] |= one[t];
            every[t] &= one[t];
        }
    }
    if (!any) {
        return {};
    }
    out.slots = shared_slots(mixes, seen, rows.size());
    const uint32_t classes = NEEDS_SCALE - 1;
    for (size_t t = 0; t < targets; t++) {
        const uint32_t some = out.of[t] & classes & (out.composed ? ~0u : ~every[t]);
        out.of[t] |= some*NEEDS_SCALE;
    }
    return out;
}

SlotNeeds usual_needs(const SequenceAdapters & mixes) {
    SlotNeeds out;
    for (size_t t = 0; t < mixes.model->targets.size(); t++) {
        const bool linear = (int) t != mixes.model->head && mixes.slots->has((int) t);
        out.of.push_back(linear ? (NEEDS_CLASS | NEEDS_SCALE) << class_of_rank(MIN_RANK_CLASS) : 0);
    }
    return out;
}

} // namespace lorikeet
