// The trainer: one adapter in training on one model. Shapes in comments: T is the tokens of the batch.
#pragma once
#include "error.h"
#include "ops.h"
#include "schedule.h"
#include <memory>
#include <string>
#include <vector>

namespace lq {

// The adapter of one weight W (n_out, n_in): W + scale * B A. B is kept transposed, so that both lie by rank. Of DoRA
// its rows are scaled by gain = m / row_norms.
struct Lora {
    int rank, n_in, n_out;
    float scale;
    const Weight * w;
    bool dora;
    size_t at_m, at_norm;      // where its magnitudes lie in the parameters, and its row norms among all
    float * m, * dm;            // (n_out), of DoRA
    float * row_norms, * gain;  // (n_out), of DoRA
    size_t at_a, at_b;          // where they lie in the parameters
    float * a, * b, * da, * db; // (rank, n_in), (rank, n_out) and their gradients; the embedding's a is (n_in, rank)
    uint64_t key;               // of its own random numbers
};

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

// Gives out memory piece by piece, once. Without a base it only counts the bytes.
class Arena {
public:
    explicit Arena(char * base) : base(base) {}
    float * floats(size_t n) {
        char * p = base ? base + used : nullptr;
        used += (n*sizeof(float) + 63)/64*64;
        return (float *) p;
    }
    size_t bytes() const { return used; }

private:
    char * base;
    size_t used = 0;
};

// Everything that a trainer allocates, for batches of up to max_tokens.
struct Workspace {
    float * parameters = nullptr, * gradients = nullptr, * moment1 = nullptr, * moment2 = nullptr; // one flat array each
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
    float * dropped = nullptr;                                       // (T, widest input), with dropout
    float * head_in = nullptr, * head_normed = nullptr, * head_grad = nullptr;           // (HEAD_ROWS, n_embd), a chunk of labelled rows
    float * logits = nullptr;                                        // (HEAD_ROWS, n_vocab)
    float * head_hidden = nullptr;                                   // (HEAD_ROWS, rank)
    float * head_z = nullptr;                                        // (HEAD_ROWS, n_vocab), with DoRA on the head
    float * row_norms = nullptr, * gains = nullptr;                          // of all modules with DoRA, one after the other
    float * dz = nullptr;                                            // (T, widest output with DoRA), gradient
    std::vector<float *> rows;                             // per thread (2*LQ_READ_ROWS, widest input), with DoRA
    float * left_x = nullptr, * left_bytes = nullptr, * left_dy = nullptr, * left_hidden = nullptr, * left_dropped = nullptr;
    std::vector<Scratch> scratch; // per thread
};

enum { HEAD_ROWS = 120 }; // labelled rows whose logits exist at a time; a multiple of every tile's height

class Mapping { // anonymous memory that goes back to the system when it is released
public:
    explicit Mapping(size_t bytes); // throws a Error of LQ_MEMORY
    ~Mapping();
    Mapping(const Mapping &) = delete;
    Mapping & operator=(const Mapping &) = delete;
    char * base() const { return (char *) p; }

private:
    void * p;
    size_t bytes;
};

// Throws a Error that names what is wrong.
void check_model(const lq_model & m);
void check_options(const lq_model & m, const lq_options & o);

std::string target_name(int layer, int target); // "blk.3.attn_q", "output"

// lora.cpp: the adapters of the options, without memory, and how many parameters they have; their first values.
std::vector<Lora> adapters_of(const lq_model & model, const lq_options & options, size_t * parameters);
void draw(const Lora & l, bool embedding);

// workspace.cpp: allocates every part of the workspace in the arena.
void allocate(Arena & arena, const lq_model & model, const lq_options & options, Workspace & w);

class Trainer {
public:
    Trainer(const lq_model & model, const lq_options & options); // both checked
    ~Trainer() = default;
    Trainer(const Trainer &) = delete;
    Trainer & operator=(const Trainer &) = delete;

    void begin(int mode, const int32_t * tokens, const int32_t * labels, int n, const int32_t * ends, int n_ends, double norm);
    void begin_update(const lq_update & u);
    bool slice(); // true: it was the last one

    size_t state_bytes() const;
    void read_state(size_t offset, void * to, size_t n) const;
    void write_state(size_t offset, const void * from, size_t n, size_t total);

    lq_result result = {};
    char error[512] = ""; // the sentence of the last failure
    const std::vector<Lora> & adapters() const { return loras; }
    const Workspace & workspace() const { return w; }
    size_t parameter_count() const { return parameters; }

private:
    friend struct TrainerProbe; // qloratest/probe.cpp: the logits of a batch, for tests
    // trainer.cpp
    void place_adapters();
    void set_batch(const int32_t * tokens, const int32_t * labels, int n, const int32_t * ends, int n_ends);
    Activations & activations(int layer);
    bool kept(int layer) const { return layer >= model.n_layers - (int) w.kept.size(); }
    bool trains(int target) const { return by_target[model.n_layers*LQ_LINEARS + target - LQ_LINEARS]; }
    // embed.cpp
    void embed();
    void embed_backward();
    // linear.cpp
    LinearUse use(int layer, int target, const float * x, const Activations & a) const;
    void schedule_product(const LinearUse & u, Left x, float * y, bool accumulate);
    void schedule_linear(const LinearUse & u, Left x, float * y, bool accumulate);
    void schedule_hidden(const LinearUse & u, Left x);
    void schedule_input_gradient(const LinearUse & u, Left dy, float * dx, bool accumulate);
    void schedule_parameter_gradients(const LinearUse & u, const float * dy);
    // dora.cpp
    void schedule_norms();
    void init_magnitudes();
    void schedule_gain(const LinearUse & u, float * y, bool accumulate);
    const float * schedule_output_gradient(const LinearUse & u, const float * dy, Left packed);
    // layer_forward.cpp, layer_backward.cpp
    void schedule_forward(int layer, Activations & a, bool whole);
    void schedule_backward(int layer, Activations & a, bool input_needed);
    void schedule_attention_backward(int layer, Activations & a, bool input_needed);
    // head.cpp
    LinearUse head_use(int rows, int from) const;
    void schedule_loss(bool gradients);
    void schedule_loss_chunk(int from, int rows, bool gradients);
    // update.cpp
    void schedule_update(const lq_update & u);

    Left left(float * buffer, int rows, int depth) const { return {(Unit *) buffer, rows, depth, nullptr}; }
    // The input of frozen linear layers, with bytes where the kernels use them.
    Left input(int rows, int depth) const { return {(Unit *) w.left_x, rows, depth, depth % BYTE_DEPTH ? nullptr : (ByteBlock *) w.left_bytes}; }

    const lq_model model;
    lq_options options;
    std::vector<lq_module> modules; // options.modules lies here
    size_t parameters = 0;
    std::vector<Lora> loras;                        // in the order of the modules
    std::vector<const Lora *> by_target;            // (layer, LQ_LINEARS), then the embedding and the head
    int first_layer = 0;                            // the lowest layer that backward reaches
    std::unique_ptr<Mapping> mapping;
    Workspace w;
    Pool pool;
    Compute compute = {};
    AttentionShape attention_shape = {};
    Rotary rotary = {};
    Schedule schedule;

    // The batch.
    int T = 0;
    std::vector<int> token, label, labelled; // labelled: the positions that have a label
    std::vector<Sequence> sequences;
    std::vector<QueryBlock> blocks, wholes;
    std::vector<RowLoss> losses;
    float inv_norm = 0;
    int micro = 0;       // micro-batches of this step so far
    float drop = 0;      // dropout of this micro-batch: none in an evaluation
    int64_t steps = 0;   // updates done
};

} // namespace lq

struct lq_trainer : lq::Trainer { // what c_api.h hands out
    using lq::Trainer::Trainer;
};
