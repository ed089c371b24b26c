// One device: a context of llama.cpp with its KV cells, threads, and the adapters of its sequences.
#pragma once
#include "sampler.h"
#include "hooks.h"
#include "ggml-cpu.h"

namespace lorikeet {

struct ContextFree {
    void operator()(llama_context * c) const { llama_free(c); }
};

struct ThreadpoolFree {
    void operator()(ggml_threadpool * p) const { ggml_threadpool_free(p); }
};

// The arrays of a llama_batch, one sequence per row.
struct Batch {
    explicit Batch(size_t rows);
    // apart: the rows are given to llama.cpp with the later sequences first. Where sequences have cells of their own it makes a ubatch of
    // sequences that follow each other, and one more of them than fit: two rows in ubatches of one.
    void set(const ll_row * rows, int n, bool apart);

    std::vector<llama_token> tokens;
    std::vector<llama_pos> positions;
    std::vector<int32_t> counts;
    std::vector<llama_seq_id> sequences;
    std::vector<llama_seq_id *> sequence_pointers;
    std::vector<int8_t> wanted;
    std::vector<int> place; // of each row in the batch
    llama_batch batch = {};
};

ggml_type kv_type(int32_t type);
llama_flash_attn_type flash_type(int32_t type);

} // namespace lorikeet

struct ll_device {
    ll_device(std::shared_ptr<const lorikeet::Model> m, const ll_device_options & o, const lorikeet::Call & call);

    const std::shared_ptr<const lorikeet::Model> model;
    lorikeet::SequenceAdapters mixes;
    lorikeet::Cells sequence_cells;
    std::unique_ptr<ggml_threadpool, lorikeet::ThreadpoolFree> threads; // outlives the context
    std::unique_ptr<llama_context, lorikeet::ContextFree> context;
    bool can_truncate = true; // sequences to a prefix
    bool split_kv = false;
    lorikeet::Graphs graphs;

    std::vector<ll_row> rows;
    lorikeet::Batch batch;
    lorikeet::Scratch scratch;
    lorikeet::HiddenStates hidden;
    lorikeet::Reduction reduction;
    bool full_logits = false; // nothing is reduced
    bool reduced = false;     // the last decode's logits were: they are in the device's memory
    std::vector<int> outputs; // of the last decode, which of its outputs each row is; -1: none
    std::vector<ll_choice> choices;
    std::vector<ll_alternative> alternatives;

    llama_memory_t memory() const { return llama_get_memory(context.get()); }
    int cells(int seq) const { return llama_memory_seq_pos_max(memory(), seq) + 1; }
    // The logits of a row of the last decode. Valid until the next call; null: it has none.
    const float * logits(int row);
    void require_sequence(int seq) const;
    // Calls f, which changes llama.cpp's tables of cells. Where that throws they may be half written: then all sequences
    // are emptied, and a row that continues one of them is refused because its position does not follow.
    template <typename F> auto changing_cells(F f) {
        try {
            return f();
        } catch (...) {
            llama_memory_clear(memory(), false);
            sequence_cells.clear();
            throw;
        }
    }
    // The cells for our own attention, which knows one set of cells that all sequences share. NULL: llama.cpp's runs.
    lorikeet::Cells * shared_cells() { return split_kv ? nullptr : &sequence_cells; }
};
