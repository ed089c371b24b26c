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

// The target among `targets` whose slots have room for a weight of that width and lie in the memory of the same device; -1: none.
static int host_of(const Model & m, const ggml_tensor * w, const std::vector<const ggml_tensor *> & targets) {
    for (const ggml_tensor * t : targets) {
        const auto target = m.by_weight.find(t);
        if (target == m.by_weight.end() || m.targets[(size_t) target->second].norm >= 0 || t->ne[0] < w->ne[0]) {
            continue;
        }
        if (on_device(t) && ggml_backend_buffer_get_type(t->buffer) == ggml_backend_buffer_get_type(w->buffer)) {
            return target->second;
        }
    }
    return -1;
}

// Adds a norm, which may be null, to those whose weights an adapter may replace. `near`: the targets of its layer.
static void add_norm(Model & m, const ggml_tensor * w, bool by_head, const std::vector<const ggml_tensor *> & near) {
    if (!w) {
        return;
    }
    if (w->type != GGML_TYPE_F32 || ggml_n_dims(w) != 1) {
        m.refused.emplace_back(w->name, "it is not a vector of F32");
        return;
    }
    Norm n = {w->name, (int) w->ne[0], by_head, w, -1, std::vector<float>((size_t) w->ne[0])};
    if (on_device(w)) {
        n.host = host_of(m, w, near);
        if (n.host < 0) {
            m.refused.emplace_back(w->name, "it lies on a device, and no layer beside it has slots for a norm of an adapter's own");
            return;
        }
        m.targets[(size_t) n.host].norm = (int) m.norms.size();
    }
    ggml_backend_tensor_get(w, n.base.data(), 0, n.base.size()*sizeof(float));
    m.norm_by_weight[w] = (int) m.norms.size();
    m.norms.push_back(std::move(n));
}

static void find_norms(Model & m) {
    for (const llama_layer & layer : m.handle->layers) {
        const std::vector<const ggml_tensor *> near = linears(layer);
        add_norm(m, layer.attn_norm, false, near);
        add_norm(m, layer.ffn_norm, false, near);
        add_norm(m, layer.attn_q_norm, true, near);
        add_norm(m, layer.attn_k_norm, true, near);
    }
    add_norm(m, m.handle->output_norm, false, {m.handle->output});
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
