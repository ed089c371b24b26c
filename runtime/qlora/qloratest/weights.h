// Weights of random numbers, in any kind that training can read.
#pragma once
#include "../weights_ggml.h"
#include "../../kernels/kernels.h"
#include "sample.h"
#include <memory>
#include <vector>

namespace lq {

// The type that a kind has in a GGUF file; false where it has none.
bool file_type(const Weight & w, ggml_type * type);

struct FreePacked {
    void operator()(lk_nf4 * w) const { lk_nf4_free(w); }
    void operator()(lk_int * w) const { lk_int_free(w); }
};

// A weight and the memory that it lies in.
struct MadeWeight {
    Weight weight = {};
    std::vector<uint8_t> bytes;
    std::unique_ptr<lk_nf4, FreePacked> nf4;
    std::unique_ptr<lk_int, FreePacked> integer;
};

// Codes a matrix (n_out, n_in) as the kind (an lq_kind, or LQ_MAKE_NF4 plus an lk_nf4_kind) asks, through ggml's own quantizers and its own repacking. weight.kind is
// LQ_NONE where that cannot be done on this CPU or for this width.
MadeWeight make_weight(int kind, const float * x, int n_in, int n_out);

} // namespace lq
