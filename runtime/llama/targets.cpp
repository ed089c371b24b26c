// Which tensors of a model an adapter may change, and why not the others.
#include "model.h"
#include <cstring>

namespace lorikeet {

// The architectures whose graphs run every one of these layers as one ggml_mul_mat over 2-D activations.
// "llama" is Mistral's too.
static bool is_dense(const Model & m) {
    switch (m.handle->arch) {
    case LLM_ARCH_LLAMA:
    case LLM_ARCH_QWEN2:
    case LLM_ARCH_QWEN3:
        return true;
    default:
        return false;
    }
}

static bool ends_with(const std::string & s, const char * end) {
    const size_t n = strlen(end);
    return s.size() >= n && s.compare(s.size() - n, n, end) == 0;
}

static bool contains(const std::string & s, const char * part) { return s.find(part) != std::string::npos; }

static int add_target(Model & m, const std::string & name, const ggml_tensor * w) {
    m.targets.push_back({name, (int) w->ne[0], (int) w->ne[1], w});
    return (int) m.targets.size() - 1;
}

// The layers of a block that are there, as tensors.
static std::vector<const ggml_tensor *> linears(const llama_layer & l) {
    std::vector<const ggml_tensor *> out;
    for (const ggml_tensor * w : {l.wq, l.wk, l.wv, l.wo, l.ffn_gate, l.ffn_up, l.ffn_down}) {
        if (w && ggml_n_dims(w) == 2) {
            out.push_back(w);
        }
    }
    return out;
}

// The norms whose weights an adapter may replace. Our node multiplies with them, which devices do not compute.
static void find_norms(Model & m) {
    auto add = [&](const ggml_tensor * w, bool by_head) {
        if (!w) {
            return;
        }
        if (on_device(w)) {
            m.refused.emplace_back(w->name, "it lies on a device, and norms of an adapter's own are served on the CPU alone");
        } else if (w->type != GGML_TYPE_F32 || ggml_n_dims(w) != 1) {
            m.refused.emplace_back(w->name, "it is not a vector of F32");
        } else {
            m.norm_by_weight[w] = (int) m.norms.size();
            m.norms.push_back({w->name, (int) w->ne[0], by_head, w});
        }
    };
    for (const llama_layer & layer : m.handle->layers) {
        add(layer.attn_norm, false);
        add(layer.ffn_norm, false);
        add(layer.attn_q_norm, true);
        add(layer.attn_k_norm, true);
    }
    add(m.handle->output_norm, false);
}

static std::string refusal(const Model & m, const std::string & name) {
    if (!is_dense(m)) {
        return "adapters need a dense llama, mistral, qwen2 or qwen3 model; this is " + m.architecture;
    }
    if (contains(name, "_exps") || contains(name, "_shexp") || contains(name, "ffn_gate_inp")) {
        return "a mixture-of-experts weight; adapters apply to dense layers only";
    }
    return "not a linear layer that adapters apply to";
}

void find_targets(Model & m) {
    const llama_model & model = *m.handle;
    std::unordered_map<std::string, bool> taken;
    auto take = [&](const std::string & name, const ggml_tensor * w) {
        taken[name] = true;
        return add_target(m, name, w);
    };
    if (is_dense(m)) {
        for (const llama_layer & layer : model.layers) {
            for (const ggml_tensor * w : linears(layer)) {
                m.by_weight[w] = take(w->name, w);
            }
        }
        if (model.output) {
            // A tied head shares token_embd's weights and has its name; as a target it is the head alone.
            m.by_weight[model.output] = m.head = take("output.weight", model.output);
        }
        if (model.tok_embd) {
            m.embedding = take("token_embd.weight", model.tok_embd);
            m.embedding_table = model.tok_embd;
        }
        find_norms(m);
    }
    for (const auto & [name, w] : model.tensors_by_name) {
        if (ggml_n_dims(w) >= 2 && ends_with(name, ".weight") && !taken[name]) {
            taken[name] = true;
            m.refused.emplace_back(name, refusal(m, name));
        }
    }
}

} // namespace lorikeet
