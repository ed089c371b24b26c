// Attention over the cells of one sequence, in one pass, with online softmax (Milakov and Gimelshein 2018).
//
// ggml's flash attention walks all cells that the sequences share, for every row and every head, to find in a
// mask the few it may see; at 8 sequences of 1,500 tokens that is two thirds of a decode. Here a row comes
// with the list of its cells, and the query heads that share a key head are computed together. Sums are
// floats. Cells come in the order of their positions, so a row's result does not depend on what else is in
// the cache or in the batch.
//
// C headers only: the files of an instruction set are compiled for wider targets than the rest.
#pragma once
#include <stddef.h>
#include <stdint.h>

enum {
    ATTENTION_QUERIES = 16,   // queries (a row's head) that are computed together, at most
    ATTENTION_BLOCK = 32,     // cells per step
    ATTENTION_HEAD_SIZE = 256 // at most; a multiple of 16
};

// A layer's attention. Strides are in bytes.
struct attention_job {
    const char * q;    // float (row, head, head_size)
    size_t q_row, q_head;
    const char * k, * v; // float16 (cell, kv head, head_size)
    size_t k_cell, k_head, v_cell, v_head;
    char * out;        // float (row, head, head_size)
    size_t out_row, out_head;
    int head_size, heads, kv_heads;
    float scale;
};

// Consecutive rows of one sequence. The last sees n cells, the one before it n-1, and so on.
struct attention_tile {
    int row, rows;
    const int32_t * cells;
    int n;
};

// Computes heads [head, head+heads) of every row of the tile. The heads share one kv head, and
// rows*heads is at most ATTENTION_QUERIES.
typedef void attend_function(const attention_job & job, const attention_tile & tile, int head, int heads);

attend_function attend_portable;
#if defined(__x86_64__)
attend_function attend_avx2, attend_avx512;
#endif
attend_function * attend_now(void); // the one for the instruction set in use (lk_isa)
