// Weights that lie in ggml tensors.
#pragma once
#include "weights.h"
#include "ggml.h"

namespace lq {

// An lq_kind that is a layout of ggml's.
struct GgmlKind {
    int kind;
    ggml_type type;
    bool interleaved; // ggml's repacked layout of eight interleaved rows
};
enum { GGML_KINDS = 16 };
extern const GgmlKind ggml_kinds[GGML_KINDS]; // all but LQ_GGML

// Whether the CPU can read the tensor where it lies; ggml's repacked layouts, too.
bool in_host_memory(const ggml_tensor * t);

// A view of a 2-d tensor in host memory, or of the packed weight that stands for it. kind is LQ_NONE where training
// cannot read it.
Weight view_of(const ggml_tensor * t, const lk_packed & packed = {});

// x (n) as half precision holds it: what ggml writes into a KV cache.
void round_to_half(float * x, size_t n);

} // namespace lq
