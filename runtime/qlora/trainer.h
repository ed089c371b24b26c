// The trainer whose gradients the CPU computes, with our own kernels, from weights in the memory of the CPU. Shapes in
// comments: T is the tokens of the batch.
#pragma once
#include "decompose.h"

namespace lq {

struct Linear {
    const Weight * w;
    const Lora * lora; // NULL: frozen
};

// One linear layer in one place of the step, with what its backward pass reads of the forward pass.
struct LinearUse {
    Linear l;
    int rows;
    const float * x; // (rows, n_in)
    float * hidden;  // (rows, rank) dropout(x) A^T; NULL where it is frozen
    float * z;       // (rows, n_out) the output before DoRA's gain and the bias; NULL where there is no DoRA
    uint64_t mask;   // key of its dropout
    const char * active; // (rows) whether the adapter acts; NULL: on all of them
};

// What backward needs of a layer's forward, beside the layer's input.
struct Activations {
    float * q_raw, * k_raw;       // (T, heads*head_size) before the norms of q and k, where the model has them
    float * q, * k, * v;          // rotated by their positions (RoPE)
    float * attended;             // (T, heads*head_size), the input of o
    float * middle;               // (T, n_embd), the residual after attention
    float * gate, * up;           // (T, n_ff)
    float * hidden[LQ_LINEARS];   // (T, rank) x A^T, where the layer trains
    float * z[LQ_LINEARS];        // (T, n_out) the output before DoRA's gain, where there is DoRA; else NULL
};

// Where everything lies in the workspace that a trainer borrows, for batches of up to max_tokens.
struct Workspace {
    std::vector<float *> residual;                               // input of each layer (T, n_embd), and the last one's output
    Activations shared = {};                                   // of the layers that compute theirs again
    std::vector<Activations> kept;                         // of the last layers
    float * cos = nullptr, * sin = nullptr;                                    // (T, head_size/2)
    float * normed = nullptr;                                        // (T, n_embd)
    float * act = nullptr;                                           // (T, n_ff)
    float * wide = nullptr, * wide2 = nullptr;                                 // (T, max(n_ff, heads*head_size)), gradients
    float * grad = nullptr, * grad2 = nullptr;                                 // (T, n_embd): of the residual, and of a norm's output
    float * d_attended = nullptr, * dk = nullptr, * dv = nullptr;                        // (T, heads*head_size), (T, kv_heads*head_size) twice
    float * d_hidden = nullptr;                                      // (T, rank)
    float * inverse_rms = nullptr;                                   // (T*heads), where norms train
    float * dropped = nullptr;                                       // (T, widest input), with dropout
    float * head_in = nullptr, * head_normed = nullptr, * head_grad = nullptr;           // (HEAD_ROWS, n_embd), a chunk of labelled rows
    float * logits = nullptr;                                        // (HEAD_ROWS, n_vocab)
    float * head_hidden = nullptr;                                   // (HEAD_ROWS, rank)
    float * head_z = nullptr;                                        // (HEAD_ROWS, n_vocab), with DoRA on the head
    float * dz = nullptr;                                            // (T, widest output with DoRA), gradient
    std::vector<float *> rows;                             // per thread (2*LQ_READ_ROWS, widest input), with DoRA
    float * left_x = nullptr, * left_bytes = nullptr, * left_dy = nullptr, * left_hidden = nullptr, * left_dropped = nullptr;
    float * rounded = nullptr; // (parameters), the adapters in half precision, where evaluations have them so
    std::vector<Scratch> scratch; // per thread
    DecomposeSpace decompose; // in the same memory, before the first micro-batch
};

enum { HEAD_ROWS = 120 }; // labelled rows whose logits exist at a time; a multiple of every tile's height

// layout.cpp: allocates every part of the workspace in the arena; how large it is with the activations of `keep` layers.
void allocate(Arena & arena, const lq_model & model, const lq_options & options, Workspace & w);
size_t workspace_bytes(const lq_model & model, lq_options options, int keep);

// trainer.cpp: the operations that a core of an lq_isa does in about two milliseconds.
double two_milliseconds(int isa);

class Trainer : public AdapterTrainer {
public:
    Trainer(const lq_model & model, lq_workspace & shared, const lq_options & options); // both checked
    ~Trainer() override = default;

private:
    friend struct TrainerProbe; // qloratest/probe.cpp: the logits of a batch, for tests
    // trainer.cpp
    bool take_workspace(size_t most) override;
    void schedule_batch(const std::vector<int> & pos) override;
    void schedule_positions(const std::vector<int> & pos);
    Activations & activations(int layer);
    bool kept(int layer) const { return layer >= model.n_layers - (int) w.kept.size(); }
    // served.cpp: evaluations that compute what is decoded
    bool exact() const { return mode == LQ_EVAL && options.served & LQ_EXACT; }
    bool rounds(int what) const { return exact() && options.served & what; } // lq_served
    void choose_kernels();
    void schedule_rounding();
    void round_kv(Activations & a);
    // The adapter that this micro-batch computes with.
    const Lora * computed(const Lora * l) const { return l && rounds(LQ_HALF_ADAPTERS) ? &rounded[(size_t) (l - loras.data())] : l; }
    // linear.cpp
    LinearUse use(int layer, int target, const float * x, const Activations & a) const;
    void schedule_product(const LinearUse & u, Left x, float * y, bool accumulate);
    void schedule_linear(const LinearUse & u, Left x, float * y, bool accumulate);
    void schedule_hidden(const LinearUse & u, Left x);
    void schedule_inactive(const LinearUse & u, float * x);
    void schedule_input_gradient(const LinearUse & u, Left dy, float * dx, bool accumulate);
    void schedule_parameter_gradients(const LinearUse & u, const float * dy);
    // decompose.cpp
    void schedule_decompositions() override;
    // dora.cpp
    void schedule_norms() override;
    void schedule_gain(const LinearUse & u, float * y, bool accumulate);
    const float * schedule_output_gradient(const LinearUse & u, const float * dy, Left packed);
    // layer_forward.cpp, layer_backward.cpp
    void schedule_forward(int layer, Activations & a, bool whole);
    void schedule_backward(int layer, Activations & a, bool input_needed);
    void schedule_attention_backward(int layer, Activations & a, bool input_needed);
    // own_norms.cpp
    const float * norm_weight(int layer, int norm) const;
    void read_norm(const OwnNorm & o, float * to) override;
    void add_norm_gradient(int layer, int norm, const float * x, const float * dy, int rows);
    // head.cpp
    LinearUse head_use(int rows, int from) const;
    void schedule_loss(bool gradients);
    void schedule_loss_chunk(int from, int rows, bool gradients);

    Left left(float * buffer, int rows, int depth) const { return {(Unit *) buffer, rows, depth, nullptr}; }
    // The input of frozen linear layers, with bytes where the kernels use them.
    Left input(int rows, int depth) const { return {(Unit *) w.left_x, rows, depth, depth % BYTE_DEPTH ? nullptr : (ByteBlock *) w.left_bytes}; }

    Workspace w;
    std::vector<Lora> rounded; // the adapters as they are served, in the workspace
    int most_kept = 0; // layers whose activations are kept where there is memory
    AttentionShape attention_shape = {};
    Rotary rotary = {};
    std::vector<QueryBlock> blocks, wholes;
};

} // namespace lq
