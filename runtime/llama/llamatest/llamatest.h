// What tests need beside runtime/llama: llama.cpp's own results to compare with, parts of the product on their own, and
// a look at, and control of, the memory that C++ allocates. Plain C.
#pragma once
#include "../c_api.h"
#ifdef __cplusplus
extern "C" {
#endif

// ---- the stock path --------------------------------------------------------------------------------
// A context of llama.cpp with its own adapters applied to every row, and one sequence. model is a ll_model.
typedef struct test_reference test_reference;
test_reference * test_reference_new(const void * model, int32_t cells, int32_t threads, int32_t kv_type, int32_t flash, ll_error * err);
void test_reference_free(test_reference * r);
int test_reference_add(test_reference * r, const char * lora_path, float scale, ll_error * err);
void test_reference_clear(test_reference * r); // takes all adapters away
// Appends n tokens; the logits of all of them go to out, (n, vocabulary).
int test_reference_decode(test_reference * r, const int32_t * tokens, int n, float * out, ll_error * err);

// The same with llama.cpp's own embeddings of the tokens, not pooled: (n, embedding).
int test_reference_embed(test_reference * r, const int32_t * tokens, int n, float * out, ll_error * err);

// ---- parts of the product --------------------------------------------------------------------------
// `rows` consecutive rows of one sequence that has n cells with the last of them. q and out are (rows, heads,
// head_size), k and v float16 (cell, kv_heads, head_size).
void test_attend(const float * q, const uint16_t * k, const uint16_t * v, float * out, const int32_t * cells, int n, int rows,
                 int heads, int kv_heads, int head_size, float scale);
// Draws from logits (vocabulary) and accepts the token; an enum ll_no_token where there is none. sampler is a
// ll_sampler.
int32_t test_draw(void * sampler, const float * logits);

// ---- allocations by operator new ---------------------------------------------------------------------
// The nth one from now on, of any thread, throws std::bad_alloc; 0: none does.
void test_allocations_fail(int64_t n);
int64_t test_allocations_left(void); // how many are left until that one; 0: it has thrown, or none was to
// Counts those of the threads that ggml computes on, except for the one that calls this, until it is called with 0;
// returns how many there were since it was called last.
int64_t test_allocations_of_workers(int count);

#ifdef __cplusplus
}
#endif
