// Weights as the products read them: tiles of single precision, decoded from wherever the weight lies.
#pragma once
#include "c_api.h"

namespace lq {

typedef lq_weight Weight;

// Decodes rows [row, row+rows) and columns [col, col+cols). col is a multiple of 32, and so is cols except at
// the end of a float weight's row. Most kinds write out[r*ld + c]. Kinds that are stored by column, see
// filled_by_column, write out[c*ld + r]; there row is a multiple of 16 and 16 rows are written at a time.
typedef void Fill(const Weight & w, int row, int rows, int col, int cols, float * out, int ld);

inline bool in_int_strips(int kind) { return kind == LQ_Q8_0_STRIPS || kind == LQ_Q6_K_STRIPS; }
inline bool filled_by_column(int kind) { return kind == LQ_NF4 || in_int_strips(kind); }

// The Fill of the types that ggml itself decodes, LQ_GGML and LQ_Q2_K_X8, whatever the instruction set (weights_ggml.cpp).
Fill fill_by_ggml, fill_q2_k_x8;
// Weights of a block of such a weight.
int ggml_block(const Weight & w);

// Asks for the bytes of 32 rows from `row` on, or of 32 columns from `col` on, ahead of their use: a product
// computes for a tenth of a millisecond between two reads of a weight, too long for the CPU's own prefetcher.
void prefetch_rows(const Weight & w, int row);
void prefetch_columns(const Weight & w, int col);

const char * kind_name(int kind);

// NULL, or what is wrong with the weight: its kind, its width, a missing pointer.
const char * weight_fault(const Weight & w);
} // namespace lq
