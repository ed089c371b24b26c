// What a device computes of the logits in its memory, so that few of them are copied to the host: the best token of rows that
// are greedy, and the best few of rows that draw among so many. Rows that need all their logits get them one by one.
#pragma once
#include "sampler.h"
#include "llama-graph.h"

namespace lorikeet {

class Reduction {
public:
    // What the rows of a decode ask for.
    struct Wants {
        bool best = false; // the best token
        int top = 0;       // so many of the best, 0: none

        bool any() const { return best || top > 0; }
        bool operator==(const Wants & w) const { return best == w.best && top == w.top; }
    };

    // What rows with these samplers (null: a row without one) ask for. A sampler asks for more candidates than it draws
    // among, to see whether others are as good as the last.
    static Wants wants_of(const std::vector<const Sampler *> & samplers, int n_vocab);

    // Before a decode that can be reduced: one ubatch, in the order of its rows.
    void begin(Wants w) { wanted = w; }
    // Whether a graph that was built for other wants can be used.
    bool fits() const { return built == wanted; }

    // Adds the nodes to the end of a graph, if its logits are computed by a device that has the operations. llama.cpp then
    // copies none of them.
    void add(llm_graph_result & graph, ggml_backend_dev_t device);
    // Whether the last graph that was built with add has the nodes.
    bool active() const { return logits != nullptr; }

    // After the decode: reads what was reduced.
    void read();
    // Draws for the output row, if what was reduced tells the token that all logits would give.
    bool draw(Sampler & s, int output, Scratch & scratch, llama_token & token) const;
    // All logits of an output row. Valid until the next call.
    const float * row(int output);

    int64_t copied = 0; // rows of logits, ever

private:
    Wants wanted, built;
    // Of the last graph: (vocabulary, outputs), (outputs), how many tokens are as good (1, outputs), (top, outputs) twice
    ggml_tensor * logits = nullptr, * best = nullptr, * ties = nullptr, * top_ids = nullptr, * top_values = nullptr;
    std::vector<int32_t> best_of, top_of;
    std::vector<float> ties_of, values_of, one;
};

} // namespace lorikeet
