// The C interface of runtime/llama: every function that Go calls. Plain C, without any type of llama.cpp.
//
// Conventions. A function that can fail takes a wall_error and fills it, and returns WALL_FAILED or NULL; no exception
// passes and nothing is retried here. Every handle has one free function, which accepts NULL. Handles share what they stand on:
// a model lives until its own handle and those of its devices, samplers and packs are freed, in any order.
// Functions on a model may be called from any thread; those on one device, sampler or pack from one at a time.
#pragma once
#include "../kernels/layout.h"
#ifdef __cplusplus
extern "C" {
#endif

enum wall_code {
    WALL_OK = 0,
    WALL_NO_ROOM = 1, // the KV cells do not suffice; nothing changed
    WALL_FAILED = 2,  // see wall_error
    WALL_NO_MEMORY = 3, // of a wall_error: what was asked for needs memory that there is not
};

typedef struct {
    int code; // WALL_FAILED or WALL_NO_MEMORY
    char text[1024];
} wall_error;

typedef struct wall_model wall_model;
typedef struct wall_device wall_device;
typedef struct wall_sampler wall_sampler;
typedef struct wall_pack wall_pack;

void wall_init(void);                               // once, before anything else
void wall_system_info(char * out, size_t capacity); // instruction sets in use, as one line

// ---- model -----------------------------------------------------------------------------------------
// A tensor of the file that is NF4, whatever type the file gives it.
typedef struct {
    const char * name;
    lk_nf4_kind kind;
    int32_t n_in, n_out;
} wall_nf4;

typedef struct {
    const char * path;
    const char * architecture; // stands in for the file's general.architecture where the file is NF4; else NULL
    const wall_nf4 * nf4;      // (n_nf4)
    int n_nf4;
    int nf4_mode;              // enum lk_nf4_mode
    int use_mmap;
    const int32_t * end_tokens; // that end an answer, beside those that llama.cpp knows
    int32_t n_end_tokens;
    int no_eos;                 // the file names none: llama.cpp's default, an ordinary token, does not stand for it
    uintptr_t progress;        // Go handles of callbacks; 0 for none
    uintptr_t log;
} wall_load_options;

wall_model * wall_model_load(const wall_load_options * o, wall_error * err);
void wall_model_free(wall_model * m);

typedef struct {
    int32_t context_length, vocab_size, embedding, layers, heads, kv_heads, head_size;
    int32_t rope_norm;
    int64_t parameters, resident; // resident: bytes of all tensors in the layouts that they are computed with
    const char * architecture, * name, * chat_template; // never NULL; as long as the model
} wall_facts;

void wall_model_facts(const wall_model * m, wall_facts * out);
int wall_model_targets(const wall_model * m);
const char * wall_model_target(const wall_model * m, int i, int32_t * n_in, int32_t * n_out); // its name
int wall_model_refusals(const wall_model * m);
const char * wall_model_refusal(const wall_model * m, int i, const char ** reason); // the tensor's name

// ---- the tensors, for training -----------------------------------------------------------------------
// Another handle of the same model, to be freed as the first is. NULL where there is no memory.
wall_model * wall_model_share(const wall_model * m);
// The llama_model itself; it is not to be changed.
const void * wall_model_llama(const wall_model * m);
// An lk_packed_of whose context is a wall_model.
lk_packed wall_model_packed(const void * m, const void * tensor);

// ---- vocabulary ------------------------------------------------------------------------------------
// Tokens that end an answer; returns how many there are.
int32_t wall_end_tokens(const wall_model * m, int32_t * out, int32_t capacity);
// Renders a conversation with the formats that the library knows. Returns the number of bytes, -1 where the
// model's format is not known; where it is more than capacity, the text is cut.
int32_t wall_known_template(const wall_model * m, const char * const * roles, const char * const * contents, int n,
                            int generation_prompt, char * out, int32_t capacity, wall_error * err);

// ---- sampler ---------------------------------------------------------------------------------------
typedef struct {
    float temperature, top_p, min_p, typical_p;            // <= 0: greedy, off, off, off
    float repeat_penalty, presence_penalty, frequency_penalty; // 1, 0, 0: off
    int32_t top_k, repeat_last_n;                          // <= 0: off
    uint32_t seed;
    int32_t ignore_eos;
} wall_sampling;

// The rules of a grammar, as package grammar compiles them. The numbers of the kinds are that package's.
enum wall_grammar_kind {
    WALL_GRAMMAR_END = 0,      // of a rule
    WALL_GRAMMAR_OR = 1,       // between two alternatives
    WALL_GRAMMAR_REF = 2,      // to the rule `value`
    WALL_GRAMMAR_CHAR = 3,     // the character `value`
    WALL_GRAMMAR_CLASS = 4,    // a character of the class `value`
    WALL_GRAMMAR_TOKEN = 5,    // the token `value`
    WALL_GRAMMAR_NOT_TOKEN = 6, // any token but `value`
};

typedef struct { uint32_t kind, value; } wall_grammar_element;
typedef struct { uint32_t first, last; } wall_grammar_range; // of characters, both included

typedef struct {
    const wall_grammar_element * elements; // (n_elements)
    const int32_t * rules;                 // (n_rules): where each begins in elements; the first is the root
    const wall_grammar_range * ranges;     // (n_ranges): of a class, sorted and apart
    const int32_t * classes;               // (n_classes): where each begins in ranges
    int32_t n_elements, n_rules, n_ranges, n_classes;
} wall_grammar;

// grammar may be NULL. The arrays are copied.
wall_sampler * wall_sampler_new(const wall_model * m, const wall_sampling * s, const wall_grammar * grammar,
                                const int32_t * bias_tokens, const float * bias, int32_t n_bias,
                                const int32_t * prompt, int32_t n_prompt, wall_error * err);
void wall_sampler_free(wall_sampler * s);

// ---- packed adapters -------------------------------------------------------------------------------
// A part of an adapter: a module of rank n, without or with DoRA, a bias, or n rows.
enum wall_part_kind { WALL_LORA = 0, WALL_DORA = 1, WALL_BIAS = 2, WALL_ROWS = 3 };
typedef struct { int kind, target, n; } wall_part;
int64_t wall_pack_need(const wall_model * m, int f32, int keep_plain, const wall_part * part); // the room that it takes in a pack
// keep_plain: also keep float copies, which devices with the mmid back end need. room: of all parts together.
wall_pack * wall_pack_new(const wall_model * m, int f32, int keep_plain, int64_t room, wall_error * err);
// a is (rank, n_in), b is (n_out, rank), of target number `target`. May be called once per target, and
// for different targets at once. magnitude (n_out), of the embedding (n_in), makes it DoRA, which reads the target's
// weights; NULL: plain LoRA.
int wall_pack_add(wall_pack * p, int target, int rank, float scale, const float * a, const float * b, const float * magnitude, wall_error * err);
// These follow the modules, one call at a time. values (n_out) are added to the output of the target's layer, or,
// replaces, stand for its bias; values (n, n_in) stand for the rows ids, NULL: all n of them.
int wall_pack_add_bias(wall_pack * p, int target, const float * values, int replaces, wall_error * err);
int wall_pack_add_rows(wall_pack * p, int target, const int32_t * ids, int n, const float * values, wall_error * err);
int64_t wall_pack_bytes(const wall_pack * p); // that it holds of the system's memory
void wall_pack_free(wall_pack * p);

// ---- device ----------------------------------------------------------------------------------------
enum wall_kv_type { WALL_KV_F16 = 0, WALL_KV_F32 = 1, WALL_KV_Q8_0 = 2 };
enum wall_flash { WALL_FLASH_AUTO = 0, WALL_FLASH_ON = 1, WALL_FLASH_OFF = 2 };

typedef struct {
    int32_t sequences, cells, batch, ubatch, threads, poll;
    int32_t kv_type, flash;
    int32_t split_kv;  // each sequence has its own cells, cells/sequences of them, instead of all sharing
    int32_t mmid_rank; // > 0: adapters through ggml's mul_mat_id, up to this rank per sequence; 0: fused kernels
} wall_device_options;

typedef struct {
    int32_t token, seq, pos;
    int32_t top;            // -1: no log-probabilities
    wall_sampler * sampler; // NULL: no token is drawn
    int32_t scored, next;   // scored: the log-probability of the token `next` after this row; for rows without a sampler
    int32_t hidden;         // the row's hidden state, after the output norm
} wall_row; // with a choice, where it has a sampler, is scored, or asks for its hidden state

typedef struct { int32_t token; float logprob; } wall_alternative;

// What stands for a token where there is none.
enum wall_no_token {
    WALL_NONE_POSSIBLE = -1, // the sampler admits none
    WALL_NO_NUMBERS = -2,    // no logit is a number
    WALL_GRAMMAR_COST = -3,  // following the grammar takes too much work: `error` says which bound it met
    WALL_SAMPLER_FAILED = -4, // `error` says why
    WALL_SAMPLER_NO_MEMORY = -5,
};

typedef struct {
    int32_t token;         // or an enum wall_no_token
    float logprob;
    int32_t n_top, first;  // its alternatives are alternatives[first : first+n_top] of the results
    int32_t hidden;        // its hidden state is hidden[hidden*width : (hidden+1)*width] of the results; -1: none
    char error[120];
} wall_choice;

wall_device * wall_device_new(const wall_model * m, const wall_device_options * o, wall_error * err);
void wall_device_free(wall_device * d);
void wall_device_limits(const wall_device * d, int32_t * cells, int32_t * batch, int32_t * cut);
int wall_device_place(wall_device * d, int seq, wall_pack * const * packs, const float * scales, int n, wall_error * err);
int wall_device_copy(wall_device * d, int dst, int src, int n, wall_error * err);
int wall_device_forget(wall_device * d, int seq, int from, int32_t * kept, wall_error * err);
// The caller writes its rows here, `batch` of them at most.
wall_row * wall_device_rows(wall_device * d);
typedef struct {
    const wall_choice * choices;
    const wall_alternative * alternatives;
    const float * hidden; // (n_hidden, width)
    int32_t n_choices, n_alternatives, n_hidden, width;
} wall_results;

// One crossing per turn: decodes rows [0, n), and makes the choices of the rows that have one, in the rows' order. The
// results hold until the next call.
int wall_device_decode(wall_device * d, int n, wall_results * out, wall_error * err);
const float * wall_device_logits(wall_device * d, int row, int32_t * n); // of the last decode; NULL: none for that row
int64_t wall_device_graph_builds(const wall_device * d);

// ---- quantizer -------------------------------------------------------------------------------------
int wall_quantize(const char * in, const char * out, const char * type, int threads, uintptr_t progress, uintptr_t log, wall_error * err);

// ---- weights in blocks -------------------------------------------------------------------------------
enum { WALL_DECODES = 1, WALL_ENCODES = 2 };
int wall_codec(int type); // what can be done with ggml's type, or none
// n weights, whole blocks of a type that can be decoded, or encoded without an importance matrix. Any thread.
void wall_decode(int type, const void * src, float * dst, int64_t n);
void wall_encode(int type, const float * src, void * dst, int64_t n);
int wall_valid(int type, const void * data, size_t bytes); // whether no scale in it is infinite or NaN

#ifdef __cplusplus
}
#endif
