// What tests and benchmarks need of the engine: models of random numbers, every fast kernel compared with its scalar
// reference, and a look inside a trainer.
#pragma once
#include "../c_api.h"
#ifdef __cplusplus
extern "C" {
#endif

// ---- sample models ---------------------------------------------------------------------------------
// A sample's weights may be of a kind beside those of lq_kind: LQ_MAKE_NF4 plus an lk_nf4_kind. The weight that is made
// is an LQ_NF4; its packed form says the rest. LQ_MAKE_GGML plus a ggml_type makes an LQ_GGML.
enum { LQ_MAKE_NF4 = LQ_KINDS, LQ_MAKE_GGML = LQ_MAKE_NF4 + 3 };

typedef struct {
    int n_embd, n_layers, n_heads, n_kv_heads, head_size, n_ff, n_vocab;
    int kind, end_kind; // of the layers' weights, of the embedding and the head
    int rope_neox, bias, qk_norm, tied, stretched; // stretched: with frequency factors and a gain
    uint64_t seed;
} lq_sample_spec;
typedef struct lq_sample lq_sample;
lq_sample * lq_sample_new(const lq_sample_spec * spec); // NULL: no memory, or a kind that cannot be made
const lq_model * lq_sample_model(const lq_sample * s);
uint64_t lq_sample_hash(const lq_sample * s); // over every byte of every tensor
void lq_sample_free(lq_sample * s);           // NULL is fine

// Writes the model as a GGUF file without a vocabulary. Kinds that no file has (X8, NF4) cannot be written, nor
// those where the architecture is not llama, qwen2 or qwen3. 0: done.
int lq_sample_write(const lq_sample * s, const char * architecture, const char * path);

// A file as llama.cpp loads it by itself, for comparison: repack lets ggml choose its own layouts.
typedef struct lq_stock lq_stock;
lq_stock * lq_stock_load(const char * path, int repack);
// The last `layers` layers, the head counted as one, in the memory of a device of ggml's; without logits.
lq_stock * lq_stock_load_on(const char * path, const char * device, int layers);
const void * lq_stock_model(const lq_stock * s); // llama_model
int lq_stock_logits(lq_stock * s, const int32_t * tokens, int n, float * out); // of one sequence; 0: done
void lq_stock_free(lq_stock * s); // NULL is fine

// ---- fast kernels against plain ones ---------------------------------------------------------------
// All return the largest difference, divided by the root mean square of what the plain kernel gives.
// A kind that cannot be made on this CPU gives -1, and so does an isa that it cannot run.
double lq_check_fill(int isa, int kind, int n_in, int n_out, uint64_t seed);

enum lq_form { LQ_FORM_BY_DEPTH, LQ_FORM_BY_COLUMN, LQ_FORM_FORWARD, LQ_FORM_BACKWARD };
// C (rows, cols) of depth `depth`, with a second pair of depth `rank` (0: none), on `threads` threads. kind is
// used by the forms of weights. transposed packs A from its transpose.
double lq_check_product(int isa, int form, int kind, int rows, int depth, int cols, int rank, int transposed, int accumulate, int threads, uint64_t seed);

enum lq_small { LQ_NORM, LQ_NORM_BACKWARD, LQ_ROPE, LQ_ROPE_BACKWARD, LQ_SWIGLU, LQ_SWIGLU_BACKWARD, LQ_LOSS, LQ_LOSS_GRADIENT, LQ_ADAMW, LQ_DROPOUT, LQ_NORM_WEIGHT, LQ_SMALLS };
double lq_check_small(int isa, int which, int rows, int n, int threads, uint64_t seed);

// Sequences of the given lengths; backward checks dq, dk and dv together.
double lq_check_attention(int isa, int backward, int heads, int kv_heads, int head_size, const int * lengths, int n, int threads, uint64_t seed);

// NULL, or what is wrong with a Pool that the system gave too few threads.
const char * lq_check_pool_without_threads(void);

// ---- inside a trainer ------------------------------------------------------------------------------
const float * lq_probe_gradients(const lq_trainer * t);            // of the last step's batches, as the parameters lie
// Slices that what was begun has left, and the cost of the largest by what a slice should cost.
size_t lq_probe_slices(const lq_trainer * t, double * largest);
const float * lq_probe_row_norms(const lq_trainer * t, int module);  // (n_out), as the last batch found them; NULL: no DoRA
// Logits (n, n_vocab) of packed sequences with the adapter as it stands; not in slices. Negative: see lq_error.
int lq_probe_logits(lq_trainer * t, const int32_t * tokens, int n, const int32_t * ends, int n_ends, float * out);

#ifdef __cplusplus
}
#endif
