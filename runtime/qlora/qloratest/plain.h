// The scalar reference of every fast kernel: plain loops on one thread that sum in double precision. The arguments are
// those of the kernel of the same name without plain_.
#pragma once
#include "../ops.h"
#include <vector>

namespace lq {

// plain_ops.cpp
void plain_rms_norm(const float * x, const float * w, float eps, int rows, int n, float * y);
void plain_rms_norm_backward(const float * x, const float * w, const float * dy, float eps, int rows, int n, float * dx, bool accumulate);
void plain_rms_norm_weight_backward(const float * x, const float * dy, float eps, int rows, int n, float * dw);
void plain_rope(const Rotary & r, float * x, int T, int heads, bool backward);
void plain_swiglu(const float * gate, const float * up, size_t n, float * y);
void plain_swiglu_backward(const float * gate, const float * up, size_t n, float * dy, float * d_up);
void plain_cross_entropy(float * logits, int rows, int n, const int * labels, const float * factors, RowLoss * losses);
void plain_adamw(const Adam & a, size_t n, float * w, const float * g, float * m, float * v);
void plain_dropout(const float * x, int rows, int n, uint64_t key, float p, float * y);

// plain_attention.cpp
void plain_attention(const AttentionShape & a, const std::vector<Sequence> & sequences, const float * q, const float * k, const float * v, float * o);
void plain_attention_backward(const AttentionShape & a, const std::vector<Sequence> & sequences, const float * q, const float * k, const float * v,
    const float * d_o, float * dq, float * dk, float * dv);

// plain_product.cpp. a and a2 are the operands before they are packed, times their scale.
void plain_multiply(const float * a, const Right & b, const float * a2, const Right & b2, int rows, bool accumulate, float alpha, float * c, ptrdiff_t ldc);
// x (rows, n_in) times W^T, with x rounded to bytes as ByteTile::pack_a rounds it.
void plain_byte_product(const float * x, const Weight & w, int rows, bool accumulate, float * c, ptrdiff_t ldc);

// weights.cpp. Row `row` of the weight (n_in), as ggml's own decoders and runtime/kernels decode it.
void plain_row(const Weight & w, int row, float * out);

} // namespace lq
