// Weights that lie in ggml tensors.
#pragma once
#include "weights.h"
#include "ggml.h"
#include <vector>

namespace lq {

// A view of a 2-d tensor in host memory. kind is LQ_NONE where training cannot read it.
Weight view_of(const ggml_tensor * t);

// The type that a kind has in a GGUF file; false where it has none.
bool file_type(int kind, ggml_type * type);

// Memory that a made weight lies in; it is released with it.
struct Made {
    Weight weight;
    std::vector<uint8_t> bytes;
    lk_nf4 * nf4 = nullptr;
    lk_int * integer = nullptr;
    Made() = default;
    Made(Made && m) : weight(m.weight), bytes(std::move(m.bytes)), nf4(m.nf4), integer(m.integer) {
        m.nf4 = nullptr;
        m.integer = nullptr;
    }
    Made(const Made &) = delete;
    ~Made();
};

// Codes a matrix (n_out, n_in) as the kind asks, through ggml's own quantizers and its own repacking. For
// tests and benchmarks, which make their models this way. weight.kind is LQ_NONE where it cannot be done.
Made make_weight(int kind, const float * x, int n_in, int n_out);

} // namespace lq
