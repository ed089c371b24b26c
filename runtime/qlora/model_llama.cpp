// The one file that knows llama.cpp's model: which architectures the engine's layers compute exactly, where
// their tensors are, and what llama_context makes of the rope settings when it is given none.
#include "model_llama.h"
#include "graph_model.h"
#include "guarded.h"
#include "llama-model.h"
#include "weights_ggml.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

struct lq_llama {
    lq_model model = {};
    std::vector<lq_layer> layers;
    std::vector<float> freq_scale;
    std::unique_ptr<lq_graphs> graphs;
};

namespace {

using lq::Error;

struct Reader {
    const llama_model & m;
    lk_packed_of * packed_of;
    const void * context;

    lq_weight weight(const ggml_tensor * t, const ggml_tensor * bias) const {
        lq_weight w = lq::view_of(t, t && packed_of ? packed_of(context, t) : lk_packed{});
        if (t && w.kind == LQ_NONE) {
            throw Error{LQ_INVALID, std::string(t->name) + " is " + ggml_type_name(t->type) + " in a " +
                (t->buffer ? ggml_backend_buffer_name(t->buffer) : "") + " buffer, which training cannot read"};
        }
        w.bias = floats(bias);
        return w;
    }

    // The sizes of a weight that lies elsewhere.
    static lq_weight sizes(const ggml_tensor * t) {
        lq_weight w = {};
        w.n_in = t ? (int) t->ne[0] : 0;
        w.n_out = t ? (int) t->ne[1] : 0;
        return w;
    }

    // A norm, a bias or factors; NULL where there is none.
    const float * floats(const ggml_tensor * t) const {
        if (t && (t->type != GGML_TYPE_F32 || !ggml_is_contiguous(t) || (t->buffer && !ggml_backend_buffer_is_host(t->buffer)))) {
            throw Error{LQ_INVALID, std::string(t->name) + " is not F32 in the memory of the CPU"};
        }
        return t ? (const float *) t->data : nullptr;
    }
};

void check_architecture(const llama_model & m) {
    const llama_hparams & h = m.hparams;
    const char * name = llm_arch_name(m.arch);
    if (m.arch != LLM_ARCH_LLAMA && m.arch != LLM_ARCH_QWEN2 && m.arch != LLM_ARCH_QWEN3) {
        throw Error{LQ_INVALID, std::string("training supports llama, mistral, qwen2 and qwen3 models; this is ") + name};
    }
    if (h.n_expert > 0) {
        throw Error{LQ_INVALID, "training supports dense models; this one is a mixture of experts"};
    }
    if (h.use_kq_norm || h.f_max_alibi_bias != 0 || h.f_clamp_kqv != 0 || h.n_swa != 0 || !h.causal_attn) {
        throw Error{LQ_INVALID, std::string("this ") + name + " model has a kind of attention that training does not support"};
    }
    for (uint32_t i = 0; i < h.n_layer; i++) {
        if (h.n_head(i) != h.n_head(0) || h.n_head_kv(i) != h.n_head_kv(0) || h.n_ff(i) != h.n_ff(0)) {
            throw Error{LQ_INVALID, "blk." + std::to_string(i) + " has another shape than blk.0, which training does not support"};
        }
        const llama_layer & l = m.layers[i];
        if (l.rope_long || l.rope_short || l.wqkv || l.wq_scale) {
            throw Error{LQ_INVALID, "blk." + std::to_string(i) + " has tensors that training does not support"};
        }
    }
}

const ggml_tensor * rope_factors(const llama_model & m) { return m.arch == LLM_ARCH_LLAMA ? m.layers[0].rope_freqs : nullptr; }

// What llama_context makes of the model's rope settings. Source: llama-context.cpp of the linked version.
void read_rope(const llama_model & from, lq_llama & out, const float * factors) {
    const llama_hparams & h = from.hparams;
    const bool none = h.rope_scaling_type_train == LLAMA_ROPE_SCALING_TYPE_NONE;
    const float scale = none ? 1 : h.rope_freq_scale_train;
    float extrapolation = h.yarn_ext_factor, gain = h.yarn_attn_factor;
    if (extrapolation < 0) {
        extrapolation = h.rope_scaling_type_train == LLAMA_ROPE_SCALING_TYPE_YARN ? 1 : 0;
    }
    if (extrapolation != 0) {
        const auto magnitude = [](float factor, float m) { return factor <= 1 ? 1 : 0.1f*m*logf(factor) + 1; };
        const float factor = 1/scale;
        gain = h.rope_yarn_log_mul != 0 ? magnitude(factor, 1)/magnitude(factor, h.rope_yarn_log_mul) : magnitude(factor, 1);
        gain /= 1 + 0.1f*logf(factor);
    }
    gain *= h.rope_attn_factor;
    lq_model & m = out.model;
    out.freq_scale.resize(m.head_size/2);
    lq_rope_scaling(m.head_size, h.rope_freq_base_train, scale, factors, extrapolation, gain, h.yarn_beta_fast, h.yarn_beta_slow,
        (int) (h.n_ctx_orig_yarn ? h.n_ctx_orig_yarn : h.n_ctx_train), out.freq_scale.data(), &m.rope_gain);
    m.rope_base = h.rope_freq_base_train;
    m.rope_freq_scale = out.freq_scale.data();
    m.rope_neox = llama_model_rope_type(&from) == LLAMA_ROPE_TYPE_NEOX;
}

void read_layer(const Reader & r, const llama_layer & from, lq_layer & l) {
    l = {};
    l.linear[LQ_Q] = r.weight(from.wq, from.bq);
    l.linear[LQ_K] = r.weight(from.wk, from.bk);
    l.linear[LQ_V] = r.weight(from.wv, from.bv);
    l.linear[LQ_O] = r.weight(from.wo, from.bo);
    l.linear[LQ_GATE] = r.weight(from.ffn_gate, from.ffn_gate_b);
    l.linear[LQ_UP] = r.weight(from.ffn_up, from.ffn_up_b);
    l.linear[LQ_DOWN] = r.weight(from.ffn_down, from.ffn_down_b);
    l.attn_norm = r.floats(from.attn_norm);
    l.ffn_norm = r.floats(from.ffn_norm);
    l.q_norm = r.floats(from.attn_q_norm);
    l.k_norm = r.floats(from.attn_k_norm);
}

// All but the weights and RoPE.
void read_sizes(const llama_model & from, lq_model & m) {
    const llama_hparams & h = from.hparams;
    m.n_embd = (int) h.n_embd;
    m.n_layers = (int) h.n_layer;
    m.n_heads = (int) h.n_head(0);
    m.n_kv_heads = (int) h.n_head_kv(0);
    m.head_size = (int) h.n_embd_head_k;
    m.n_ff = (int) h.n_ff(0);
    m.norm_eps = h.f_norm_rms_eps;
    m.attn_scale = h.f_attention_scale;
    m.n_vocab = from.tok_embd ? (int) from.tok_embd->ne[1] : 0;
    // llama.cpp gives a model without a head its embedding, as a second tensor of the same name.
    m.tied = from.output && from.tok_embd && strcmp(from.output->name, from.tok_embd->name) == 0;
}

void read(const Reader & r, lq_llama & out) {
    const llama_model & from = r.m;
    lq_model & m = out.model;
    read_sizes(from, m);
    m.embed = r.weight(from.tok_embd, nullptr);
    m.head = r.weight(from.output, from.output_b);
    m.out_norm = r.floats(from.output_norm);
    read_rope(r.m, out, r.floats(rope_factors(r.m)));
    out.layers.resize(m.n_layers);
    for (int i = 0; i < m.n_layers; i++) {
        read_layer(r, from.layers[i], out.layers[i]);
    }
    m.layers = out.layers.data();
    lq::check_model(m);
}

// The same of tensors that lie on a device.
void read_device(const Reader & r, lq_llama & out) {
    const llama_model & from = r.m;
    out.graphs = std::make_unique<lq_graphs>();
    lq_graphs & g = *out.graphs;
    read_sizes(from, out.model);
    for (const llama_layer & l : from.layers) {
        g.layers.push_back({{l.wq, l.wk, l.wv, l.wo, l.ffn_gate, l.ffn_up, l.ffn_down}, {l.bq, l.bk, l.bv, l.bo, l.ffn_gate_b, l.ffn_up_b, l.ffn_down_b},
            l.attn_norm, l.ffn_norm, l.attn_q_norm, l.attn_k_norm});
        lq_layer shape = {};
        for (int i = 0; i < LQ_LINEARS; i++) {
            shape.linear[i] = Reader::sizes(g.layers.back().linear[i]);
        }
        out.layers.push_back(shape);
    }
    g.embed = from.tok_embd;
    g.head = from.output;
    g.head_bias = from.output_b;
    g.out_norm = from.output_norm;
    lq_model & m = out.model;
    m.embed = lq::view_of(from.tok_embd, from.tok_embd && r.packed_of ? r.packed_of(r.context, from.tok_embd) : lk_packed{});
    m.embed = m.embed.kind == LQ_NONE ? Reader::sizes(from.tok_embd) : m.embed;
    m.head = Reader::sizes(from.output);
    m.layers = out.layers.data();
    std::vector<float> factors;
    if (const ggml_tensor * t = rope_factors(from)) {
        factors.resize(m.head_size/2);
        if (t->type != GGML_TYPE_F32 || ggml_nelements(t) != m.head_size/2) {
            throw Error{LQ_INVALID, std::string(t->name) + " has not one F32 number for every pair of a head"};
        }
        ggml_backend_tensor_get(t, factors.data(), 0, factors.size()*sizeof(float));
    }
    read_rope(from, out, factors.empty() ? nullptr : factors.data());
    g.model = m;
    lq::open_graphs(g);
}

// Whether the layers lie where the CPU cannot read them.
bool lies_on_device(const llama_model & m) {
    for (const llama_layer & l : m.layers) {
        if (l.wq && l.wq->buffer && !lq::in_host_memory(l.wq)) {
            return true;
        }
    }
    return m.output && m.output->buffer && !lq::in_host_memory(m.output);
}

} // namespace

int lq_llama_new(const void * model, lk_packed_of * packed_of, const void * context, int on_device, lq_llama ** out, char * error, size_t error_size) {
    *out = nullptr;
    return lq::guarded(error, error_size, [&] {
        const llama_model & from = *(const llama_model *) model;
        auto views = std::make_unique<lq_llama>();
        check_architecture(from);
        if (on_device || lies_on_device(from)) {
            read_device({from, packed_of, context}, *views);
        } else {
            read({from, packed_of, context}, *views);
        }
        *out = views.release();
        return LQ_OK;
    });
}

const lq_model * lq_llama_model(const lq_llama * m) { return &m->model; }

lq_graphs * lq_llama_graphs(lq_llama * m) { return m->graphs.get(); }

void lq_llama_free(lq_llama * m) { delete m; }
