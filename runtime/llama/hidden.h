// The hidden states that rows of a decode ask for: what the last layer gives, after the output norm. llama.cpp computes
// them on the way to the logits, and the head reads them; a node at the end of the graph copies them out.
#pragma once
#include "c_api.h"
#include "llama-graph.h"
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace lorikeet {

class HiddenStates {
public:
    explicit HiddenStates(size_t width) : width(width) {}

    // Allocates for the rows that ask. All that the node writes to is allocated here.
    void begin(const ll_row * rows, int n);
    bool wanted() const { return !places.empty(); }
    // Whether no row asks for anything else.
    bool alone() const { return wanted() && !logits; }
    // Where a row's state is in values, counted in rows; -1: it did not ask.
    int place(int32_t seq, int32_t pos) const;

    const size_t width;
    std::vector<float> values; // (rows that ask, width)

private:
    std::unordered_map<uint64_t, int> places; // by sequence and position
    bool logits = false;                      // rows ask for logits
};

// The node of one graph that copies hidden states, and its input: which of the graph's output rows ask. llama.cpp
// calls set_input for every ubatch, after it has split and reordered the batch.
class HiddenNode : public llm_graph_input_i {
public:
    explicit HiddenNode(HiddenStates & states) : states(states) {}

    void set_input(const llama_ubatch * ubatch) override;
    bool can_reuse(const llm_graph_params &) override { return true; } // ReusableGraph knows whether it is needed

    // Adds the node to the end of a graph that has been built; it goes to the graph's inputs.
    static void add(std::unique_ptr<HiddenNode> node, llm_graph_result & graph);

private:
    static void copy(ggml_tensor * dst, int ith, int nth, void * node);

    HiddenStates & states;
    std::vector<int> rows; // the place of each output row of the ubatch; -1: it did not ask
};

// What stands for the head's product with x where no row asks for logits: as large, and nothing is computed.
ggml_tensor * no_logits(ggml_context * ctx, const ggml_tensor * head, ggml_tensor * x);

} // namespace lorikeet
