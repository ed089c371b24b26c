// The small kernels: what is done to one row at a time. rows.inc.h holds their source; rows_*.cpp compile
// it for each instruction set. norm.cpp, rope.cpp, swiglu.cpp and so on share the rows among threads;
// qloratest/plain_ops.cpp holds the scalar references.
#pragma once
#include "c_api.h"

namespace lq {

// Adam's settings for one tensor, with the bias corrections of the step.
struct Adam {
    float lr, beta1, beta2, eps, weight_decay, correction1, correction2, grad_scale;
};

struct RowLoss {
    float loss;    // minus the label's log-probability
    float entropy; // of the distribution
    bool correct;
};

struct RowKernels {
    // y (n) = x * w / rms(x)
    void (*rms_norm)(const float * x, const float * w, float eps, int n, float * y);
    // dx (n) (+)= the gradient with respect to x, from dy, that of y
    void (*rms_norm_backward)(const float * x, const float * w, const float * dy, float eps, int n, float * dx, bool accumulate);
    float (*inverse_rms)(const float * x, float eps, int n);
    // to (n) += x .* y * factor
    void (*add_product)(const float * x, const float * y, float factor, int n, float * to);
    // Rotates the pairs of `heads` heads in place, forward with direction 1 and back with -1. cos and sin are (head_size/2).
    void (*rope)(float * x, int heads, int head_size, const float * cos, const float * sin, bool neox, float direction);
    // In place over n scores.
    void (*softmax)(float * s, int n);
    // ds (n) = p * (ds - delta)
    void (*softmax_backward)(const float * p, float * ds, float delta, int n);
    // y (n) = silu(gate) * up
    void (*swiglu)(const float * gate, const float * up, int n, float * y);
    // dy becomes d_gate; d_up is written.
    void (*swiglu_backward)(const float * gate, const float * up, int n, float * dy, float * d_up);
    // The loss of one row of logits; with a factor they become the loss's gradient times it.
    RowLoss (*cross_entropy)(float * logits, int n, int label, const float * factor);
    // y (n) = x where the element's own random number keeps it, times scale; else 0.
    void (*dropout)(const float * x, int n, uint64_t key, uint32_t keep_below, float scale, float * y);
    void (*adamw)(const Adam & a, int n, float * w, const float * g, float * m, float * v);
    void (*add)(const float * x, int n, float * y); // y += x
    float (*dot)(const float * a, const float * b, int n);
};

} // namespace lq
