// The C interface of runtime/llama: every function that Go calls. Plain C, without any type of llama.cpp.
//
// Conventions. A function that can fail takes a ll_error and fills it, and returns LL_FAILED or NULL; no exception
// passes and nothing is retried here. Every handle has one free function, which accepts NULL. Handles share what they stand on:
// a model lives until its own handle and those of its devices, samplers and packs are freed, in any order.
// Functions on a model may be called from any thread; those on one device, sampler or pack from one at a time.
#pragma once
#include "../kernels/layout.h"
#ifdef __cplusplus
extern "C" {
#endif

enum ll_code {
    LL_OK = 0,
    LL_NO_CELLS = 1, // the KV cells do not suffice; nothing changed
    LL_FAILED = 2,  // see ll_error
    LL_NO_MEMORY = 3, // of a ll_error: what was asked for needs memory that there is not
};

typedef struct {
    int code; // LL_FAILED or LL_NO_MEMORY
    char text[1024];
} ll_error;

typedef struct ll_model ll_model;
typedef struct ll_device ll_device;
typedef struct ll_sampler ll_sampler;
typedef struct ll_pack ll_pack;

void ll_init(void);                               // once, before anything else
void ll_system_info(char * out, size_t capacity); // instruction sets in use, as one line

// ---- devices ---------------------------------------------------------------------------------------
// Loads a back end of ggml from a shared object. Its devices stay until the process ends.
int ll_backend_load(const char * path, ll_error * err);

enum ll_device_type { LL_CPU = 0, LL_GPU = 1, LL_IGPU = 2, LL_ACCELERATOR = 3 };
typedef struct {
    const char * name, * description, * backend; // never NULL; they stay
    int type;                                    // enum ll_device_type
    size_t memory, free;                         // bytes
} ll_device_info;
int ll_device_count(void);
void ll_device_describe(int i, ll_device_info * out);

// ---- model -----------------------------------------------------------------------------------------
// A tensor of the file that is NF4, whatever type the file gives it.
typedef struct {
    const char * name;
    lk_nf4_kind kind;
    int32_t n_in, n_out;
    uint64_t offset;  // of its bytes in the file
    int converted;    // a device is to hold it, in blocks of 32 that the file does not have
} ll_nf4;

typedef struct {
    const char * path;
    const char * architecture; // stands in for the file's general.architecture where the file is NF4; else NULL
    const ll_nf4 * nf4;      // (n_nf4)
    int n_nf4;
    int nf4_mode;              // enum lk_nf4_mode
    int use_mmap;
    const char * device;       // that computes the last layers; NULL: none, the CPU computes all
    int device_layers;         // how many of them, the output counted as one more
    const int32_t * end_tokens; // that end an answer, beside those that llama.cpp knows
    int32_t n_end_tokens;
    int no_eos;                 // the file names none: llama.cpp's default, an ordinary token, does not stand for it
    uintptr_t progress;        // Go handles of callbacks; 0 for none
    uintptr_t log;
} ll_load_options;

ll_model * ll_model_load(const ll_load_options * o, ll_error * err);
void ll_model_free(ll_model * m);

typedef struct {
    int32_t context_length, vocab_size, embedding, layers, heads, kv_heads, head_size;
    int32_t rope_norm;
    int64_t parameters, resident; // resident: bytes of all tensors in the layouts that they are computed with
    const char * architecture, * name, * chat_template; // never NULL; as long as the model
} ll_facts;

int ll_model_on_device(const ll_model * m); // whether a device holds any of its layers
void ll_model_facts(const ll_model * m, ll_facts * out);
int ll_model_targets(const ll_model * m);
const char * ll_model_target(const ll_model * m, int i, int32_t * n_in, int32_t * n_out); // its name
int ll_model_norms(const ll_model * m);
const char * ll_model_norm(const ll_model * m, int i, int32_t * width); // its name
int ll_model_refusals(const ll_model * m);
const char * ll_model_refusal(const ll_model * m, int i, const char ** reason); // the tensor's name

// ---- the tensors, for training -----------------------------------------------------------------------
// Another handle of the same model, to be freed as the first is. NULL where there is no memory.
ll_model * ll_model_share(const ll_model * m);
// The llama_model itself; it is not to be changed.
const void * ll_model_llama(const ll_model * m);
// An lk_packed_of whose context is a ll_model.
lk_packed ll_model_packed(const void * m, const void * tensor);

// ---- vocabulary ------------------------------------------------------------------------------------
// Tokens that end an answer; returns how many there are.
int32_t ll_end_tokens(const ll_model * m, int32_t * out, int32_t capacity);
// Renders a conversation with the formats that the library knows. Returns the number of bytes, -1 where the
// model's format is not known; where it is more than capacity, the text is truncated.
int32_t ll_known_template(const ll_model * m, const char * const * roles, const char * const * contents, int n,
                            int generation_prompt, char * out, int32_t capacity, ll_error * err);

// ---- sampler ---------------------------------------------------------------------------------------
typedef struct {
    float temperature, top_p, min_p, typical_p;            // <= 0: greedy, off, off, off
    float repeat_penalty, presence_penalty, frequency_penalty; // 1, 0, 0: off
    int32_t top_k, repeat_last_n;                          // <= 0: off
    uint32_t seed;
    int32_t ignore_eos;
} ll_sampling;

// The rules of a grammar, as package grammar compiles them. The numbers of the kinds are that package's.
enum ll_grammar_kind {
    LL_GRAMMAR_END = 0,      // of a rule
    LL_GRAMMAR_OR = 1,       // between two alternatives
    LL_GRAMMAR_REF = 2,      // to the rule `value`
    LL_GRAMMAR_CHAR = 3,     // the character `value`
    LL_GRAMMAR_CLASS = 4,    // a character of the class `value`
    LL_GRAMMAR_TOKEN = 5,    // the token `value`
    LL_GRAMMAR_NOT_TOKEN = 6, // any token but `value`
};

typedef struct { uint32_t kind, value; } ll_grammar_element;
typedef struct { uint32_t first, last; } ll_grammar_range; // of characters, both included

typedef struct {
    const ll_grammar_element * elements; // (n_elements)
    const int32_t * rules;                 // (n_rules): where each begins in elements; the first is the root
    const ll_grammar_range * ranges;     // (n_ranges): of a class, sorted and apart
    const int32_t * classes;               // (n_classes): where each begins in ranges
    int32_t n_elements, n_rules, n_ranges, n_classes;
} ll_grammar;

// grammar may be NULL. The arrays are copied.
ll_sampler * ll_sampler_new(const ll_model * m, const ll_sampling * s, const ll_grammar * grammar,
                                const int32_t * bias_tokens, const float * bias, int32_t n_bias,
                                const int32_t * prompt, int32_t n_prompt, ll_error * err);
void ll_sampler_free(ll_sampler * s);

// ---- packed adapters -------------------------------------------------------------------------------
// A part of an adapter: a module of rank n, without or with DoRA, a bias, n rows, or a norm, whose number is the target.
enum ll_part_kind { LL_LORA = 0, LL_DORA = 1, LL_BIAS = 2, LL_ROWS = 3, LL_NORM = 4 };
typedef struct { int kind, target, n; } ll_part;
int64_t ll_pack_need(const ll_model * m, int f32, int keep_plain, const ll_part * part); // the bytes that it takes in a pack
// keep_plain: also keep the plain form, which slots are filled from. capacity: the bytes of all parts together.
ll_pack * ll_pack_new(const ll_model * m, int f32, int keep_plain, int64_t capacity, ll_error * err);
// a is (rank, n_in), b is (n_out, rank), of target number `target`. May be called once per target, and
// for different targets at once. magnitude (n_out), of the embedding (n_in), makes it DoRA, which reads the target's
// weights; NULL: plain LoRA.
int ll_pack_add(ll_pack * p, int target, int rank, float scale, const float * a, const float * b, const float * magnitude, ll_error * err);
// These follow the modules, one call at a time. values (n_out) are added to the output of the target's layer, or,
// replaces, stand for its bias; values (n, n_in) stand for the rows ids, NULL: all n of them; values (width) stand for norm
// number `norm`.
int ll_pack_add_bias(ll_pack * p, int target, const float * values, int replaces, ll_error * err);
int ll_pack_add_rows(ll_pack * p, int target, const int32_t * ids, int n, const float * values, ll_error * err);
int ll_pack_add_norm(ll_pack * p, int norm, const float * values, ll_error * err);
int64_t ll_pack_bytes(const ll_pack * p); // that it holds of the system's memory
void ll_pack_free(ll_pack * p);

// ---- device ----------------------------------------------------------------------------------------
enum ll_kv_type { LL_KV_F16 = 0, LL_KV_F32 = 1, LL_KV_Q8_0 = 2 };
enum ll_flash { LL_FLASH_AUTO = 0, LL_FLASH_ON = 1, LL_FLASH_OFF = 2 };

enum ll_products { LL_PRODUCTS_AUTO = 0, LL_PRODUCTS_MUL_MAT_ID = 1, LL_PRODUCTS_GATHERED = 2 };

typedef struct {
    int32_t sequences, cells, batch, ubatch, threads, poll;
    int32_t kv_type, flash;
    int32_t split_kv;  // each sequence has its own cells, cells/sequences of them, instead of all sharing
    int32_t full_logits; // all logits are copied from a device's memory: for tests
    int32_t all_slots; // adapters of all targets lie in slots; else of those in a device's memory only
    int32_t slot_f32;  // slots are F32; else F16
    int32_t products;  // how rows are multiplied with slots
    int32_t slot_ranks; // of all slots together; 0: there are none
} ll_device_options;

typedef struct {
    int32_t token, seq, pos;
    int32_t top;            // -1: no log-probabilities
    ll_sampler * sampler; // NULL: no token is drawn
    int32_t scored, next;   // scored: the log-probability of the token `next` after this row; for rows without a sampler
    int32_t hidden;         // the row's hidden state, after the output norm
    int32_t mask;           // the number of the mask whose tokens alone may be drawn; -1: none
    int32_t exact;          // activations are not rounded for products with NF4, Q8_0 and Q6_K; the same in all rows of a decode
} ll_row; // with a choice, where it has a sampler, is scored, or asks for its hidden state

typedef struct { int32_t token; float logprob; } ll_alternative;

// What stands for a token where there is none.
enum ll_no_token {
    LL_NO_TOKEN_ADMITTED = -1, // the sampler admits none
    LL_LOGITS_NOT_FINITE = -2,    // no logit is a number
    LL_GRAMMAR_COST = -3,  // following the grammar takes too much work: `error` says which bound it met
    LL_SAMPLER_FAILED = -4, // `error` says why
    LL_SAMPLER_NO_MEMORY = -5,
};

typedef struct {
    int32_t token;         // or an enum ll_no_token
    float logprob;
    int32_t n_top, first;  // its alternatives are alternatives[first : first+n_top] of the results
    int32_t hidden;        // its hidden state is hidden[hidden*width : (hidden+1)*width] of the results; -1: none
    char error[120];
} ll_choice;

ll_device * ll_device_new(const ll_model * m, const ll_device_options * o, ll_error * err);
void ll_device_free(ll_device * d);
void ll_device_limits(const ll_device * d, int32_t * cells, int32_t * batch, int32_t * can_truncate);
// Where an adapter lies in a device's slots: the first rank of its modules and of its gains and shifts; -1: it has none.
typedef struct { int32_t lora, vectors; } ll_place;
// What slots are needed for, with options all_slots and slot_f32: the bytes of a rank over all targets, 0: no target has slots;
// and an adapter's rank, and whether it has gains or shifts.
int64_t ll_slot_rank_bytes(const ll_model * m, int all_slots, int slot_f32);
void ll_pack_slots(const ll_pack * p, int all_slots, int32_t * rank, int32_t * vectors);
// Copies an adapter into its place. Any thread, also while the device decodes; no running sequence may have the place.
int ll_device_upload(ll_device * d, const ll_pack * pack, ll_place place, ll_error * err);
// from: (n), the position from which on each acts. places: (n), of a device without slots NULL.
int ll_device_set_adapters(ll_device * d, int seq, ll_pack * const * packs, const float * scales, const int32_t * from, const ll_place * places, int n,
                           ll_error * err);
int ll_device_copy(ll_device * d, int dst, int src, int n, ll_error * err);
int ll_device_truncate(ll_device * d, int seq, int from, int32_t * kept, ll_error * err);
// The caller writes its rows here, `batch` of them at most.
ll_row * ll_device_rows(ll_device * d);
typedef struct {
    const ll_choice * choices;
    const ll_alternative * alternatives;
    const float * hidden; // (n_hidden, width)
    int32_t n_choices, n_alternatives, n_hidden, width;
} ll_results;

// One crossing per turn: decodes rows [0, n), and makes the choices of the rows that have one, in the rows' order. The
// results hold until the next call.
// masks is (the number of masks, words), a bit for each token; NULL: no row has one.
int ll_device_decode(ll_device * d, int n, const uint64_t * masks, int64_t words, ll_results * out, ll_error * err);
typedef struct { int32_t choice, row; } ll_redraw; // numbers in the results and the rows of the last decode
// Draws the tokens of some choices again, each among those of its mask: masks is (n, words). The
// tokens that the samplers have drawn first do not count. The results are those of the last decode, changed.
int ll_device_redraw(ll_device * d, int n, const ll_redraw * redraws, const uint64_t * masks, int64_t words, ll_results * out, ll_error * err);
const float * ll_device_logits(ll_device * d, int row, int32_t * n); // of the last decode; NULL: none for that row
int64_t ll_device_logits_copied(const ll_device * d); // rows that were copied one by one from a device's memory, ever
int64_t ll_device_graph_builds(const ll_device * d);

// ---- quantizer -------------------------------------------------------------------------------------
int ll_quantize(const char * in, const char * out, const char * type, int threads, uintptr_t progress, uintptr_t log, ll_error * err);

// ---- weights in blocks -------------------------------------------------------------------------------
enum { LL_DECODES = 1, LL_ENCODES = 2 };
int ll_codec(int type); // what can be done with ggml's type, or none
// n weights, whole blocks of a type that can be decoded, or encoded without an importance matrix. Any thread.
void ll_decode(int type, const void * src, float * dst, int64_t n);
void ll_encode(int type, const float * src, void * dst, int64_t n);
int ll_valid(int type, const void * data, size_t bytes); // whether no scale in it is infinite or NaN

#ifdef __cplusplus
}
#endif
