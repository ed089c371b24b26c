// The parts of a transformer layer that are not matrix products, over all rows of a batch and on all threads.
// T is the number of tokens. qloratest/plain.h declares a scalar reference of each, which the tests compare it with.
#pragma once
#include "product.h"
#include <vector>

namespace lq {

// norm.cpp. x, y, dx, dy are (rows, n), w is (n). Source: Zhang & Sennrich 2019, "Root Mean Square Layer Normalization".
void rms_norm(const Compute & c, const float * x, const float * w, float eps, int rows, int n, float * y);
void rms_norm_backward(const Compute & c, const float * x, const float * w, const float * dy, float eps, int rows, int n, float * dx, bool accumulate);
// dw (n) += the sum over the rows of dy .* x/rms(x); inverse (rows) is memory.
void rms_norm_weight_backward(const Compute & c, const float * x, const float * dy, float eps, int rows, int n, float * inverse, float * dw);

// rope.cpp. Rotary embedding (Su et al. 2021). x is (T, heads, head_size), cos and sin are (T, head_size/2).
struct Rotary {
    const float * cos, * sin;
    int head_size;
    bool neox;
};
// The tables for the positions pos (T).
void make_rotary(const lq_model & m, const int * pos, int T, float * cos, float * sin);
void rope(const Compute & c, const Rotary & r, float * x, int T, int heads);
void rope_backward(const Compute & c, const Rotary & r, float * dx, int T, int heads); // rotates back

// swiglu.cpp. y = silu(gate) * up, each of n elements (Shazeer 2020). Backward: dy becomes d_gate.
void swiglu(const Compute & c, const float * gate, const float * up, size_t n, float * y);
void swiglu_backward(const Compute & c, const float * gate, const float * up, size_t n, float * dy, float * d_up);

// attention.cpp, attention_backward.cpp. Causal attention inside each sequence of the batch. q and o are
// (T, heads*head_size), k and v are (T, kv_heads*head_size).
struct AttentionShape {
    int heads, kv_heads, head_size;
    float scale;
    int group() const { return heads/kv_heads; }
    int q_width() const { return heads*head_size; }
    int kv_width() const { return kv_heads*head_size; }
};
struct Sequence {
    int begin, end; // tokens [begin, end)
};
// A block of queries of one sequence, under one key/value head, with all the heads that share it.
struct QueryBlock {
    Sequence s;
    int kv_head, begin, end;
};
// Forward works on a list of query blocks, the longest first; backward on (sequence, kv_head) pairs, each a
// QueryBlock that spans its sequence, because the blocks of a pair add to the same dk and dv.
std::vector<QueryBlock> query_blocks(const AttentionShape & a, const std::vector<Sequence> & sequences);
std::vector<QueryBlock> whole_blocks(const AttentionShape & a, const std::vector<Sequence> & sequences);
double flops_of(const AttentionShape & a, const QueryBlock & b);
// Floats of scratch for sequences of up to T tokens.
size_t attention_scratch_floats(const Tile & t, const AttentionShape & a, int T);
void attention(const Compute & c, const AttentionShape & a, const QueryBlock * blocks, int n, const float * q, const float * k, const float * v, float * o);
// dq, dk and dv are written for the blocks' tokens and heads.
void attention_backward(const Compute & c, const AttentionShape & a, const QueryBlock * blocks, int n, const float * q, const float * k, const float * v,
    const float * o, const float * d_o, float * dq, float * dk, float * dv);

// loss.cpp. Cross-entropy of logits (rows, n) against labels (rows). losses (rows) are written; with factors (rows), which
// may be negative, the logits become the gradient of each row's loss times its factor.
void cross_entropy(const Compute & c, float * logits, int rows, int n, const int * labels, const float * factors, RowLoss * losses);

// adamw.cpp. One step over n weights (Loshchilov & Hutter 2019), and the sum of squares of n gradients, which
// is the same for every number of threads. sum_squares computes the parts [begin, end) of it, of square_parts(n).
void adamw(const Compute & c, const Adam & a, size_t n, float * w, const float * g, float * m, float * v);
int square_parts(size_t n);
void sum_squares(const Compute & c, const float * g, size_t n, int begin, int end, double * parts);
double sum_of_squares(const Compute & c, const float * g, size_t n);

// lora.cpp. Dropout of x (rows, n): whether element i of row t is dropped depends on (key, t, i) alone.
void dropout(const Compute & c, const float * x, int rows, int n, uint64_t key, float p, float * y);

// y += x over n elements.
void add(const Compute & c, const float * x, size_t n, float * y);

} // namespace lq
