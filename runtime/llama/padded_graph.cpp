// Products by ggml whose rows have the same bits in every batch.
//
// How two of ggml's products round a row depends on how many rows the batch has: with float weights a single row is
// multiplied by another function, and with repacked Q4_K and Q2_K weights rows are taken by fours and those left over
// one by one. So rows of zeros are appended until every row is multiplied in the same way; with a repacked weight a
// single row then costs as much as four. In all other products of ggml a row's bits do not depend on the other rows
// (batch_test.go).
#include "hooks.h"
#include <cstring>

namespace lorikeet {

// The number that the rows of a product with w must be a multiple of.
static int64_t row_multiple(const ggml_tensor * w) {
    switch (w->type) {
        case GGML_TYPE_F32:
        case GGML_TYPE_F16:
        case GGML_TYPE_BF16:
            return 2; // from two rows on it is the same product
        case GGML_TYPE_Q4_K:
        case GGML_TYPE_Q2_K:
            return w->buffer && !strcmp(ggml_backend_buffer_name(w->buffer), "CPU_REPACK") ? 4 : 1;
        default:
            return 1;
    }
}

// dst (n_in, padded rows) is x (n_in, rows) and zeros.
static void pad(ggml_tensor * dst, int ith, int nth, void *) {
    const ggml_tensor * x = dst->src[0];
    const size_t bytes = (size_t) dst->ne[0]*sizeof(float);
    for (int64_t i = ith; i < dst->ne[1]; i += nth) {
        char * row = (char *) dst->data + i*dst->nb[1];
        if (i < x->ne[1]) {
            memcpy(row, (const char *) x->data + i*x->nb[1], bytes);
        } else {
            memset(row, 0, bytes);
        }
    }
}

ggml_tensor * padded_product(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x, ggml_tensor *& padded) {
    const int64_t rows = x->ne[1], step = row_multiple(w);
    const bool fits = step == 2 ? rows != 1 : rows % step == 0;
    if (fits) {
        return real_mul_mat(ctx, w, x);
    }
    const int64_t more = (rows + step - 1)/step*step;
    if (!padded || padded->ne[1] != more) {
        padded = ggml_custom_4d(ctx, GGML_TYPE_F32, x->ne[0], more, 1, 1, &x, 1, pad, GGML_N_TASKS_MAX, nullptr);
    }
    ggml_tensor * y = real_mul_mat(ctx, w, padded);
    return ggml_view_2d(ctx, y, y->ne[0], rows, y->nb[1], 0);
}

} // namespace lorikeet
