#include "codebook.h"
#include "../kernels/kernels.h"
#include "ggml-cpp.h"
#include "ggml.h"
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

namespace lorikeet {

namespace {

enum { CODES = 16, COLUMNS = 256, BLOCK_BYTES = 18 };

// Row c of the weight holds the code c everywhere, with the scale 1: its product with a row that is 1 in the first column and 0
// elsewhere is the value of c.
std::vector<float> values_of(ggml_backend_dev_t device) {
    const ggml_backend_ptr backend(ggml_backend_dev_init(device, nullptr));
    const ggml_context_ptr ctx(ggml_init({8*ggml_tensor_overhead() + ggml_graph_overhead(), nullptr, true}));
    if (!backend || !ctx) {
        throw std::runtime_error(std::string(ggml_backend_dev_name(device)) + " cannot be used");
    }
    ggml_tensor * w = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_IQ4_NL, COLUMNS, CODES);
    ggml_tensor * x = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, COLUMNS, 1);
    ggml_tensor * y = ggml_mul_mat(ctx.get(), w, x);
    if (!ggml_backend_supports_op(backend.get(), y)) {
        return {};
    }
    ggml_cgraph * graph = ggml_new_graph(ctx.get());
    ggml_build_forward_expand(graph, y);
    const ggml_backend_buffer_ptr memory(ggml_backend_alloc_ctx_tensors(ctx.get(), backend.get()));
    if (!memory) {
        throw std::bad_alloc();
    }
    std::vector<uint8_t> blocks;
    for (int row = 0; row < CODES; row++) {
        for (int b = 0; b < COLUMNS/LK_NF4_BLOCK; b++) {
            const ggml_fp16_t one = ggml_fp32_to_fp16(1);
            const auto * scale = (const uint8_t *) &one;
            blocks.insert(blocks.end(), scale, scale + sizeof one);
            blocks.insert(blocks.end(), BLOCK_BYTES - sizeof one, (uint8_t) (row | row << 4));
        }
    }
    std::vector<float> in(COLUMNS), out(CODES);
    in[0] = 1;
    ggml_backend_tensor_set(w, blocks.data(), 0, blocks.size());
    ggml_backend_tensor_set(x, in.data(), 0, in.size()*sizeof(float));
    if (ggml_backend_graph_compute(backend.get(), graph) != GGML_STATUS_SUCCESS) {
        throw std::runtime_error(std::string(ggml_backend_dev_name(device)) + " could not compute a product with IQ4_NL");
    }
    ggml_backend_tensor_get(y, out.data(), 0, out.size()*sizeof(float));
    return out;
}

} // namespace

bool has_nf4_codebook(ggml_backend_dev_t device) {
    const float rounded = 0.008F; // IQ4_NL's values are further off
    const std::vector<float> values = values_of(device);
    bool same = !values.empty();
    for (size_t i = 0; i < values.size(); i++) {
        same &= std::fabs(values[i] - lk_nf4_codebook[i]) < rounded;
    }
    return same;
}

} // namespace lorikeet
