// Rows of a loaded weight as floats, whatever its type and layout: for code that needs the weights themselves and
// not their products, as DoRA's row norms do. Plain C.
#pragma once
#include "model_llama.h"
#ifdef __cplusplus
extern "C" {
#endif

// How a loaded 2-d tensor (a ggml_tensor) is read; packed is the weight that stands for it. LQ_INVALID: its type or layout
// is not one that is known here.
int lq_view(const void * tensor, lk_packed packed, lq_weight * out);

// scale * B A, A (rank, n_in) row-major; element (o, r) of B is b[o*row_step + r*rank_step]. rank 0: nothing.
typedef struct { int rank; float scale; const float * a, * b; size_t row_step, rank_step; } lq_low_rank;

enum { LQ_READ_ROWS = 16 }; // rows are read this many at a time
// Rows [row, row+rows) of W + scale * B A to out (rows, n_in). row is a multiple of LQ_READ_ROWS, rows is at most that.
// buffer is (LQ_READ_ROWS, n_in). Any thread may call.
void lq_read_rows(const lq_weight * w, const lq_low_rank * l, int row, int rows, float * out, float * buffer);

float lq_norm(const float * x, int n); // the root of the sum of squares, summed in double precision

#ifdef __cplusplus
}
#endif
