#include "graph_model.h"
#include <string>

namespace lq {

namespace {

[[noreturn]] void bad(const std::string & message) { throw Error{LQ_INVALID, message}; }

// The device of a tensor's memory; the CPU for memory that llama.cpp mapped.
ggml_backend_dev_t place_of(const ggml_tensor * t) {
    ggml_backend_dev_t d = t->buffer ? ggml_backend_buft_get_device(ggml_backend_buffer_get_type(t->buffer)) : nullptr;
    return d ? d : ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
}

template <typename F> void each_tensor(const lq_graphs & g, const F & f) {
    for (const GraphLayer & l : g.layers) {
        for (int i = 0; i < LQ_LINEARS; i++) {
            f(l.linear[i]);
            f(l.bias[i]);
        }
        for (const ggml_tensor * t : {l.attn_norm, l.ffn_norm, l.q_norm, l.k_norm}) {
            f(t);
        }
    }
    for (const ggml_tensor * t : {g.head, g.head_bias, g.out_norm}) {
        f(t);
    }
}

void check_weight(const ggml_tensor * t, const std::string & name, int64_t n_in, int64_t n_out) {
    if (!t) {
        bad(name + ".weight is missing");
    }
    if (t->ne[0] != n_in || t->ne[1] != n_out || t->ne[2] != 1 || t->ne[3] != 1) {
        bad(name + ".weight is " + std::to_string(t->ne[0]) + " by " + std::to_string(t->ne[1]) + ", expected " + std::to_string(n_in) + " by " +
            std::to_string(n_out));
    }
}

void check_vector(const ggml_tensor * t, int64_t n, bool needed) {
    if (!t) {
        if (needed) {
            bad("the model lacks the weight of a norm");
        }
    } else if (t->type != GGML_TYPE_F32 || ggml_nelements(t) != n || !ggml_is_contiguous(t)) {
        bad(std::string(t->name) + " is not a vector of " + std::to_string(n) + " numbers in F32");
    }
}

void check_tensors(const lq_graphs & g) {
    const lq_model & m = g.model;
    const int q = m.n_heads*m.head_size, kv = m.n_kv_heads*m.head_size;
    const int in[LQ_LINEARS] = {m.n_embd, m.n_embd, m.n_embd, q, m.n_embd, m.n_embd, m.n_ff};
    const int out[LQ_LINEARS] = {q, kv, kv, m.n_embd, m.n_ff, m.n_ff, m.n_embd};
    for (int i = 0; i < m.n_layers; i++) {
        const GraphLayer & l = g.layers[i];
        for (int j = 0; j < LQ_LINEARS; j++) {
            check_weight(l.linear[j], target_name(i, j), in[j], out[j]);
            check_vector(l.bias[j], out[j], false);
        }
        check_vector(l.attn_norm, m.n_embd, true);
        check_vector(l.ffn_norm, m.n_embd, true);
        check_vector(l.q_norm, m.head_size, g.layers[0].q_norm);
        check_vector(l.k_norm, m.head_size, l.q_norm);
    }
    check_weight(g.embed, "token_embd", m.n_embd, m.n_vocab);
    check_weight(g.head, m.tied ? "token_embd" : "output", m.n_embd, m.n_vocab);
    check_vector(g.head_bias, m.n_vocab, false);
    check_vector(g.out_norm, m.n_embd, true);
}

} // namespace

ggml_backend_dev_t device_of(const lq_graphs & g) {
    ggml_backend_dev_t device = place_of(g.layers[0].linear[0]);
    each_tensor(g, [device](const ggml_tensor * t) {
        if (t && place_of(t) != device) {
            bad(std::string("training needs all layers and the output head on one device: ") + t->name + " lies on " + ggml_backend_dev_name(place_of(t)) +
                ", the first layer on " + ggml_backend_dev_name(device) + ". Put all of the model there (--gpu-layers all), or none (--gpu-layers 0)");
        }
    });
    return device;
}

void open_graphs(lq_graphs & g) {
    check_tensors(g);
    ggml_backend_dev_t device = device_of(g);
    g.backend.reset(ggml_backend_dev_init(device, nullptr));
    if (!g.backend) {
        throw Error{LQ_MEMORY, std::string("the device ") + ggml_backend_dev_name(device) + " could not be opened a second time, for training"};
    }
    // The CPU is a device in tests alone, which share it with other work.
    void * threads = ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_set_n_threads");
    if (threads) {
        ((ggml_backend_set_n_threads_t) threads)(g.backend.get(), 1);
    }
    if (!keeps_range(g.backend.get())) {
        bad(std::string("training needs products of floats, and ") + ggml_backend_dev_name(device) +
            " rounds these to half precision (on Vulkan: start with GGML_VK_DISABLE_F16=1 in the environment)");
    }
}

} // namespace lq
