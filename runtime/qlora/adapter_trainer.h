// What every trainer has, whatever computes its gradients: the adapter's parameters, the optimizer and its state, the
// batch, and the slices of what was begun.
#pragma once
#include "error.h"
#include "ops.h"
#include "schedule.h"
#include "workspace.h"
#include <memory>
#include <string>
#include <vector>

namespace lq {

// The adapter of one weight W (n_out, n_in): W + scale * B A. B is kept transposed, so that both lie by rank. Of DoRA
// its rows are scaled by gain = m / row_norms.
struct Lora {
    int rank, n_in, n_out;
    int trained; // ranks that train: the first ones
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

// The weight (n) of a norm that the adapter has its own of.
struct OwnNorm {
    int layer, norm, n;
    size_t at;        // where it lies in the parameters
    float * w, * dw;
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

// The numbers of an adapter and its optimizer: one flat array each.
struct Arrays {
    float * parameters = nullptr, * gradients = nullptr, * moment1 = nullptr, * moment2 = nullptr;
    float * row_norms = nullptr, * gains = nullptr; // of all modules with DoRA, one after the other
};

// Throws an Error that names what is wrong.
void check_model(const lq_model & m);
void check_options(const lq_model & m, const lq_options & o);

void check_norms(const lq_model & m, const lq_options & o, bool qk); // qk: the model has norms of q and k
void check_graph_options(const lq_graphs & g, const lq_options & o); // beside check_options

std::string target_name(int layer, int target); // "blk.3.attn_q", "output"
std::string norm_name(int layer, int norm);     // "blk.3.attn_norm", "output_norm"

// The rank that a module has in the trainer.
int rank_of(const lq_module & m);

// lora.cpp: the adapters of the options, without memory, and how many parameters they have; the first values [begin, end) of
// one, counted over A and then B.
std::vector<Lora> adapters_of(const lq_model & model, const lq_options & options, size_t * parameters);
// own_norms.cpp: the norms of the options, without memory, behind the parameters that there are so far.
std::vector<OwnNorm> norms_of(const lq_model & model, const lq_options & options, size_t * parameters);
void draw(const Lora & l, const lq_module & m, size_t begin, size_t end);
uint64_t key_of(uint64_t seed, const lq_module & m); // of the random numbers of a module's adapter

// layout.cpp: allocates the arrays in the arena; how large they are.
void allocate_arrays(Arena & arena, const lq_model & model, const lq_options & options, Arrays & arrays);
size_t array_bytes(const lq_model & model, const lq_options & options);

class AdapterTrainer {
public:
    virtual ~AdapterTrainer();
    AdapterTrainer(const AdapterTrainer &) = delete;
    AdapterTrainer & operator=(const AdapterTrainer &) = delete;

    void begin(int mode, const lq_batch & b);
    void begin_update(const lq_update & u);
    // Whether what was begun needs the workspace. take and give_back are as lq_take_workspace says.
    bool needs_workspace() const { return !started || waiting; }
    bool take(size_t most);
    void give_back();
    // Runs the next slice, and further ones while the next is expected to end within so many seconds. Returns whether that was the
    // last one; longest becomes the time of the longest.
    bool slices(double seconds, double * longest);
    bool slice() {
        double longest;
        return slices(0, &longest);
    }
    bool has_started() const { return started; }

    size_t state_bytes() const;
    void read_state(size_t offset, void * to, size_t n) const;
    void write_state(size_t offset, const void * from, size_t n, size_t total);
    void reseed(uint64_t seed);
    void reset_optimizer();
    void start_here() { // with the parameters that have been written
        started = true;
        parameters_changed();
    }

    lq_result result = {};
    const std::vector<Lora> & adapters() const { return loras; }
    const std::vector<OwnNorm> & norms() const { return own_norms; }
    const Arrays & memory() const { return arrays; }
    size_t parameter_count() const { return parameters; }

protected:
    friend struct TrainerProbe; // qloratest/probe.cpp
    AdapterTrainer(const lq_model & model, lq_workspace & shared, const lq_options & options, double slice_flops);
    void allocate_own();    // the arrays, with the adapters in them
    void join(const WorkspaceNeed & n); // what it will borrow at least
    // Borrows the workspace and divides it. Returns false where it is lent.
    virtual bool take_workspace(size_t most) = 0;
    virtual void schedule_batch(const std::vector<int> & pos) = 0; // of what take_batch took up
    virtual void parameters_changed() {}
    // Takes up the micro-batch, and returns its tokens' positions inside their sequences. Throws an Error, and then nothing is begun.
    std::vector<int> take_batch(int mode, const lq_batch & b);
    void check_batch(int mode, const lq_batch & b) const;
    void take_active(const lq_batch & b);
    void take_losses(); // loss.cpp: the sums and log-probabilities of `losses`. Throws an Error where the loss is not finite
    // Of the rows of a layer and of the head's chunk that begins at labelled position `from`: whether the adapter acts; NULL: on all.
    const char * active_rows() const { return active.empty() ? nullptr : active.data(); }
    const char * active_labels(int from) const { return active.empty() ? nullptr : active_labelled.data() + from; }
    bool acts(int t) const { return active.empty() || active[t]; }
    float weight_of(int t) const { return weight.empty() ? 1 : weight[t]; }
    // start.cpp. How the adapter begins: its first values, and DoRA's magnitudes.
    void schedule_start();
    void schedule_orthogonal(const Lora & l);
    virtual void read_norm(const OwnNorm & o, float * to) = 0; // the base's weight
    virtual void schedule_decompositions() {} // of the modules that begin as a part of their weight
    virtual void schedule_norms() = 0; // of DoRA, and the gains
    void schedule_zero(float * x, size_t n);
    bool trains(int target) const { return by_target[model.n_layers*LQ_LINEARS + target - LQ_LINEARS]; }
    // NULL: the layer computes the base
    const Lora * lora_of(int layer, int target) const {
        return base ? nullptr : by_target[target < LQ_LINEARS ? layer*LQ_LINEARS + target : model.n_layers*LQ_LINEARS + target - LQ_LINEARS];
    }
    // NULL: the norm's weight is the base's
    const OwnNorm * own_norm(int layer, int norm) const { return base ? nullptr : by_norm[norm < LQ_LAYER_NORMS ? layer*LQ_LAYER_NORMS + norm : model.n_layers*LQ_LAYER_NORMS]; }
    bool below_head() const { return first_layer < model.n_layers || trains(LQ_EMBED); } // whether gradients are needed there
    uint64_t mask_key(const Lora & l) const; // of its dropout in this micro-batch
    // embed.cpp. residual and grad are (T, n_embd)
    void embed(float * residual);
    void add_embedding_adapter(float * residual);
    void add_noise(float * residual);
    void embed_backward(const float * grad);
    // update.cpp
    void schedule_update(const lq_update & u);

    const lq_model model;
    lq_options options;
    std::vector<lq_module> modules;         // options.modules lies here,
    std::vector<lq_whole_norm> whole_norms; // and options.norms here
    size_t parameters = 0;
    std::vector<Lora> loras;              // in the order of the modules
    std::vector<const Lora *> by_target;  // (layer, LQ_LINEARS), then the embedding and the head
    std::vector<OwnNorm> own_norms;       // in the order of the options
    std::vector<const OwnNorm *> by_norm; // (layer, LQ_LAYER_NORMS), then that before the head
    int first_layer = 0;                  // the lowest layer that backward reaches
    lq_workspace & shared;
    WorkspaceNeed need; // that has joined it
    std::unique_ptr<Mapping> mapping; // its own
    Arrays arrays;
    std::shared_ptr<Pool> pool;
    Compute compute = {};
    Schedule schedule;
    bool borrowed = false; // the workspace is ours
    bool waiting = false;  // a micro-batch was begun whose slices are not made, since its memory is not known yet
    bool started = false;  // the parameters have values

    // The batch.
    int mode = LQ_EVAL;
    int T = 0;
    std::vector<int> position; // of each token in its sequence
    std::vector<int> token, label, labelled; // labelled: the positions that have a label
    std::vector<float> weight;               // of the labels' losses; empty: all 1
    bool base = false, entropies = false;    // computed without the adapter; the distributions' entropies are wanted
    std::vector<char> active, active_labelled; // whether the adapter acts on a position, of all and of the labelled ones; empty: on all
    std::vector<RowLoss> losses;             // of the labelled positions
    std::vector<float> log_probs, entropy;   // of all positions, as lq_result has them
    std::vector<Sequence> sequences;
    float inv_norm = 0;
    int micro = 0;     // micro-batches of this step so far
    float drop = 0, noise = 0; // dropout and NEFTune's alpha of this micro-batch: none in an evaluation
    int64_t steps = 0; // updates done
};

} // namespace lq

struct lq_trainer { // what c_api.h hands out
    std::unique_ptr<lq::AdapterTrainer> of;
    char error[512] = ""; // the sentence of the last failure
};
