// Matrix products, summed in double precision.
#include "plain.h"
#include "../../kernels/layout.h"
#include "ggml.h"
#include <algorithm>
#include <math.h>
#include <vector>

namespace lq {

namespace {

// Adds a b to sum (rows, b.cols) in double precision.
void plain_part(const float * a, const Right & b, int rows, double * sum) {
    std::vector<float> row;
    if (b.w) {
        row.resize(b.w->n_in);
    }
    const bool by_row = b.form == Right::by_column || b.form == Right::weight; // of what is stored
    for (int i = 0; i < (by_row ? b.cols : b.depth); i++) {
        if (b.w) {
            plain_row(*b.w, i, row.data());
        }
        const float * x = b.w ? row.data() : b.m.data + i*b.m.ld;
        for (int r = 0; r < rows; r++) {
            for (int j = 0; j < (by_row ? b.depth : b.cols); j++) {
                const int k = by_row ? j : i, col = by_row ? i : j;
                sum[(size_t) r*b.cols + col] += (double) a[(size_t) r*b.depth + k]*x[j];
            }
        }
    }
}

} // namespace

void plain_multiply(const float * a, const Right & b, const float * a2, const Right & b2, int rows, bool accumulate, float alpha, float * c, ptrdiff_t ldc) {
    std::vector<double> sum((size_t) rows*b.cols);
    plain_part(a, b, rows, sum.data());
    if (a2) {
        plain_part(a2, b2, rows, sum.data());
    }
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < b.cols; j++) {
            float * out = c + r*ldc + j;
            *out = (float) ((accumulate ? *out : 0.0) + alpha*sum[(size_t) r*b.cols + j]);
        }
    }
}

namespace {

// Rounds NF4's codebook to 127ths of a block's scale, as the panel has it.
void round_codebook(float * block, float scale) {
    for (int i = 0; i < BYTE_DEPTH && scale != 0; i++) {
        block[i] = nearbyintf(block[i]/scale*127)*(scale/127);
    }
}

} // namespace

void plain_byte_product(const float * x, const Weight & w, int rows, bool accumulate, float * c, ptrdiff_t ldc) {
    std::vector<float> row(w.n_in), rounded((size_t) rows*w.n_in);
    for (size_t b = 0; b < rounded.size(); b += BYTE_DEPTH) {
        float top = 0;
        for (int i = 0; i < BYTE_DEPTH; i++) {
            top = std::max(top, fabsf(x[b + i]));
        }
        const float d = ggml_fp16_to_fp32(ggml_fp32_to_fp16(top/127));
        for (int i = 0; i < BYTE_DEPTH; i++) {
            rounded[b + i] = top ? d*nearbyintf(x[b + i]*(127/top)) : 0;
        }
    }
    for (int j = 0; j < w.n_out; j++) {
        plain_row(w, j, row.data());
        for (int b = 0; b < w.n_in && w.kind == LQ_NF4; b += BYTE_DEPTH) {
            round_codebook(&row[b], lk_nf4_scale(w.nf4, j, b/BYTE_DEPTH));
        }
        for (int r = 0; r < rows; r++) {
            double sum = 0;
            for (int i = 0; i < w.n_in; i++) {
                sum += (double) rounded[(size_t) r*w.n_in + i]*row[i];
            }
            float * out = c + r*ldc + j;
            *out = (float) ((accumulate ? *out : 0.0) + sum);
        }
    }
}

} // namespace lq
