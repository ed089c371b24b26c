// The kernels that llama.cpp does not have, or only slower: products with NF4 weights, with integer weights, and
// with packed LoRA adapters.
// They know nothing of llama.cpp or ggml: plain pointers, strides in bytes, and (ith, nth) to share the
// work among nth threads, each of which calls with its own ith. Nothing here allocates after packing.
//
// Every function pair has a fast path per instruction set (AVX-512 with VNNI, AVX2 with FMA, portable C++);
// lk_isa() says which one this CPU runs, lk_force_isa() lets tests run the others.
//
// Batch invariance: the result of a row does not depend on the other rows of the call, nor on nth.
#pragma once
#include "layout.h"
#ifdef __cplusplus
extern "C" {
#endif

enum lk_isa { LK_PORTABLE = 0, LK_AVX2 = 1, LK_AVX512 = 2 };
int lk_isa(void);            // the path in use
int lk_best_isa(void);       // the best path of this CPU
int lk_force_isa(int isa);   // returns the path now in use; not thread-safe, for tests and benches

// ---- NF4 -------------------------------------------------------------------------------------------
// A weight (n_out, n_in) comes as rows of blocks, each a scale and the codes of its weights: for every 32 weights
// 16 bytes, weight j in the low nibble of byte j, weight 16+j in the high one. A weight is scale * codebook[code].
// n_in is a multiple of the block. Of DQ, every strip of 16 rows begins with the float32 scales of its tiles,
// each 16 blocks wide; a block's scale is an int8 times its tile's.
enum lk_nf4_mode {
    LK_NF4_F32 = 0, // float activations: the reference
    LK_NF4_I16 = 1, // int16 codebook x int16 activations, 1e-4
    LK_NF4_I8  = 2, // int8 codebook x int8 activations: the default and the fastest, 7e-3
};
size_t   lk_nf4_source_bytes(lk_nf4_kind kind, int n_in, int n_out);                       // of the rows that pack reads
int      lk_nf4_bad_row(lk_nf4_kind kind, const void * source, int n_in, int n_out);       // the first row with a scale that is infinite or NaN; -1: none
lk_nf4 * lk_nf4_pack(lk_nf4_kind kind, const void * source, int n_in, int n_out, int mode); // NULL: no memory
void     lk_nf4_free(lk_nf4 * w);                     // NULL is fine
size_t   lk_nf4_bytes(const lk_nf4 * w);              // that it holds, a little more than the source where n_out is no multiple of 16
void     lk_nf4_dequantize_row(const lk_nf4 * w, int row, float * out); // (n_in)

size_t   lk_nf4_activation_bytes(int mode, int n_in); // bytes of one prepared activation row, multiple of 64
// x (rows, n_in) f32 -> xq, what lk_nf4_matmul reads in modes I16 and I8. F32 mode reads x itself.
void     lk_nf4_activations(int mode, int n_in, const float * x, size_t x_stride, int rows, void * xq, size_t xq_stride, int ith, int nth);
// y (rows, n_out) = xq W^T
void     lk_nf4_matmul(const lk_nf4 * w, const void * xq, size_t xq_stride, int rows, float * y, size_t y_stride, int ith, int nth);
// The same in mode F32, whatever the weight's is.
void     lk_nf4_matmul_f32(const lk_nf4 * w, const float * x, size_t x_stride, int rows, float * y, size_t y_stride, int ith, int nth);

// ---- integer weights -------------------------------------------------------------------------------
// A weight (n_out, n_in) in one of ggml's formats of six and eight bits, as output heads have them; activations
// are rounded to int8 in blocks of 32, with a float scale. Q8_0: blocks of 34 bytes per 32 weights, n_in a multiple
// of 32. Q6_K: blocks of 210 bytes per 256 weights, n_in a multiple of 256.
lk_int * lk_int_pack(const void * rows, size_t row_bytes, int n_in, int n_out, int format); // NULL: no memory
void     lk_int_free(lk_int * w);                     // NULL is fine
size_t   lk_int_bytes(const lk_int * w);
void     lk_int_dequantize_row(const lk_int * w, int row, float * out); // (n_in)

size_t   lk_int_activation_bytes(int n_in);           // bytes of one prepared activation row, multiple of 64
// x (rows, n_in) f32 -> xq, the same for both formats
void     lk_int_activations(int n_in, const float * x, size_t x_stride, int rows, void * xq, size_t xq_stride, int ith, int nth);
// y (rows, n_out) = xq W^T
void     lk_int_matmul(const lk_int * w, const void * xq, size_t xq_stride, int rows, float * y, size_t y_stride, int ith, int nth);
// The same with the activations as they are, x (rows, n_in): 1e-6.
void     lk_int_matmul_f32(const lk_int * w, const float * x, size_t x_stride, int rows, float * y, size_t y_stride, int ith, int nth);

// ---- memory that is freed as a whole -----------------------------------------------------------------
// An arena holds what is allocated and freed together, as the modules of one adapter are. Its memory comes from the system and
// is returned to it as a whole, whatever other memory is allocated and freed meanwhile.
typedef struct lk_arena lk_arena;
lk_arena * lk_arena_new(size_t bytes);                  // for so many bytes; it grows where they do not suffice. NULL: no memory
void *     lk_arena_alloc(lk_arena * a, size_t bytes);  // zeroed, aligned to 64 bytes; any thread. NULL: no memory
size_t     lk_arena_bytes(const lk_arena * a);          // of the system's memory that it holds, at most
void       lk_arena_free(lk_arena * a);                 // NULL is fine
size_t     lk_arena_need(size_t bytes);                 // the bytes that an allocation takes
size_t     lk_mapped_bytes(void);                       // the address space of all weights and modules that are in no arena, freed ranges included

// ---- LoRA ------------------------------------------------------------------------------------------
// One packed module: A (rank, n_in), B (n_out, rank), any rank up to LK_MAX_RANK, any n_in and n_out. Rank 0, without A
// and B, is for a module that is a shift alone.
enum { LK_MAX_RANK = 512 };
enum lk_lora_type { LK_LORA_F16 = 0, LK_LORA_F32 = 1 };
typedef struct lk_lora lk_lora;
// NULL: no memory. The module lies in the arena, which must outlive it; NULL: it has memory of its own.
lk_lora * lk_lora_pack(lk_arena * arena, const float * a, const float * b, int rank, int n_in, int n_out, int type);
void      lk_lora_round_f16(const float * v, size_t n, float * out); // what a module of type F16 has in the place of an A or B of n values
size_t    lk_lora_need(int rank, int n_in, int n_out, int type); // the bytes that it takes of an arena, without gain and shift
// Makes the module change the base's own product, too: it adds gain .* base beside B A x, where base is the row
// before any term was added. gain is (n_out) and is copied. 0: no memory.
int       lk_lora_set_gain(lk_lora * m, const float * gain);
// Makes the module add shift (n_out), whatever x is; it is copied. 0: no memory.
int       lk_lora_set_shift(lk_lora * m, const float * shift);
void      lk_lora_free(lk_lora * m);                  // NULL is fine
size_t    lk_lora_bytes(const lk_lora * m);           // also where they are the arena's

// A term of a row's composition. A row is the sum of its terms; a row with n == 0 is the base.
typedef struct { const lk_lora * m; float scale; } lk_term;
typedef struct { const lk_term * terms; int n; } lk_row;

// The widest hidden row a set of terms needs: floats to give lk_lora_shrink per row. It is the sum of
// the padded ranks, times the parts that shrink splits n_in into so that few rows still use all threads.
int  lk_lora_padded(const lk_lora * m);
enum { LK_LORA_PARTS = 4 };
// h (rows, h_stride) = A x, LK_LORA_PARTS partial sums per term: term after term, part after part.
void lk_lora_shrink(const lk_row * row, int rows, const float * x, size_t x_stride, int n_in, float * h, size_t h_stride, int ith, int nth);
// y += sum of scale * (gain .* y + shift + B h), in place, every gain meeting the y that came in. All of shrink must have
// finished.
void lk_lora_expand(const lk_row * row, int rows, const float * h, size_t h_stride, float * y, size_t y_stride, int n_out, int ith, int nth);

// Bytes that will be read soon.
typedef struct { const void * data; size_t bytes; } lk_piece;
// What thread ith of nth will read of the A of these rows in lk_lora_shrink: at most `capacity` pieces. Returns how many.
int lk_lora_pieces(const lk_row * row, int rows, int n_in, int ith, int nth, lk_piece * out, int capacity);

// lk_nf4_matmul and lk_lora_expand in one: y (rows, n_out) = xq W^T + sum of scale * B h. An adapter's B comes from
// memory once per row, and a product with many rows hardly uses the memory: so B is prefetched while W is multiplied,
// and so are the pieces `ahead`, which the caller will need next. The results have the bits of the two calls.
void lk_nf4_matmul_lora(const lk_nf4 * w, const void * xq, size_t xq_stride, const lk_row * row, int rows, const float * h, size_t h_stride,
    float * y, size_t y_stride, const lk_piece * ahead, int n_ahead, int ith, int nth);

// ---- logits ------------------------------------------------------------------------------------------
// The index of the largest of x (n), the first of equal ones; -1 where none is larger than -INFINITY. mask (NULL: all):
// only those count whose bits are set, number i at bit i % 64 of word i/64. The others are not read.
int lk_argmax(const float * x, const uint64_t * mask, int n);

#ifdef __cplusplus
}
#endif
