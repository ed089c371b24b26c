// The trainer whose gradients a device of ggml's computes, in graphs over the tensors that serve there. The adapter, its
// optimizer and its state stay in the memory of the CPU. Shapes in comments are ggml's, the fastest dimension first; T is the
// tokens of the batch.
//
// Every layer is computed again going backward, from its input, which is kept on the device. Gradients on the device are those of
// the summed loss: they are divided by the batch's norm where they are added to the host's, so that small numbers do not
// get smaller in half precision.
#pragma once
#include "graph_model.h"

namespace lq {

// Weights that are decoded at a time: 256 MiB of F32. Only output heads are larger.
constexpr int64_t DECODED_WEIGHTS = 64 << 20;

// On which rows of a graph the adapter acts, made when it is first asked for.
struct ActiveRows {
    int n = 0;
    const char * rows = nullptr;                   // (n); NULL: on all of them
    ggml_tensor * acts = nullptr, * idle = nullptr; // (1, n): 1 where it acts and 0 elsewhere, and the other way round
};

// A linear layer in one place of a graph, with what its backward reads of its forward.
struct LinearNodes {
    ggml_tensor * w, * bias;
    const Lora * lora;              // NULL: frozen
    std::function<uint64_t(int)> key; // of a row's dropout
    ggml_tensor * x;                // (n_in, T)
    ggml_tensor * mask, * dropped;  // (n_in, T): the dropout, and x under it; without dropout NULL and x
    ggml_tensor * hidden;           // (rank, T)
    ggml_tensor * z;                // (n_out, T): the output before DoRA's gain and the bias
    ActiveRows * active;            // of the graph
};

// A layer going forward, as far as backward reads it. Of attention, tensors are (head_size, T, heads).
struct LayerNodes {
    LinearNodes linear[LQ_LINEARS];
    ActiveRows active;
    ggml_tensor * x = nullptr, * q_raw = nullptr, * k_raw = nullptr; // q and k before their norms: (head_size, heads, T)
    ggml_tensor * q = nullptr, * k = nullptr, * v = nullptr;
    ggml_tensor * middle = nullptr; // (n_embd, T): the residual after attention
    ggml_tensor * gate = nullptr, * up = nullptr, * silu = nullptr; // (n_ff, T)
};

// A chunk of labelled rows as far as backward reads it.
struct LossNodes {
    ggml_tensor * x;       // (n_embd, rows), before the norm
    ggml_tensor * p;       // (n_vocab, rows), the probabilities
    ggml_tensor * labels;  // (1, rows)
    ggml_tensor * at;      // (rows), their positions in the batch
    ggml_tensor * weights; // (1, rows), or NULL for ones
};

// Queries [begin, end) of the batch, which see keys from `first` on; their mask lies at `mask` in the masks.
struct QueryRange {
    int begin, end, first;
    size_t mask;
    int queries() const { return end - begin; }
    int keys() const { return end - first; }
};

// A module's parameters on the device; NULL for the embedding's.
struct AdapterThere {
    ggml_tensor * a, * b; // (n_in, rank), and (n_out, rank): B lies transposed, as on the host
    ggml_tensor * gain;   // (n_out), of DoRA
};

class GraphTrainer : public AdapterTrainer {
public:
    // Of checked options. With measure nothing is allocated, and the trainer is for bytes() alone.
    GraphTrainer(lq_graphs & g, lq_workspace & shared, const lq_options & o, bool measure);

    lq_bytes bytes() const { return {(int64_t) (array_bytes(model, options) + own_bytes), (int64_t) size.total()}; }

private:
    using GraphPtr = std::unique_ptr<Graph>;

    // graph_trainer.cpp
    GraphPtr graph() const;
    void schedule_graph(std::function<GraphPtr()> build);
    void upload(const Lora & l);
    void schedule_upload();
    bool take_workspace(size_t most) override;
    void schedule_batch(const std::vector<int> & pos) override;
    void upload_batch(const std::vector<int> & pos);
    void schedule_embedding();
    GraphPtr embedding_graph();
    void parameters_changed() override { uploaded = false; }
    // graph_memory.cpp
    ggml_tensor * flat(int64_t n, ggml_type type = GGML_TYPE_F32);
    void make_tensors();
    void make_weight_reader();
    void make_own_tensors();
    void describe_largest_batch();
    void check_free_memory() const;
    void allocate_own_tensors();
    void place_tensors();
    std::function<GraphPtr()> largest_graph();
    void set_query_ranges();
    // graph_linear.cpp
    const AdapterThere & there(const Lora & l) const { return adapters_there[&l - loras.data()]; }
    LinearNodes use(int layer, int target, ActiveRows & active);
    ggml_tensor * where(Graph & g, ActiveRows & a, bool acts, ggml_tensor * x);
    ggml_tensor * gained(Graph & g, const LinearNodes & n, ggml_tensor * x);
    ggml_tensor * product(Graph & g, ggml_tensor * w, ggml_tensor * x, ggml_tensor * to);
    ggml_tensor * input_product(Graph & g, ggml_tensor * w, ggml_tensor * dy);
    void hidden(Graph & g, LinearNodes & n, ggml_tensor * x);
    ggml_tensor * linear(Graph & g, LinearNodes & n, ggml_tensor * x, bool whole = true, ggml_tensor * to = nullptr);
    ggml_tensor * linear_back(Graph & g, const LinearNodes & n, ggml_tensor * dy, bool input_needed);
    void add_gradient(Graph & g, ggml_tensor * of, float * to, size_t n);
    // graph_dora.cpp
    void schedule_norms() override;
    GraphPtr norms_graph(const Lora & l, ggml_tensor * w);
    // graph_norms.cpp
    ggml_tensor * base_norm(int layer, int norm) const;
    ggml_tensor * norm_weight(int layer, int norm) const;
    void read_norm(const OwnNorm & o, float * to) override;
    void add_norm_gradient(Graph & g, int layer, int norm, ggml_tensor * dy, ggml_tensor * x);
    // graph_attention.cpp
    ggml_tensor * rope(Graph & g, ggml_tensor * x, bool back); // of (head_size, heads, T)
    ggml_tensor * attention(Graph & g, const LayerNodes & n);
    void attention_back(Graph & g, const LayerNodes & n, ggml_tensor * d_o);
    ggml_tensor * probabilities(Graph & g, const LayerNodes & n, const QueryRange & r, ggml_tensor * q);
    // graph_layer.cpp
    ggml_tensor * forward(Graph & g, int layer, LayerNodes & n, bool whole);
    ggml_tensor * heads_back(Graph & g, ggml_tensor * from, ggml_tensor * raw, int layer, int norm, int heads);
    GraphPtr forward_graph(int layer);
    GraphPtr backward_graph(int layer, bool input_needed);
    // graph_head.cpp
    void schedule_loss(bool gradients);
    GraphPtr loss_graph(int from, int rows, bool gradients);
    void loss_back(Graph & g, const LinearNodes & head, const LossNodes & n);

    ggml_tensor * residual(Graph & g, int layer) { return g.view(residuals[layer], 0, model.n_embd, T); }
    float scale() const { return model.attn_scale ? model.attn_scale : 1/__builtin_sqrtf((float) model.head_size); }

    lq_graphs & graphs;
    WorkspaceNeed size; // what it borrows
    size_t own_bytes = 0; // of the device
    int head_rows = 0, query_block = 0;
    float * staging = nullptr; // (T, n_embd), or the masks
    bool uploaded = false;     // the device has the parameters

    // On the device, its own.
    ContextPtr own_context;
    BufferPtr buffer;
    WeightReader reader;
    std::vector<AdapterThere> adapters_there; // of loras
    std::vector<ggml_tensor *> norms_there;   // of own_norms
    ggml_tensor * rope_factors = nullptr;

    // In the workspace on the device, flat, for batches of up to max_tokens.
    ContextPtr context;
    uint64_t placed = 0; // the generation of the memory that they lie in; 0: they lie nowhere
    ggml_gallocr_t allocator = nullptr;
    std::vector<ggml_tensor *> residuals; // the input of each layer (n_embd, T), and the last one's output
    ggml_tensor * grad = nullptr;                                        // (n_embd, T), of the residual
    ggml_tensor * attended = nullptr, * dq = nullptr, * dk = nullptr, * dv = nullptr; // (head_size, T, heads)
    ggml_tensor * logits = nullptr;                                      // (n_vocab, head_rows)
    ggml_tensor * masks = nullptr, * positions = nullptr;

    // The batch.
    std::vector<QueryRange> ranges;
    struct Picked {
        float largest, probability, label; // the largest logit, its probability, and the label's logit
        float mean;                        // of the logits under their distribution, where the entropy is wanted
        int32_t best;                      // where the largest is
    };
    std::vector<Picked> picked; // of the labelled tokens
};

} // namespace lq
