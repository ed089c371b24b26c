#include "byte_tile.h"
#include "../kernels/internal.h"
#include "ggml.h"
#include <algorithm>
#include <math.h>
#include <vector>

namespace lq {

int byte_zero(int kind) {
    switch (kind) {
    case LQ_Q4_0:
    case LQ_Q4_0_X8: return 8;
    case LQ_Q8_0:
    case LQ_Q8_0_STRIPS:
    case LQ_IQ4_NL:
    case LQ_IQ4_NL_X8:
    case LQ_NF4: return 128;
    default: return -1;
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
            round_codebook(&row[b], nf4_scale(w.nf4, j, b/BYTE_DEPTH));
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
