// A model whose tensors lie on a device, as the graphs of training read them: the very tensors that serve.
#pragma once
#include "adapter_trainer.h"
#include "graph.h"

namespace lq {

struct GraphLayer {
    ggml_tensor * linear[LQ_LINEARS], * bias[LQ_LINEARS]; // (n_in, n_out), (n_out) or NULL
    ggml_tensor * attn_norm, * ffn_norm;                  // (n_embd)
    ggml_tensor * q_norm, * k_norm;                       // (head_size), or NULL
};

} // namespace lq

struct lq_graphs {
    lq_model model = {}; // its sizes, and those of its weights; of these only the embedding has data, where the CPU can read it
    std::vector<lq::GraphLayer> layers;
    ggml_tensor * embed = nullptr, * head = nullptr, * head_bias = nullptr, * out_norm = nullptr;
    lq::BackendPtr backend; // of the device where the weights lie; one thread at a time computes on it
};

namespace lq {

// The device that all weights of the layers and the head lie on. Throws an Error that names the tensor which lies elsewhere.
ggml_backend_dev_t device_of(const lq_graphs & g);

// Checks that the tensors fit together, and opens the back end of their device. Throws an Error.
void open_graphs(lq_graphs & g);

} // namespace lq
