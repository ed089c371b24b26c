#include "read.h"
#include "kernels.h"
#include "weights_ggml.h"
#include <math.h>

using namespace lq;

int lq_view(const void * tensor, lk_packed packed, lq_weight * out) {
    *out = view_of((const ggml_tensor *) tensor, packed);
    return weight_fault(*out) ? LQ_INVALID : LQ_OK;
}

void lq_read_rows(const lq_weight * w, const lq_low_rank * l, int row, int rows, float * out, float * buffer) {
    const size_t n = (size_t) w->n_in;
    Fill * fill = kernels_for(LQ_AUTO).fills[w->kind];
    if (filled_by_column(w->kind)) {
        fill(*w, row, rows, 0, w->n_in, buffer, LQ_READ_ROWS);
        for (size_t c = 0; c < n; c++) {
            for (int r = 0; r < rows; r++) {
                out[r*n + c] = buffer[c*LQ_READ_ROWS + r];
            }
        }
    } else {
        fill(*w, row, rows, 0, w->n_in, out, w->n_in);
    }
    for (int r = 0; r < rows; r++) {
        float * to = out + r*n;
        for (int k = 0; k < l->rank; k++) {
            const float c = l->scale*l->b[(row + r)*l->row_step + k*l->rank_step];
            const float * from = l->a + k*n;
            for (size_t i = 0; i < n; i++) {
                to[i] += c*from[i];
            }
        }
    }
}

float lq_norm(const float * x, int n) {
    enum { LANES = 8 };
    double sum[LANES] = {};
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; k++) {
            sum[k] += (double) x[i + k]*x[i + k];
        }
    }
    for (; i < n; i++) {
        sum[0] += (double) x[i]*x[i];
    }
    return (float) sqrt(((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7])));
}
