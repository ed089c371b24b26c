// Where our nodes enter llama.cpp's graphs.
//
// The linker redirects these functions of llama.cpp and ggml to us (see the flags in model.go):
//   llama_model::build_graph  opens a Builder for the graph that is about to be built;
//   ggml_mul_mat              asks the Builder for a product with a base weight;
//   ggml_get_rows             asks it for rows of the token embedding;
//   ggml_mul                  asks it for a product with the weight of a norm;
//   ggml_flash_attn_ext       asks it for a layer's attention (attention_graph.cpp).
// Outside our own Scope all of them only call the originals: other contexts in the same process, and the loader's calls,
// are not changed. A Scope and a Builder live on the stack of the thread that builds the graph; nothing else is global.
#pragma once
#include "attention.h"
#include "cells.h"
#include "hidden.h"
#include "reduction.h"
#include "sequence_adapters.h"
#include "llama-graph.h"
#include <atomic>
#include <deque>

namespace lorikeet {

// The graphs that llama.cpp has built for a device.
struct Graphs {
    int64_t built = 0;
    bool reusable = true; // the last one was built to its end, and has not failed since: it may be used again
};

// While a Scope lives, graphs that its thread builds are for this model, with the adapters of these sequences and these cells
// (null: no adapters, llama.cpp's own attention). It surrounds every call that may build a graph.
class Scope {
public:
    Scope(const Model & m, SequenceAdapters * p, Cells * c);
    ~Scope();
    Scope(const Scope &) = delete;
    Scope & operator=(const Scope &) = delete;

    static const Scope * current();

    const Model & model;
    SequenceAdapters * const mixes;
    Cells * const cells;
    Graphs * graphs = nullptr; // where set, told of the graphs built
    HiddenStates * hidden = nullptr; // where set, rows of this decode ask for them
    bool logits = true; // rows of this decode ask for logits; otherwise the head is not computed
    bool exact = false; // products on the CPU are computed in floats
    Reduction * reduction = nullptr; // where set, the device reduces the logits

private:
    const Scope * const outer;
};

// The rows of one graph and their adapters. llama.cpp calls set_input for every ubatch, after it has split
// and reordered the batch and also when it reuses the graph, so the rows always fit the activations.
//
// A graph has two spans of rows: all tokens, and the outputs alone (the last block and the head keep only
// the rows whose logits are wanted). A product tells which one it is by its number of columns.
class Rows : public llm_graph_input_i {
public:
    Rows(SequenceAdapters & mixes, const llm_graph_params & params);

    void set_input(const llama_ubatch * ubatch) override;
    // A graph without our nodes serves base rows only. One with our kernels' nodes serves every mix of rows, one with
    // slots those that need the same; and one without nodes for norms no rows that have norms of their own.
    bool can_reuse(const llm_graph_params & params) override;

    // A row that has a replaced row set of its own: scale*D x is added to it.
    struct ReplacedRow {
        const Replaced * set;
        float scale;
        int row;
    };
    // Which slots the rows read, by kind: the classes of ranks, and these three.
    enum { GAIN_INPUT = RANK_CLASSES, SHIFT_INPUT, NORM_INPUT, SLOT_KINDS };
    struct SlotInputs {
        ggml_tensor * ids[SLOT_KINDS] = {};   // I32 (terms x rows), of the kinds that the graph needs
        ggml_tensor * scales = nullptr;       // F32 (1, terms x rows, targets, scaled kinds): 0 where a row has no adapter of that kind
        ggml_tensor * near_scales = nullptr;  // the same where the layers are: views of an input would be copied there one by one
    };
    // The slots of a class that rows share, each once.
    struct SharedSlots {
        ggml_tensor * ids = nullptr;    // I32 (slots)
        ggml_tensor * mask = nullptr;   // F32 (1, slots, rows): the scale of the row's term with that slot, 0 where it has none
        ggml_tensor * scales = nullptr; // F32 (1, slots, targets): of the slot's module
        std::vector<int> places;        // (slots at most), filled for each ubatch
    };
    struct Span {
        uint32_t n = 0;
        std::vector<int> mix;         // (n)
        std::vector<lk_row> rows;     // fused: (targets, n)
        std::vector<char> used;       // fused: (targets) whether any row has a term
        std::vector<ReplacedRow> replaced; // of the head, the rows of a set together
        std::vector<char> needs_f16;     // (n) whether a set in F16 is multiplied with the row
        SlotInputs inputs;
        SharedSlots shared[RANK_CLASSES];
    };
    // The products that share their activations: q, k and v, or gate and up. One node prepares the activations for all
    // of them. Lives as long as the graph.
    struct Group {
        const Rows * rows = nullptr;
        const Span * span = nullptr;
        int mode = -1;                 // of the NF4 products whose activations the node prepares; -1: none
        ggml_tensor * prepared = nullptr;
        std::vector<int> targets;      // each has its own slot of hidden rows
        const Group * next = nullptr;  // the group that runs after it

        void shrink(const ggml_tensor * x, int ith, int nth) const;
        // What thread ith reads of the adapters when the next group shrinks, by the slots of this one.
        int prefetch_pieces(int slot, int ith, int nth, lk_piece * out, int capacity) const;
    };
    // What a node needs when it runs. Lives as long as the graph.
    struct Node {
        const Rows * rows = nullptr;
        const Span * span = nullptr;
        int target = 0;
        const Group * group = nullptr;
        int slot = 0;
        const lk_nf4 * weight = nullptr; // where the node is the product as well
    };

    Span & span(int64_t columns);
    Node * node(Span & s, int target);
    Group & group(const ggml_tensor * x);
    // A node for the next product of the group.
    Node * node(Group & g, int target);
    float * hidden_of(int slot) const { return hidden + (size_t) slot*hidden_stride*all.n; }

    SequenceAdapters & mixes;
    const SlotNeeds needs; // where adapters lie in slots
    const bool adapters;   // whether the graph has our nodes
    const bool norms;      // whether it has those for norms on the CPU
    // The products with A, (slot, row, hidden_stride) floats. One after the other, all groups of a graph use it.
    float * hidden = nullptr;
    size_t hidden_stride = 0;

private:
    void fill(Span & s);
    void fill_replaced(Span & s);
    void fill_slots(Span & s);
    void fill_shared(Span & s);

    Span all, outputs;
    std::deque<Node> nodes;
    std::deque<Group> groups;
    std::unordered_map<const ggml_tensor *, Group *> by_activations;
    size_t widest = 1; // group
    std::vector<float> memory;
};

// The attention of one graph. llama.cpp calls set_input for every ubatch, after it has chosen the cells that
// the ubatch's keys and values are stored in: then the device's Cells grow by them.
class Attention : public llm_graph_input_i {
public:
    Attention(Cells & cells, const ggml_tensor * key_cells) : cells(cells), key_cells(key_cells) {}

    void set_input(const llama_ubatch * ubatch) override;
    // llama.cpp's own input, which has the same shapes, decides.
    bool can_reuse(const llm_graph_params &) override { return true; }

    // One layer's node. Threads take pieces of its work as they become free.
    struct Node {
        const Attention * attention = nullptr;
        float scale = 0;
        std::atomic<int> next{0};
    };

    // The node for q (head_size, rows, heads), k and v (head_size, cells, kv_heads).
    ggml_tensor * node(ggml_context * ctx, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, float scale);

private:
    static void run(ggml_tensor * dst, int ith, int nth, void * node);

    Cells & cells;
    const ggml_tensor * const key_cells; // I64 (rows): the cell of each row
    int tile_rows = 1;
    std::vector<attention_tile> tiles;
    std::deque<Node> nodes;
};

// Builds the nodes of one graph.
class Builder {
public:
    Builder(const Scope & scope, const llm_graph_params & params);
    ~Builder();
    void finish(); // after the graph was built to its end
    Builder(const Builder &) = delete;
    Builder & operator=(const Builder &) = delete;

    static Builder * current();

    ggml_tensor * mul_mat(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x);
    // The product alone, through our kernels where the weight is packed for them. x is (n_in, rows) floats.
    ggml_tensor * product(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x);
    ggml_tensor * get_rows(ggml_context * ctx, ggml_tensor * table, ggml_tensor * ids);
    // x*w, x being normed rows where w is the weight of a norm.
    ggml_tensor * mul(ggml_context * ctx, ggml_tensor * x, ggml_tensor * w);
    // Null where llama.cpp's own attention must run.
    ggml_tensor * attend(ggml_context * ctx, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, float scale);

private:
    const Model & model;
    const llm_graph_params & params;
    Graphs * const graphs;
    Cells * const cells;
    HiddenStates * const hidden;
    const bool logits, exact;
    Reduction * const reduction;
    Rows * rows = nullptr; // null: no adapters in this graph
    bool in_slots(int target) const;
    bool needs_rows(int target) const; // of the embedding or the head
    bool needs_norm(const Norm & n) const; // a row has its own
    std::unique_ptr<Attention> attention; // null: none yet
    // Activations -> ready for products with NF4 and with integer weights, and with rows of zeros for ggml's.
    std::unordered_map<const ggml_tensor *, ggml_tensor *> prepared, rounded, padded;
};

// What the adapters of a class add to a target's products with x (n_in, rows), where the rows share their slots: (n_out, rows).
ggml_tensor * multiply_shared(ggml_context * ctx, Rows & rows, Rows::Span & s, int target, int rank_class, ggml_tensor * x);

// y + the adapters' products with x. The result replaces y.
ggml_tensor * add_fused(ggml_context * ctx, Rows & rows, int target, ggml_tensor * y, ggml_tensor * x);
// The product with an NF4 weight and the adapters' in one node. Null where the group's activations are not prepared
// for it.
ggml_tensor * nf4_fused(ggml_context * ctx, Rows & rows, int target, const lk_nf4 * w, int mode, int n_out, ggml_tensor * x);
ggml_tensor * add_slots(ggml_context * ctx, Rows & rows, int target, ggml_tensor * y, ggml_tensor * x);
// What the adapters of n rows add to the weight, of that width, of the norm that lies in a target's slots: (width, n).
ggml_tensor * norms_in_slots(ggml_context * ctx, Rows & rows, int target, int width, int64_t n);
// y + the products of x with the rows of the head that adapters have their own of.
ggml_tensor * add_rows(ggml_context * ctx, Rows & rows, int target, ggml_tensor * y, ggml_tensor * x);
// y + the adapters' changes of the embedding rows `ids`.
ggml_tensor * add_embedding(ggml_context * ctx, Rows & rows, int target, ggml_tensor * y, ggml_tensor * ids);
// x times the norm's weight, or what the adapters of a row have in its place. x is (width, rows), by head (width, heads, rows).
ggml_tensor * multiply_norm(ggml_context * ctx, Rows & rows, int norm, ggml_tensor * x);
// Where a node's rows begin: ggml aligns tensors to 32 bytes, the kernels' rows begin on 64.
inline char * aligned(const ggml_tensor * t) { return (char *) (((uintptr_t) t->data + 63)/64*64); }
// The product with an NF4 weight and float activations.
ggml_tensor * nf4_product_f32(ggml_context * ctx, const lk_nf4 * w, int n_out, ggml_tensor * x);
// The product with an NF4 weight. prepared is the node that prepares x; null: it is made, and shared by the
// other products with the same x.
ggml_tensor * nf4_product(ggml_context * ctx, const lk_nf4 * w, int mode, int n_out, ggml_tensor * x, ggml_tensor *& prepared);
// The same with an integer weight.
ggml_tensor * int_product(ggml_context * ctx, const lk_int * w, int n_out, ggml_tensor * x, ggml_tensor *& rounded);
ggml_tensor * int_product_f32(ggml_context * ctx, const lk_int * w, int n_out, ggml_tensor * x);
// ggml's product, in which a row has the same bits whatever the others are. padded is x with rows of zeros, shared
// like prepared; null: it is made where w needs it.
ggml_tensor * padded_product(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x, ggml_tensor *& padded);
// ggml_mul_mat and ggml_mul as they were before the linker.
ggml_tensor * real_mul_mat(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x);
ggml_tensor * real_mul(ggml_context * ctx, ggml_tensor * x, ggml_tensor * w);

} // namespace lorikeet
