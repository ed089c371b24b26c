// The C interface of the training engine, which Go calls: plain C, no type of llama.cpp or ggml.
//
// The engine is given a model as views: sizes, pointers to norms and biases, and for every linear
// layer where its weights lie and how they are coded. Nothing is copied; the owner of the weights keeps them
// in place for as long as a trainer uses the model. The engine never writes to them.
//
// One trainer is used by one thread at a time. Functions that can fail return a negative lq_status and leave
// a sentence in the error buffer or in lq_error(). No exception passes.
#pragma once
#include "../kernels/layout.h"
#ifdef __cplusplus
extern "C" {
#endif

enum lq_status { LQ_OK = 0, LQ_MORE = 1, LQ_INVALID = -1, LQ_MEMORY = -2, LQ_DIVERGED = -3, LQ_FAILED = -4 };

// The paths that a CPU may run. LQ_AVX512_BF16 multiplies bfloat16 pairs; LQ_AVX512_BYTES does so too, but going
// forward multiplies coded weights with activations of 8 bits, as decoding does; LQ_AMX multiplies the pairs in tile
// registers, which is faster than bytes; the others single precision.
enum lq_isa { LQ_AUTO = -1, LQ_PORTABLE = 0, LQ_AVX2 = 1, LQ_AVX512 = 2, LQ_AVX512_BF16 = 3, LQ_AVX512_BYTES = 4, LQ_AMX = 5 };
int lq_best_isa(void);
const char * lq_isa_name(int isa);

// ---- the model -------------------------------------------------------------------------------------
// How a weight is coded. Names are ggml's; the X8 kinds are its repacked layouts, eight rows interleaved.
// LQ_NF4, of every lk_nf4_kind, and the STRIPS kinds are the packed weights of runtime/kernels. LQ_GGML is every other type
// that ggml can decode, which does so block by block: slower than the types that have kernels of their own.
enum lq_kind {
    LQ_NONE, LQ_F32, LQ_F16, LQ_BF16, LQ_Q8_0, LQ_Q4_0, LQ_Q4_0_X8, LQ_Q4_1, LQ_Q5_0, LQ_Q5_1,
    LQ_Q4_K, LQ_Q4_K_X8, LQ_Q5_K, LQ_Q6_K, LQ_IQ4_NL, LQ_IQ4_NL_X8, LQ_NF4,
    LQ_Q8_0_STRIPS, LQ_Q6_K_STRIPS, LQ_GGML, LQ_Q2_K_X8, LQ_KINDS
};

// A weight W (n_out, n_in) read in place, and the bias (n_out) that follows it, or NULL.
// n_in is a multiple of 32, except for the float kinds.
typedef struct {
    int kind;
    int n_in, n_out;
    const void * data;         // not for the layouts of runtime/kernels
    size_t row_bytes;          // from one row to the next; the X8 kinds: of one row's share
    const lk_nf4 * nf4;        // LQ_NF4 alone
    const lk_int * integer;    // the STRIPS kinds alone
    const float * bias;
    int type;                  // LQ_GGML alone: its ggml_type
} lq_weight;

// The linear layers of a transformer block, in the order of lq_layer.linear; then the embedding and the output head.
enum lq_target { LQ_Q, LQ_K, LQ_V, LQ_O, LQ_GATE, LQ_UP, LQ_DOWN, LQ_LINEARS, LQ_EMBED = LQ_LINEARS, LQ_HEAD, LQ_TARGETS };

// The norms of a transformer block, then that before the output head.
enum lq_norm { LQ_ATTN_NORM, LQ_FFN_NORM, LQ_Q_NORM, LQ_K_NORM, LQ_LAYER_NORMS, LQ_OUT_NORM = LQ_LAYER_NORMS, LQ_NORMS };

typedef struct {
    lq_weight linear[LQ_LINEARS];
    const float * attn_norm, * ffn_norm; // (n_embd)
    const float * q_norm, * k_norm;      // (head_size), or NULL
} lq_layer;

typedef struct {
    int n_embd, n_layers, n_heads, n_kv_heads, head_size, n_ff, n_vocab;
    float norm_eps;
    float attn_scale;           // of q k^T; 0 is 1/sqrt(head_size)
    int rope_neox;              // 1: pairs are halves apart; 0: pairs are neighbours
    float rope_base;            // pair i is rotated by pos * base^(-2i/head_size) * rope_freq_scale[i]
    const float * rope_freq_scale; // (head_size/2), or NULL for ones: every kind of frequency scaling
    float rope_gain;            // factor on cos and sin (YaRN's magnitude); 0 is 1
    lq_weight embed;            // (n_vocab, n_embd)
    lq_weight head;             // (n_vocab, n_embd); tied models give the embedding again and set tied
    int tied;
    const float * out_norm;     // (n_embd)
    const lq_layer * layers;    // (n_layers)
} lq_model;

// The factors on the frequencies of RoPE under a model's scaling settings, as llama.cpp computes it: linear and "llama3" scaling come
// with ext_factor 0, YaRN with 1. factors (head_size/2) may be NULL. Writes scales (head_size/2) and gain.
void lq_rope_scaling(int head_size, float base, float freq_scale, const float * factors, float ext_factor, float attn_factor,
    float beta_fast, float beta_slow, int n_ctx_orig, float * scales, float * gain);

// ---- a trainer -------------------------------------------------------------------------------------
// layer is ignored for LQ_EMBED and LQ_HEAD. dora: the rows of W + scale*B A are brought to trained row norms (DoRA, Liu
// et al. 2024); not of LQ_EMBED.
// init: how it begins. Of LQ_INIT_PISSA and LQ_INIT_OLORA the rank in the trainer, which lq_get_offsets returns, is twice rank:
// the second half is what the weight has of the first one, subtracted, and is not trained. See decompose.h.
// init_iterations: of PISSA, of subspace iteration; 0: until the singular triples do not change any more.
// original: of LQ_INIT_LOFTQ, the weight before it was quantized, of a float kind, which stays in place until lq_started;
// original_heads: of q and k whose rows lie in Hugging Face's order of this many heads; 0: in the weight's own.
typedef struct {
    int layer, target, rank;
    float scale;
    int dora, init, init_iterations;
    lq_weight original;
    int original_heads;
} lq_module;
// A norm whose weight the adapter has its own of, which trains whole (PEFT's modules_to_save). It begins as the base's, takes B's
// learning rate and no weight decay. layer is ignored for LQ_OUT_NORM.
typedef struct { int layer, norm; } lq_whole_norm;
enum lq_init { LQ_INIT_DEFAULT, LQ_INIT_GAUSSIAN, LQ_INIT_ORTHOGONAL, LQ_INIT_PISSA, LQ_INIT_OLORA, LQ_INIT_LOFTQ, LQ_INITS };

// Evaluations that compute what decoding does where it rounds least: in single precision, whatever the isa; and with what serving
// keeps in half precision rounded to it: keys and values, and the adapters (not those with DoRA).
enum lq_served { LQ_EXACT = 1, LQ_HALF_KV = 2, LQ_HALF_ADAPTERS = 4 };

typedef struct {
    const lq_module * modules; // what trains, each tensor at most once
    int n_modules;
    const lq_whole_norm * norms; // which train beside the modules, each at most once; not of activated adapters
    int n_norms;
    int max_tokens;            // most tokens in one micro-batch
    int keep;                  // layers whose activations are kept where the workspace has the memory; the others compute them again
    int threads;
    int isa;                   // lq_isa
    uint64_t seed;
    float dropout;             // of the input of A, in [0, 1)
    float noise;               // NEFTune's alpha, 0 or more
    float slice_flops;         // operations in one slice per thread; 0: about two milliseconds of them
    int single;                // of graphs: weights are decoded to F32 and not to BF16
    int activated;             // the adapter acts on a part of the tokens: batches may say on which
    int served;                // lq_served, of several the sum: how evaluations are computed. Not of graphs
    int query_block;           // of graphs: most queries whose attention is computed at a time; 0: what 64 MiB of scores hold
} lq_options;

// The tensors of a model that lies on a device of ggml's; see model_llama.h.
typedef struct lq_graphs lq_graphs;

// What the trainers of one model share: memory that a micro-batch needs while it runs, and threads. It outlives them. It is lent to
// one trainer at a time, and may be used by several threads at once.
typedef struct lq_workspace lq_workspace;
lq_workspace * lq_workspace_new(lq_graphs * g); // g: NULL where the CPU trains. NULL: there is no memory for it
void lq_workspace_free(lq_workspace * w);       // NULL is fine
// Frees the memory that is kept for the next trainer where it is more than most bytes of the CPU's. Returns 0 where it is lent.
int lq_workspace_trim(lq_workspace * w, int64_t most);

// The bytes that a trainer has of its own, and those of the workspace that it needs; both in all memories together.
typedef struct { int64_t own, workspace; } lq_bytes;
// What lq_new or lq_graphs_new would need. Returns an lq_status.
int lq_memory(const lq_model * model, const lq_options * options, lq_bytes * bytes, char * error, size_t error_size);
int lq_graphs_memory(lq_graphs * g, const lq_options * options, lq_bytes * bytes, char * error, size_t error_size);

typedef struct lq_trainer lq_trainer;
// A trainer whose gradients the device computes; keep must be 0. As lq_new.
int lq_graphs_new(lq_graphs * g, lq_workspace * w, const lq_options * options, lq_trainer ** out, char * error, size_t error_size);
// How A and B start is the modules' init. DoRA's
// magnitudes start at the norms of the weight's rows, so that step 0 is the base. The first slices compute these values:
// until lq_started says so, the trainer has none.
// LQ_MEMORY: the system has not the memory or the threads. On failure *out is NULL.
int lq_new(const lq_model * model, lq_workspace * w, const lq_options * options, lq_trainer ** out, char * error, size_t error_size);
void lq_free(lq_trainer * t); // NULL is fine
int lq_started(const lq_trainer * t);
const char * lq_error(const lq_trainer * t);

// ---- the workspace, in turns ------------------------------------------------------------------------
// A micro-batch, and the start of an adapter, need the workspace before their first slice, and until their last. Whoever gives it
// back earlier drops what was begun. The optimizer's step needs none.
int lq_needs_workspace(const lq_trainer * t);
// Takes it, of which no more than most bytes of the CPU's memory are used for keeping activations, and makes the slices of what was
// begun. LQ_MORE: it is lent to another trainer.
int lq_take_workspace(lq_trainer * t, int64_t most);
void lq_give_back(lq_trainer * t);

// ---- a step ----------------------------------------------------------------------------------------
// What lq_begin starts: the first or a further micro-batch of a step, whose gradients are summed; or the loss
// alone, which changes nothing.
enum lq_mode { LQ_FIRST, LQ_FURTHER, LQ_EVAL };

// A micro-batch of packed sequences. Token i must predict labels[i]; -1 has no loss. The loss of a label is multiplied
// with its weight, which may be negative. ends are the positions after the last token of each sequence, rising, the last
// one n. The loss is divided by norm (the labelled tokens of the whole step).
typedef struct {
    const int32_t * tokens, * labels; // (n)
    const float * weights;            // (n), finite, or NULL for ones
    int n;
    const int32_t * ends;             // (n_ends)
    int n_ends;
    const int32_t * active;           // (n_ends), of trainers of activated adapters: the position in the batch from which on
                                      // the adapter acts in each sequence, from its begin to its end; NULL: everywhere
    double norm;
    int base;                         // of LQ_EVAL alone: without the adapter
    int entropies;                    // of the labelled tokens' distributions, too
} lq_batch;
// Copies what the batch points to. LQ_INVALID: nothing is begun.
int lq_begin(lq_trainer * t, int mode, const lq_batch * batch);

// The optimizer's step over the gradients (AdamW, Loshchilov & Hutter 2019). clip 0 does not clip.
typedef struct { float lr, lr_b, beta1, beta2, eps, weight_decay, clip; } lq_update; // lr_b: LoRA+'s rate of B
int lq_begin_update(lq_trainer * t, const lq_update * u);

// Does the next slice of what was begun: LQ_MORE, or LQ_OK after the last one. LQ_DIVERGED: the loss or a
// gradient is not finite; the weights are those of the last good step.
int lq_slice(lq_trainer * t);
// Does the next slice, and further ones while the next is expected to end within so many seconds. longest becomes the seconds of
// the longest one.
int lq_slices(lq_trainer * t, double seconds, double * longest);

typedef struct {
    double loss;         // weighted sum over the labelled tokens of the last micro-batch, not divided
    int labelled, correct; // labelled tokens, and those whose label is the most likely token
    double grad_norm;    // of the last update, before clipping
    int64_t steps;       // updates done
    // Of the last micro-batch's tokens (n_tokens), 0 where there is no label: the label's log-probability, and the entropy
    // of its distribution, or NULL where it was not asked for. They lie in the trainer until the next lq_begin, which sets
    // n_tokens to 0 until its last slice.
    int n_tokens;
    const float * log_probs, * entropies;
} lq_result;
void lq_get_result(const lq_trainer * t, lq_result * r);

// ---- what was learned ------------------------------------------------------------------------------
// Module i in the order of the options: A is (rank, n_in) at parameters + a; B lies transposed, (rank, n_out)
// at parameters + b. For the embedding A lies transposed too: (n_vocab, rank). DoRA's magnitudes are (n_out) at
// parameters + m.
typedef struct { int n_in, n_out, rank; size_t a, b, m; } lq_parameter_offsets;
int lq_get_offsets(const lq_trainer * t, int i, lq_parameter_offsets * p);
// Where norm i of the options lies in the parameters, and how many values it has.
int lq_get_norm(const lq_trainer * t, int i, size_t * at, int * n);
float * lq_parameters(lq_trainer * t);
void lq_parameters_changed(lq_trainer * t); // by the caller, who wrote all of them: the adapter begins with these
size_t lq_parameter_count(const lq_trainer * t);

// Weights, moments and counters: with the same options and batches a restored trainer continues bit for bit.
size_t lq_state_bytes(const lq_trainer * t);
// lq_read_state copies n bytes of the state, from offset on, to `to`. lq_write_state takes up a state of `total` bytes
// piece by piece, the first of which, at offset 0, has its whole header: where that or total is wrong it returns LQ_INVALID
// and changes nothing. The last piece ends at total.
void lq_read_state(const lq_trainer * t, size_t offset, void * to, size_t n);
int lq_write_state(lq_trainer * t, size_t offset, const void * from, size_t n, size_t total);
void lq_reseed(lq_trainer * t, uint64_t seed);  // from now on the options have this seed; the parameters stay
void lq_reset_optimizer(lq_trainer * t);        // moments and counters as before the first step. What was begun is dropped

#ifdef __cplusplus
}
#endif
